package sfu

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

const audioLevelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

// levelOf gives the id of the audio level's extension.
func levelOf(extensions []webrtc.RTPHeaderExtensionParameter) uint8 {
	for _, e := range extensions {
		if e.URI == audioLevelURI {
			return uint8(e.ID)
		}
	}
	return 0
}

// hearing makes a client that knows audio levels (RFC 6464).
func hearing(t *testing.T, v *venue, id string) *client {
	t.Helper()
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: audioLevelURI}, webrtc.RTPCodecTypeAudio); err != nil {
		t.Fatal(err)
	}
	c, err := prepareWith(webrtc.NewAPI(webrtc.WithSettingEngine(clientSettings()), webrtc.WithMediaEngine(m)), v.url, id)
	if err != nil {
		t.Fatal(err)
	}
	v.clients[id] = c
	return c
}

// wantSpeakers waits until the client is told who speaks.
func (c *client) wantSpeakers(t *testing.T, want ...string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case m := <-c.heard:
			if m.Type == message.Speakers {
				if !slices.Equal(m.Speakers, want) {
					t.Fatalf("%s is told that %q speak, want %q", c.id, m.Speakers, want)
				}
				return
			}
		case <-late:
			t.Fatalf("nobody tells %s that %q speak", c.id, want)
		}
	}
}

// TestSpeakersAreNamed has somebody be loud, then quiet: the room is told, no other
// room is, and subscribers get the levels.
func TestSpeakersAreNamed(t *testing.T) {
	t.Parallel()
	v := newVenue(t)
	closing(t, v)
	alice, bob := hearing(t, v, "alice"), hearing(t, v, "bob")
	capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	track, err := webrtc.NewTrackLocalStaticRTP(capability, "voice", "stream")
	if err != nil {
		t.Fatal(err)
	}
	sender, err := alice.pc.AddTrack(track)
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.begin("voice", "audio"); err != nil {
		t.Fatal(err)
	}
	if err := bob.begin(); err != nil {
		t.Fatal(err)
	}
	var level atomic.Uint32
	level.Store(90)
	alice.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-alice.ctx.Done():
				return
			case <-tick.C:
			}
			id := levelOf(sender.GetParameters().HeaderExtensions)
			if id == 0 {
				continue
			}
			p := &rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(n), Timestamp: uint32(n) * 960}, Payload: []byte{0xfc, 1}}
			_ = p.SetExtension(id, []byte{0x80 | byte(level.Load())})
			_ = track.WriteRTP(p)
		}
	})
	for m := range bob.heard {
		if m.Type == message.TrackAvailable {
			break
		}
	}
	if err := bob.write(message.Message{Type: message.SubscribeTrack, PublisherID: "alice", TrackID: "voice"}); err != nil {
		t.Fatal(err)
	}
	elsewhere := *v
	elsewhere.url, elsewhere.room = v.url+"-two", "two"
	dave, err := elsewhere.enter("dave", media.Opus)
	if err != nil {
		t.Fatal(err)
	}
	var got *webrtc.TrackRemote
	select {
	case got = <-bob.media:
	case <-time.After(patience):
		t.Fatal("bob gets no track")
	}
	id := uint8(0)
	for _, r := range bob.pc.GetReceivers() {
		if r.Track() == got {
			id = levelOf(r.GetParameters().HeaderExtensions)
		}
	}
	p, _, err := got.ReadRTP()
	if err != nil {
		t.Fatal(err)
	}
	if b := p.GetExtension(id); len(b) != 1 || b[0] != 0x80|90 {
		t.Errorf("of the level, by extension %d, comes %x", id, b)
	}
	level.Store(20)
	bob.wantSpeakers(t, "alice")
	carol, err := v.enter("carol", media.Opus)
	if err != nil {
		t.Fatal(err)
	}
	carol.wantSpeakers(t, "alice") // when she comes
	level.Store(120)
	bob.wantSpeakers(t)
	level.Store(30)
	bob.wantSpeakers(t, "alice")
	delete(v.clients, "alice")
	if _, err := alice.Leave(); err != nil {
		t.Error(err)
	}
	bob.wantSpeakers(t)
	for len(dave.heard) > 0 {
		if m := <-dave.heard; m.Type == message.Speakers {
			t.Errorf("another room is told that %q speak", m.Speakers)
		}
	}
}
