package unit

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// TestWhatIsTooLateIsNotForwarded has a client's packets wait before they are
// looked at.
func TestWhatIsTooLateIsNotForwarded(t *testing.T) {
	c := &Client{id: "alice", published: map[string]*publication{}}
	c.events = newEvents(c)
	p := newPublication(c, "camera", media.Video)
	track := &signaling.Track{Kind: media.Video, ID: "camera", SSRC: 1, Codecs: map[uint8]media.Codec{96: media.VP8}}
	c.events.tracks = []*signaling.Track{track}
	c.events.match(p)
	arrive := func(ago time.Duration) media.Codec {
		at := time.Now().Add(-ago)
		packet, err := media.NewPacket([]byte{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0}, at)
		if err != nil {
			t.Fatal(err)
		}
		c.events.handle(signaling.Event{Kind: signaling.PacketArrived, Time: at, Track: track, Packet: packet})
		codec, _ := p.ready()
		return codec
	}
	if got := arrive(tooLate); got != media.CodecUnknown {
		t.Errorf("a packet of %v ago is forwarded as %v", tooLate, got)
	}
	if got := arrive(tooLate / 2); got != media.VP8 {
		t.Errorf("a packet of %v ago is of %v, want VP8", tooLate/2, got)
	}
}
