package timeline

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// FuzzTimeline: whatever comes, frames come back, in order, each later than the
// one before but for those that are reordered, and none is held for longer than
// allowed.
func FuzzTimeline(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 20, 0, 0, 0, 0, 0, 20, 3, 192, 2, 100, 0, 0, 1, 0, 4, 5, 9, 200, 1, 3, 255, 255})
	f.Add([]byte("the quick brown fox jumps over the lazy dog, again and again and again"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := New(Config{})
		tracks := []*Track{c.NewTrack(media.Audio, 48000), c.NewTrack(media.Video, 90000), c.NewTrack(media.Video, 0)}
		var pushed, popped [3]int
		var last [3]time.Duration
		var stamps [3]uint32
		var since [3][]time.Duration
		var now time.Duration
		next := func(n int) uint64 {
			var b [8]byte
			in = in[copy(b[:n], in):]
			return binary.LittleEndian.Uint64(b[:])
		}
		pop := func() {
			for i, tr := range tracks {
				for {
					p, ok := tr.Pop(now)
					if !ok {
						break
					}
					if p.Time < 0 || popped[i] > 0 && p.Time < last[i]+ms && !p.Frame.Reordered {
						t.Fatalf("time goes from %v to %v", last[i], p.Time)
					}
					if want := popped[i]; p.Frame.Packets != want {
						t.Fatalf("frame %d came, want %d", p.Frame.Packets, want)
					}
					if now-since[i][popped[i]] > DefaultMaxHold {
						t.Fatalf("a frame was held for %v", now-since[i][popped[i]])
					}
					last[i] = max(last[i], p.Time)
					popped[i]++
				}
			}
		}
		step := func(to time.Duration) {
			for {
				first, found := to, false
				for _, tr := range tracks {
					if d, ok := tr.Deadline(); ok && d <= first {
						if d < now {
							t.Fatalf("the deadline %v was missed at %v", d, now)
						}
						first, found = d, true
					}
				}
				if !found {
					now = max(now, to)
					return
				}
				now = first
				pop()
			}
		}
		for len(in) > 0 && pushed[0]+pushed[1]+pushed[2] < 2000 {
			op := next(1)
			i := int(op>>4) % 3
			step(now + time.Duration(next(1))*ms)
			arrival := now
			if op&8 != 0 { // out of order
				arrival = max(0, now-time.Duration(next(2))*ms)
			}
			switch op & 7 {
			case 0, 1, 2, 3:
				stamps[i] += uint32(next(2))
				fr := depacket.Frame{Timestamp: stamps[i], Packets: pushed[i], Restarted: op&7 == 3}
				if op&7 == 2 {
					fr.CaptureTime = next(8)
				}
				if i == 1 && op&7 == 1 {
					fr.Reorders, fr.Reordered = true, op&8 == 0
				}
				tracks[i].Push(fr, arrival)
				since[i] = append(since[i], now)
				pushed[i]++
			case 4:
				stamps[i] = uint32(next(4))
			case 5:
				tracks[i].Report(signaling.SenderReport{NTP: next(8), RTP: uint32(next(4))}, arrival)
			case 6:
				tracks[i].Report(signaling.SenderReport{NTP: uint64(now/time.Millisecond) << 32 / 1000, RTP: stamps[i]}, arrival)
			case 7:
				step(now + time.Duration(next(2))*ms)
			}
			pop()
			for _, tr := range tracks {
				tr.Stats()
			}
		}
		for _, tr := range tracks {
			tr.Flush()
		}
		pop()
		if pushed != popped {
			t.Fatalf("%v frames were pushed, %v came back", pushed, popped)
		}
	})
}
