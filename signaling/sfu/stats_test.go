package sfu

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// TestStatsOfForwardedTracks has a subscriber ask for packets and keyframes, and
// say what it has lost.
func TestStatsOfForwardedTracks(t *testing.T) {
	t.Parallel()
	v := openVenue(t)
	alice, err := prepare(v.url, "alice")
	if err != nil {
		t.Fatal(err)
	}
	v.clients["alice"] = alice
	if _, err := simulcast(alice); err != nil {
		t.Fatal(err)
	}
	if err := alice.begin("camera", "video"); err != nil {
		t.Fatal(err)
	}
	bob, err := v.enter("bob", media.Opus)
	if err != nil {
		t.Fatal(err)
	}
	for m := range bob.heard {
		if m.Type == message.TrackAvailable {
			break
		}
	}
	ask := message.Message{Type: message.SubscribeTrack, PublisherID: "alice", TrackID: "camera"}
	if err := bob.write(ask); err != nil {
		t.Fatal(err)
	}
	var track *webrtc.TrackRemote
	select {
	case track = <-bob.media:
	case <-time.After(patience):
		t.Fatal("the track does not come")
	}
	var f unit.Forwarded
	look := func() unit.Forwarded {
		if s := v.unit.Stats(); len(s.Tracks) == 1 {
			f = s.Tracks[0]
		}
		return f
	}
	eventually(t, "the best of three encodings is sent", func() bool { f := look(); return f.Layers == 3 && f.Layer == 2 && f.Bitrate > 0 })
	if f.Publisher.ID != "alice" || f.Subscriber.ID != "bob" || f.Kind != media.Video || f.Track != 1 {
		t.Errorf("it is %+v", f)
	}
	p, _, err := track.ReadRTP()
	if err != nil {
		t.Fatal(err)
	}
	before := look()
	for range 3 {
		if err := bob.pc.WriteRTCP([]rtcp.Packet{
			&rtcp.TransportLayerNack{MediaSSRC: uint32(track.SSRC()), Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{p.SequenceNumber})},
			&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())},
		}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "requests are counted", func() bool {
		f := look()
		return f.Nacks >= before.Nacks+3 && f.Keyframes >= before.Keyframes+3 && f.Retransmitted > before.Retransmitted
	})
	eventually(t, "a report of losses is taken", func() bool {
		if err := bob.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: uint32(track.SSRC()), FractionLost: 64}}}}); err != nil {
			t.Fatal(err)
		}
		return look().Loss == 0.25
	})
	ask.Quality = "low"
	if err := bob.write(ask); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the least encoding is sent", func() bool { return look().Layer == 0 })
	last := look()
	ask.Type = message.UnsubscribeTrack
	if err := bob.write(ask); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is forwarded", func() bool { return len(v.unit.Stats().Tracks) == 0 })
	if all := v.unit.Stats().Video; all.Packets < last.Packets || all.Bytes < last.Bytes || all.Nacks < last.Nacks {
		t.Errorf("in all %+v, and of the track alone %+v", all, last)
	}
}
