package sfu

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
)

var rids = []string{"l", "m", "h"}

// simulcaster publishes three encodings of VP8, whose frames say what they refer
// to: the encoding and the frame's number in it come after the descriptor.
type simulcaster struct {
	tracks []*webrtc.TrackLocalStaticRTP

	mu   sync.Mutex
	keys [3]bool // asked for
}

// simulcast has a client send three encodings. It comes before its first offer.
func simulcast(c *client) (*simulcaster, error) {
	s := &simulcaster{keys: [3]bool{true, true, true}}
	capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	var sender *webrtc.RTPSender
	for i, rid := range rids {
		track, err := webrtc.NewTrackLocalStaticRTP(capability, "camera", "stream", webrtc.WithRTPStreamID(rid))
		if err != nil {
			return nil, err
		}
		s.tracks = append(s.tracks, track)
		if i == 0 {
			sender, err = c.pc.AddTrack(track)
		} else {
			err = sender.AddEncoding(track)
		}
		if err != nil {
			return nil, err
		}
	}
	for i, rid := range rids {
		c.wg.Go(func() {
			for {
				packets, _, err := sender.ReadSimulcastRTCP(rid)
				if err != nil {
					return
				}
				for _, p := range packets {
					if _, ok := p.(*rtcp.PictureLossIndication); ok {
						s.mu.Lock()
						s.keys[i] = true
						s.mu.Unlock()
					}
				}
			}
		})
	}
	c.wg.Go(func() { s.play(c.ctx, c.pc, sender) })
	return s, nil
}

