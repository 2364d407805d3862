package recorder

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// redCall is a call of a second of Opus in RED packets that each repeat the one
// before. change sees each packet, and tells whether it arrives.
func redCall(in *signaling.Track, change func(n int, e *signaling.Event) bool) *script {
	in.Codecs = map[uint8]media.Codec{111: media.Opus, 63: media.Opus}
	in.RED = map[uint8]bool{63: true}
	room := &script{}
	room.joined(0, "a")
	a := room.start(0, in)
	a.pt = 63
	frame := func(n int) []byte { return append([]byte{0xfc}, bytes.Repeat([]byte{byte(n)}, 60)...) }
	for n := range 50 {
		b := []byte{111}
		if n > 0 {
			b = binary.BigEndian.AppendUint32(nil, 0x80<<24|111<<24|960<<10|61)
			b = append(append(b, 111), frame(n-1)...)
		}
		a.packet(ms(100+20*n), false, append(b, frame(n)...))
		a.rtp += 960
	}
	a.stop(ms(3000))
	var kept []signaling.Event
	n := 0
	for i := range room.events {
		e := room.events[i]
		if e.Kind == signaling.PacketArrived {
			n++
			if !change(n-1, &e) {
				continue
			}
			e.Packet.Arrival = e.Time
		}
		kept = append(kept, e)
	}
	room.events = nil
	for _, e := range kept {
		room.add(e)
	}
	return room
}

func TestWhatREDRepeatsIsNotLost(t *testing.T) {
	type outcome struct {
		Packets PacketCounts
		Frames  int64
		Gaps    []Gap
	}
	f := &feedback{nacks: map[uint16]int{}}
	for _, c := range []struct {
		name   string
		nack   bool
		change func(n int, e *signaling.Event) bool
		want   outcome
	}{
		{"nothing is lost", false, func(int, *signaling.Event) bool { return true },
			outcome{PacketCounts{Received: 50, Written: 50}, 50, []Gap{}}},
		{"every fourth is lost", false, func(n int, _ *signaling.Event) bool { return n%4 != 2 },
			outcome{PacketCounts{Received: 38, Written: 38, Recovered: 12}, 50, []Gap{}}},
		{"two are lost together", false, func(n int, _ *signaling.Event) bool { return n != 20 && n != 21 },
			outcome{PacketCounts{Received: 48, Written: 48, Recovered: 1, Lost: 1}, 49, []Gap{{AtMS: 400, DurationMS: 20, Packets: 1, Reason: GapLoss}}}},
		{"one comes when its place is filled", false, func(n int, e *signaling.Event) bool {
			if n == 20 {
				e.Time = e.Time.Add(2 * time.Second)
			}
			return true
		}, outcome{PacketCounts{Received: 50, Written: 49, Late: 1, Recovered: 1}, 50, []Gap{}}},
		{"one is sent again in time", true, func(n int, e *signaling.Event) bool {
			if n == 20 {
				e.Time = e.Time.Add(200 * time.Millisecond)
				e.Packet.Recovered = true
			}
			return true
		}, outcome{PacketCounts{Received: 50, Written: 50, Recovered: 1}, 50, []Gap{}}},
		{"one is never sent again", true, func(n int, _ *signaling.Event) bool { return n != 20 },
			outcome{PacketCounts{Received: 49, Written: 49, Recovered: 1}, 50, []Gap{}}},
		{"the last is lost", false, func(n int, _ *signaling.Event) bool { return n != 49 },
			outcome{PacketCounts{Received: 49, Written: 49}, 49, []Gap{}}},
	} {
		in := audioTrack()
		if c.nack {
			in.Retransmits, in.Feedback = true, f
		}
		room := redCall(in, c.change)
		f.room = room
		m := newMemory()
		s, err := run(t, config(m), room)
		if err != nil {
			t.Fatal(err)
		}
		file := s.Manifest().Files[0]
		tr := file.Tracks[0]
		if diff := cmp.Diff(c.want, outcome{tr.Packets, tr.Frames.Written, tr.Gaps}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		// Each frame once, in its place.
		frames := readBack(t, m.files[file.Path].data)
		for _, w := range frames {
			if off := w.at - frames[0].at - ms(20*int(w.data[1])); off.Abs() > time.Millisecond {
				t.Errorf("%s: frame %d is at %v", c.name, w.data[1], w.at)
			}
		}
		if n := int64(len(frames)); n != c.want.Frames {
			t.Errorf("%s: %d frames in the file", c.name, n)
		}
	}
}
