package forward

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// TestPausedStreamGoesOn pauses a stream amid a frame, and looks at what follows:
// it begins with a keyframe, at the time that it is of, and nothing but the rest of
// that frame is missing.
func TestPausedStreamGoesOn(t *testing.T) {
	for _, reported := range []bool{false, true} {
		s := NewStream(media.VP8, 65000)
		e := &encoder{codec: media.VP8, source: 1, sequence: 60000, timestamp: 4_000_000_000, id: 0x7ffe, tl0: 250}
		var before, after []Packet
		take := func(out []Packet, frame []Packet) []Packet {
			for _, p := range frame {
				out = s.Take(out, 1, 1, p)
			}
			return out
		}
		at := func(n int) time.Time { return epoch.Add(time.Duration(n) * 40 * time.Millisecond) }
		before = take(before, e.frame(at(0), 3, true))
		if reported {
			e.report(s, at(0))
		}
		before = take(before, e.frame(at(1), 3, false)[:2])
		s.Pause(true)
		for n := 2; n < 100; n++ {
			if out := take(nil, e.frame(at(n), 3, n == 50)); len(out) > 0 {
				t.Fatalf("a paused stream sends %d packets", len(out))
			}
		}
		s.Pause(false)
		if s.Follows(1) {
			t.Error("no keyframe is asked for after the pause")
		}
		for n := 100; n < 103; n++ {
			if after = take(after, e.frame(at(n), 2, false)); len(after) > 0 {
				t.Fatal("it goes on without a keyframe")
			}
		}
		// By a path that has become 30 ms longer.
		late := e.frame(at(103), 2, true)
		for i := range late {
			late[i].Arrival = late[i].Arrival.Add(30 * time.Millisecond)
		}
		after = take(after, late)
		after = take(after, e.frame(at(104), 2, false))
		if len(before) != 5 || len(after) != 4 || !s.Follows(1) {
			t.Fatalf("%d packets before, %d after", len(before), len(after))
		}
		first, last := after[0], before[4]
		if d := first.Sequence - last.Sequence; d != 2 {
			t.Errorf("it goes on %d numbers after what was cut off, want 2", d)
		}
		if d := first.Timestamp - before[0].Timestamp; d != 103*3600 {
			t.Errorf("it goes on %d later, want %d", d, 103*3600)
		}
		a, b := look(media.VP8, last.Payload), look(media.VP8, first.Payload)
		if d := (b.getID(first.Payload) - a.getID(last.Payload)) & 0x7fff; d != 1 || !b.key {
			t.Errorf("PictureID goes on by %d, with a keyframe: %v", d, b.key)
		}
		for i := range after[1:] {
			if after[i+1].Sequence != after[i].Sequence+1 {
				t.Error("numbers do not go on after the pause")
			}
		}
	}
}

func TestPauseBeforeTheBeginning(t *testing.T) {
	s := NewStream(media.VP8, 0)
	e := &encoder{codec: media.VP8, source: 1}
	s.Pause(true)
	for _, p := range e.frame(epoch, 2, true) {
		if len(s.Take(nil, 1, 1, p)) > 0 {
			t.Fatal("a paused stream sends")
		}
	}
	s.Pause(false)
	if out := s.Take(nil, 1, 1, e.frame(epoch.Add(time.Second), 1, true)[0]); len(out) != 1 || out[0].Sequence != 0 {
		t.Fatalf("it begins with %v", out)
	}
}

func TestRelieve(t *testing.T) {
	track := func(least, more int) *Demand {
		return &Demand{Video: true, Encodings: []Encoding{{Source: uint32(least), Bitrate: least}, {Source: uint32(more), Bitrate: more}}}
	}
	sound := &Demand{Encodings: []Encoding{{Source: 7, Bitrate: 50_000}}}
	demands := []*Demand{track(100_000, 900_000), sound, track(200_000, 900_001), track(300_000, 900_002)}
	if sum := Least(demands); sum != 650_000 || !Fits(sum, 800_000) || Fits(sum, 700_000) {
		t.Errorf("the least is %d", sum)
	}
	var c Chooser
	now := epoch
	choose := func(estimate int, relief bool, want ...uint32) {
		t.Helper()
		now = now.Add(time.Second)
		for _, d := range demands {
			d.Limit = 0
			d.Paused = d.Paused && relief
		}
		if relief {
			Relieve(estimate, estimate != 400_000, demands)
		}
		c.Choose(now, estimate, demands)
		for i, d := range demands {
			got := d.Wanted
			if d.Paused {
				got = 0
			}
			if got != want[i] {
				t.Fatalf("with %d bit/s track %d is sent %d, want %d", estimate, i, got, want[i])
			}
		}
	}
	choose(9_000_000, false, 900_000, 7, 900_001, 900_002)
	choose(9_000_000, true, 100_000, 7, 200_000, 300_000)
	choose(400_000, true, 100_000, 7, 200_000, 300_000) // is not to pause any
	choose(500_000, true, 100_000, 7, 200_000, 0)
	choose(900_000, true, 100_000, 7, 200_000, 0) // not to and fro
	choose(200_000, true, 100_000, 7, 0, 0)
	choose(1, true, 0, 7, 0, 0)
	choose(800_000, false, 100_000, 7, 200_000, 300_000)
	now = now.Add(time.Minute)
	choose(9_000_000, false, 900_000, 7, 900_001, 900_002)
}