// simulcast brings n publishers into the room, p0 and so on, who send three encodings
// of a camera.
func (v *venue) simulcast(n int) {
	v.t.Helper()
	for i := range n {
		c, err := prepare(v.url, fmt.Sprint("p", i))
		if err != nil {
			v.t.Fatal(err)
		}
		v.clients[c.id] = c
		if _, err := simulcast(c); err != nil {
			v.t.Fatal(err)
		}
		if err := c.begin("camera", "video"); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (s *simulcaster) play(ctx context.Context, pc *webrtc.PeerConnection, sender *webrtc.RTPSender) {
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	var sequence [3]uint16
	var base [3]uint32
	for i := range base {
		sequence[i], base[i] = uint16(rand.Uint32()), rand.Uint32()
	}
	var midID, ridID uint8
	for n := uint32(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if midID == 0 {
			for _, e := range sender.GetParameters().HeaderExtensions {
				switch e.URI {
				case "urn:ietf:params:rtp-hdrext:sdes:mid":
					midID = uint8(e.ID)
				case "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id":
					ridID = uint8(e.ID)
				}
			}
			if midID == 0 || pc.ConnectionState() != webrtc.PeerConnectionStateConnected {
				midID = 0
				continue
			}
		}
		mid := pc.GetTransceivers()[0].Mid()
		for i, track := range s.tracks {
			s.mu.Lock()
			key := s.keys[i]
			s.keys[i] = false
			s.mu.Unlock()
			count := i + 1
			for k := range count {
				payload := []byte{0x80, 0xc0, 0x80 | byte(n>>8&0x7f), byte(n), byte(n), 1}
				if k == 0 {
					payload[0] |= 0x10
					if key {
						payload[5] = 0
					}
				}
				size := uint16(160 << i)
				payload = append(payload, 0, 0, 0x9d, 0x01, 0x2a, byte(size), byte(size>>8), byte(size), byte(size>>8), byte(i))
				payload = binary.BigEndian.AppendUint32(payload, n)
				payload = append(payload, make([]byte, 100<<i)...)
				h := rtp.Header{Version: 2, SequenceNumber: sequence[i], Timestamp: base[i] + n*3600, Marker: k == count-1}
				sequence[i]++
				_ = h.SetExtension(midID, []byte(mid))
				_ = h.SetExtension(ridID, []byte(rids[i]))
				_ = track.WriteRTP(&rtp.Packet{Header: h, Payload: payload})
			}
		}
	}
}

// TestSwitchesAreDecodable has participants send three encodings each, of which the
// recorder wants another one at random, and looks whether each frame that comes
// has what it refers to.
func TestSwitchesAreDecodable(t *testing.T) {
	t.Parallel()
	const publishers, switches = 10, 5
	v := openVenue(t)
	r, err := v.dial(t.Context(), mesh.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v.simulcast(publishers)
	checks := map[*signaling.Track]*frames{}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	next := time.Now().Add(time.Second)
	done := 0
	for {
		e, err := r.Next(ctx, next)
		if err != nil {
			t.Fatal(err, len(checks))
		}
		switch e.Kind {
		case signaling.PacketArrived:
			f := checks[e.Track]
			if f == nil {
				f = &frames{t: t, of: e.Track.Participant}
				checks[e.Track] = f
			}
			f.see(e.Packet)
			e.Packet.Release()
		case signaling.Tick:
			if len(checks) < publishers {
				next = next.Add(100 * time.Millisecond)
				continue
			}
			if done++; done > switches {
				total := 0
				for _, f := range checks {
					total += f.switches
					if f.frames < 20 {
						t.Errorf("%s: %d frames", f.of, f.frames)
					}
				}
				if total < publishers {
					t.Errorf("%d switches in all", total)
				}
				t.Logf("%d switches of encodings", total)
				return
			}
			r.do(func(time.Time) {
				for id := range r.participants {
					quality := []string{"low", "medium", "best"}[rand.IntN(3)]
					r.send(message.Message{Type: message.SubscribeTrack, PublisherID: id, TrackID: "camera", Quality: quality})
				}
			})
			next = next.Add(400 * time.Millisecond)
		}
	}
}

// frames checks what comes of one track, whose network loses nothing.
type frames struct {
	t        *testing.T
	of       string
	began    bool
	sequence uint16
	stamp    uint32
	id       uint16
	tl0      byte
	whole    bool
	encoding byte
	number   uint32
	frames   int
	switches int
}

func (f *frames) see(p *media.Packet) {
	b := p.Payload
	if len(b) < 20 {
		f.t.Errorf("%s: a payload of %d bytes", f.of, len(b))
		return
	}
	first, key := b[0]&0x10 != 0, b[5]&1 == 0
	id, tl0 := uint16(b[2]&0x7f)<<8|uint16(b[3]), b[4]
	encoding, number := b[15], binary.BigEndian.Uint32(b[16:])
	if f.began {
		if gap := p.SequenceNumber - f.sequence; gap != 1 {
			// What a switch has cut off; a keyframe must follow.
			if !first || !key {
				f.t.Errorf("%s: sequence numbers go %d on, and no keyframe comes", f.of, gap)
			}
			f.whole = true
		}
		if first != f.whole {
			f.t.Errorf("%s: a frame begins %t after the one before has ended %t", f.of, first, f.whole)
		}
		if first {
			if step := int32(p.Timestamp - f.stamp); step <= 0 || step > 90000 {
				f.t.Errorf("%s: the next frame is %d later", f.of, step)
			}
			if id != (f.id+1)&0x7fff || tl0 != f.tl0+1 {
				f.t.Errorf("%s: PictureID %d after %d, TL0PICIDX %d after %d", f.of, id, f.id, tl0, f.tl0)
			}
			if !key && (encoding != f.encoding || number != f.number+1) {
				f.t.Errorf("%s: frame %d of encoding %d refers to one that is not there: before it is %d of %d", f.of, number, encoding, f.number, f.encoding)
			}
			if encoding != f.encoding {
				f.switches++
			}
			f.frames++
		}
	} else if !first || !key {
		return // the first packets may have come before the connection did
	}
	f.began, f.sequence, f.stamp, f.id, f.tl0 = true, p.SequenceNumber, p.Timestamp, id, tl0
	f.whole, f.encoding, f.number = p.Marker, encoding, number
}

// TestMessagesAreRelayed sends to one, to all, and into a room from another one.
func TestMessagesAreRelayed(t *testing.T) {
	t.Parallel()
	v := openVenue(t)
	r, err := v.dial(t.Context(), mesh.Config{Messages: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var clients []*client
	for _, id := range []string{"alice", "bob", "carol"} {
		c, err := v.enter(id, media.Opus)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	w := time.Now().Add(patience)
	for _, c := range clients { // until their channels work both ways
		for c.dc.ReadyState() != webrtc.DataChannelStateOpen {
			if time.Now().After(w) {
				t.Fatal("a data channel does not open")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	alice, bob, carol := clients[0], clients[1], clients[2]
	say := func(c *client, text string) {
		t.Helper()
		if err := c.dc.SendText(text); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(c *client, want string) {
		t.Helper()
		select {
		case got := <-c.said:
			if got != want {
				t.Errorf("%s hears %s, want %s", c.id, got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s hears nothing, want %s", c.id, want)
		}
	}
	say(alice, `{"type":"x","target":"bob","from":"carol"}`)
	hears(bob, `{"target":"bob","type":"x","from":"alice"}`)
	say(alice, `{"n":1}`)
	hears(bob, `{"n":1,"from":"alice"}`)
	hears(carol, `{"n":1,"from":"alice"}`)
	say(bob, `just words`)
	hears(carol, `{"relayed_text":"just words","from":"bob"}`)
	hears(alice, `{"relayed_text":"just words","from":"bob"}`)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want := []string{`alice {"n":1}`, `bob just words`}
	for len(want) > 0 {
		e, err := r.Next(ctx, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if e.Packet != nil {
			e.Packet.Release()
		}
		if e.Kind != signaling.MessageArrived {
			continue
		}
		if got := e.Participant + " " + string(e.Message.Data); got != want[0] {
			t.Errorf("the recorder gets %s, want %s", got, want[0])
		}
		want = want[1:]
	}

	// Nobody of another room is there for them.
	v.url += "-two"
	v.room = "two"
	dave, err := v.enter("dave", media.Opus)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-dave.heard; got.Type != message.RoomPeers || len(got.Peers) != 1 {
		t.Errorf("the other room begins with %+v", got)
	}
	for _, m := range []message.Message{
		{Type: message.SubscribeTrack, PublisherID: "alice", TrackID: "track-0"},
		{Type: message.Offer, Target: "alice", Offer: &message.Description{Type: "offer", SDP: "v=0"}},
	} {
		if err := dave.write(m); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-dave.heard:
			if got.Type != message.Error || got.Code != message.CodeUnknownTrack && got.Code != message.CodeUnknownPeer {
				t.Errorf("%s of another room is answered by %+v", m.Type, got)
			}
		case <-time.After(patience):
			t.Fatalf("%s of another room is not refused", m.Type)
		}
	}
}
