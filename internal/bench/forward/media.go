package main

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	fps       = 30
	opusBytes = 100
	opusEvery = 20 * time.Millisecond
	// maxPayload is a video packet's payload, about as browsers have it.
	maxPayload = 1100
	// trailer is what ends each payload: the publisher, the kind, the packet's
	// number and when it was sent, in nanoseconds since epoch.
	trailer = 1 + 1 + 4 + 8
)

const (
	video = iota
	audio
	kinds
)

var epoch = time.Now()

// publisher sends the two tracks of one participant.
type publisher struct {
	index  int
	tracks [kinds]*webrtc.TrackLocalStaticRTP
	asked  atomic.Bool // for a keyframe

	mu       sync.Mutex
	sent     [kinds]uint32
	sequence [kinds]uint16
}

func newPublisher(index int) (*publisher, error) {
	p := &publisher{index: index}
	for kind, c := range []webrtc.RTPCodecCapability{
		{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000},
		{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2},
	} {
		var err error
		if p.tracks[kind], err = webrtc.NewTrackLocalStaticRTP(c, trackID(kind), "camera"); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func trackID(kind int) string { return [kinds]string{"video", "audio"}[kind] }

// listen answers what subscribers ask for, until the sender has ended.
func (p *publisher) listen(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, q := range packets {
			switch q.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.asked.Store(true)
			}
		}
	}
}

// play sends until ctx is done: a picture each thirtieth of a second, as many
// packets as it takes, and sound between. The pictures are none, but their headers
// are true (RFC 7741 §4.2, RFC 6386 §9.1).
func (p *publisher) play(ctx context.Context, bitrate int) {
	size := bitrate / 8 / fps
	packets := (size + maxPayload - 1) / maxPayload
	timer := time.NewTimer(0)
	defer timer.Stop()
	// Not all of them in one instant.
	start := time.Now().Add(time.Duration(p.index) * 7 * time.Millisecond)
	for v, a := 0, 0; ; {
		videoAt, audioAt := time.Duration(v)*time.Second/fps, time.Duration(a)*opusEvery
		timer.Reset(time.Until(start.Add(min(videoAt, audioAt))))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if audioAt <= videoAt {
			b := make([]byte, opusBytes)
			b[0] = 0xfc // CELT, fullband, 20 ms, stereo, one frame (RFC 6716 §3.1)
			p.send(audio, b, uint32(a)*960, a == 0)
			a++
			continue
		}
		key := v == 0 || p.asked.Swap(false)
		for i := range packets {
			b := make([]byte, max(size/packets, 16+trailer))
			b[0], b[1], b[2], b[3] = 0x80, 0x80, 0x80|byte(v>>8&0x7f), byte(v) // X, I, PictureID
			if i == 0 {
				b[0] |= 0x10 // S
				b[4] = 0x11  // interframe, shown
				if key {
					b[4] = 0x10
					copy(b[7:], []byte{0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02}) // 1280x720
				}
			}
			p.send(video, b, uint32(int64(v)*90000/fps), i == packets-1)
		}
		v++
	}
}

func (p *publisher) send(kind int, b []byte, timestamp uint32, marker bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := b[len(b)-trailer:]
	at[0], at[1] = byte(p.index), byte(kind)
	binary.BigEndian.PutUint32(at[2:], p.sent[kind])
	binary.BigEndian.PutUint64(at[6:], uint64(time.Since(epoch)))
	p.sent[kind]++
	p.sequence[kind]++
	// Before the way is there it is lost, as with any sender.
	_ = p.tracks[kind].WriteRTP(&rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: p.sequence[kind], Timestamp: timestamp, Marker: marker},
		Payload: b,
	})
}

// counts gives how many packets were sent of each track.
func (p *publisher) counts() [kinds]uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// heard is what has come of one track at one subscriber.
type heard struct {
	mu     sync.Mutex
	seen   map[uint32]bool
	delays []time.Duration
}

// audience is what has come at one subscriber. Its tracks are by their publisher
// and kind.
type audience struct {
	mu     sync.Mutex
	tracks map[[2]byte]*heard
}

func (a *audience) of(publisher, kind byte) *heard {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.tracks[[2]byte{publisher, kind}]
	if h == nil {
		h = &heard{seen: map[uint32]bool{}}
		a.tracks[[2]byte{publisher, kind}] = h
	}
	return h
}

// hear reads a track to its end.
func (a *audience) hear(t *webrtc.TrackRemote) {
	for {
		p, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		if len(p.Payload) < trailer {
			continue
		}
		at := p.Payload[len(p.Payload)-trailer:]
		delay := time.Since(epoch) - time.Duration(binary.BigEndian.Uint64(at[6:]))
		h := a.of(at[0], at[1])
		h.mu.Lock()
		if n := binary.BigEndian.Uint32(at[2:]); !h.seen[n] {
			h.seen[n] = true
			h.delays = append(h.delays, delay)
		}
		h.mu.Unlock()
	}
}
