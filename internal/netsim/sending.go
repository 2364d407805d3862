package netsim

import (
	"sync"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

const (
	// mtu is how large a payload may be, in bytes.
	mtu = 1180
	// firstReport and reportEvery are when a track sends its reports, as
	// browsers do for video.
	firstReport = 500 * time.Millisecond
	reportEvery = time.Second
	audioFrame  = 20 * time.Millisecond
	// catchUp is from frame to frame of what is sent late.
	catchUp = time.Millisecond
)

// flow is one track that is sent.
type flow struct {
	track *webrtc.TrackLocalStaticRTP
	ssrc  uint32
	rate  uint32
	base  uint32 // RTP timestamp at zero
	zero  time.Time

	mu             sync.Mutex
	seq            uint16 // the next one
	packets, bytes uint32
	sent           []Sent
	sentAt         time.Time // the last of sent
}

// timestamp gives the RTP timestamp of an instant.
func (f *flow) timestamp(at time.Time) uint32 {
	return f.base + uint32(at.Sub(f.zero)*time.Duration(f.rate)/time.Second)
}

// send sends a frame that was captured at s.At.
func (f *flow) send(s Sent, payloads [][]byte) {
	f.mu.Lock()
	s.First, s.Packets = f.seq, len(payloads)
	f.sent, f.sentAt = append(f.sent, s), time.Now()
	f.seq += uint16(len(payloads))
	f.packets += uint32(len(payloads))
	for _, b := range payloads {
		f.bytes += uint32(len(b))
	}
	f.mu.Unlock()
	for i, b := range payloads {
		// It fails when the test closes the connection.
		_ = f.track.WriteRTP(&rtp.Packet{
			Header: rtp.Header{
				Version: 2, Marker: i == len(payloads)-1 && f.rate == 90000,
				SequenceNumber: s.First + uint16(i), Timestamp: f.timestamp(s.At),
			},
			Payload: b,
		})
	}
}

// Start waits until the connection is up, then sends until Stop or Close.
func (p *Publisher) Start() {
	p.n.t.Helper()
	if !p.Play() {
		p.n.t.Fatalf("not connected: %v", p.PC.ConnectionState())
	}
}

// Play is Start that tells whether the connection came up within a minute, in
// place of failing the test.
func (p *Publisher) Play() bool {
	for deadline := time.Now().Add(time.Minute); p.PC.ConnectionState() != webrtc.PeerConnectionStateConnected; {
		if time.Now().After(deadline) || p.host.gone.Load() {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	now := time.Now()
	if p.video != nil {
		p.video.zero = now
		p.wg.Go(func() { p.every(time.Second/time.Duration(p.cfg.FPS), p.picture()) })
		p.wg.Go(func() { p.report(p.video) })
	}
	if p.audio != nil {
		p.audio.zero = now
		p.wg.Go(func() { p.every(audioFrame, p.sendAudio) })
		p.wg.Go(func() { p.report(p.audio) })
	}
	return true
}

func (p *Publisher) every(d time.Duration, send func(n int, due time.Time)) {
	due := time.Now()
	for n := 0; ; n++ {
		due = due.Add(d)
		if !p.sleepUntil(due) {
			return
		}
		send(n, due)
		if time.Since(due) > d {
			time.Sleep(catchUp)
		}
	}
}

// Stand has the publisher stand still for a while, as on a machine that has no
// time for it. What it should have sent meanwhile it sends right after it.
func (p *Publisher) Stand(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standing = time.Now().Add(d)
}

// sleepUntil waits for an instant, and for the end of standing still. It returns
// false when the publisher is stopped.
func (p *Publisher) sleepUntil(at time.Time) bool {
	for {
		t := time.NewTimer(time.Until(at))
		select {
		case <-p.stop:
			t.Stop()
			return false
		case <-t.C:
		}
		p.mu.Lock()
		at = p.standing
		p.mu.Unlock()
		if !at.After(time.Now()) {
			return true
		}
	}
}

// report sends sender reports (RFC 3550 §6.4.1).
func (p *Publisher) report(f *flow) {
	for at := time.Now().Add(firstReport); p.sleepUntil(at); at = time.Now().Add(reportEvery) {
		if p.cfg.ReportSent {
			time.Sleep(10 * time.Millisecond) // after a part of what is late
		}
		now := time.Now()
		f.mu.Lock()
		r := &rtcp.SenderReport{
			SSRC: f.ssrc, NTPTime: ntp(now), RTPTime: f.timestamp(now), PacketCount: f.packets, OctetCount: f.bytes,
		}
		if n := len(f.sent); p.cfg.ReportSent && n > 0 {
			r.RTPTime = f.timestamp(f.sent[n-1].At.Add(now.Sub(f.sentAt)))
		}
		f.mu.Unlock()
		_ = p.PC.WriteRTCP([]rtcp.Packet{r}) // fails when the test closes the connection
	}
}

// ntp gives an instant in 32.32 fixed point since 1900.
func ntp(t time.Time) uint64 {
	const epoch = 2208988800
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// picture gives a function that captures and sends the n-th picture.
func (p *Publisher) picture() func(n int, due time.Time) {
	layers := &vp8Layers{layers: max(p.cfg.Layers, 1)}
	vp9 := &codecs.VP9Payloader{}
	return func(n int, due time.Time) {
		s := Sent{At: due}
		time.Sleep(p.cfg.EncodeTime)
		p.mu.Lock()
		s.Key = p.wantKey || p.cfg.KeyEvery > 0 && n%p.cfg.KeyEvery == 0
		p.wantKey = false
		p.mu.Unlock()
		size := p.cfg.FrameSize
		if s.Key {
			size *= 4
		}
		s.Data = Frame(p.cfg.Video, n, size, s.Key, p.cfg.Width, p.cfg.Height)
		var payloads [][]byte
		switch {
		case p.cfg.Video == media.VP9:
			payloads = vp9.Payload(mtu, s.Data)
			if !s.Key {
				s.Refs = []int{n - 1}
			}
		default:
			s.Refs = layers.next(n, s.Key)
			payloads = layers.payloads(s.Data)
		}
		p.video.send(s, payloads)
	}
}

func (p *Publisher) sendAudio(n int, due time.Time) {
	s := Sent{Data: Frame(media.Opus, n, 100, true, 0, 0), Key: true, At: due}
	p.audio.send(s, [][]byte{s.Data})
}

// Stop ends sending; the connection stays.
func (p *Publisher) Stop() {
	p.once.Do(func() { close(p.stop) })
	synctest.Wait()
}

// SentVideo gives what was sent so far.
func (p *Publisher) SentVideo() []Sent { return p.video.frames() }

// SentAudio gives what was sent so far.
func (p *Publisher) SentAudio() []Sent { return p.audio.frames() }

func (f *flow) frames() []Sent {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent[:len(f.sent):len(f.sent)]
}

// AudioDelivered tells whether the network has let all packets of a frame of
// SentAudio through, at their first sending or at a later one under the same
// number.
func (p *Publisher) AudioDelivered(s Sent) bool { return p.n.delivers(p.audio, s) }

// VideoDelivered tells the same of SentVideo; what is sent again by RTX has
// another number.
func (p *Publisher) VideoDelivered(s Sent) bool { return p.n.delivers(p.video, s) }

func (n *Net) delivers(f *flow, s Sent) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range s.Packets {
		if !n.delivered[f.ssrc][s.First+uint16(i)] {
			return false
		}
	}
	return true
}
