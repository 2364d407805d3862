package depacket

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomtape/roomtape/media"
)

const redTestType = 96 // of sender's packets

func newRED(t testing.TB) Depacketizer {
	t.Helper()
	d, err := New(media.Opus, Config{
		RED: map[uint8]bool{redTestType: true}, MaxFrameSize: fuzzMaxFrame,
		Codecs: map[uint8]media.Codec{redTestType: media.Opus, 111: media.Opus, 126: media.CodecUnknown},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// redPayload makes the payload of a RED packet: frames are oldest first, each
// step ticks after the one before.
func redPayload(step uint32, frames ...[]byte) []byte {
	var b []byte
	for i, f := range frames[:len(frames)-1] {
		b = binary.BigEndian.AppendUint32(b, 0x80<<24|111<<24|uint32(len(frames)-1-i)*step<<10|uint32(len(f)))
	}
	b = append(b, 111)
	for _, f := range frames {
		b = append(b, f...)
	}
	return b
}

// TestREDGivesEachFrameOnce loses any packets of a sender that repeats any
// number of frames, and pauses as it likes.
func TestREDGivesEachFrameOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		depth := rapid.IntRange(0, 3).Draw(r, "depth")
		n := rapid.IntRange(1, 40).Draw(r, "packets")
		s := &sender{t: t, seq: 65530, ts: rapid.Uint32().Draw(r, "timestamp")}
		f := &feeder{t: t, d: newRED(t)}
		sent := make([][]byte, n)
		at := make([]uint32, n)
		keep := make([]bool, n)
		want := make([]bool, n)
		pauses := 0
		for i := range n {
			if pause := rapid.IntRange(0, 9).Draw(r, "pause") == 0; pause {
				s.ts += 48 * uint32(rapid.IntRange(1, 4000).Draw(r, "ms"))
				pauses++
			}
			sent[i] = append([]byte{31 << 3}, byte(i), 7, 7)
			at[i] = s.ts
			keep[i] = i == 0 || rapid.IntRange(0, 2).Draw(r, "lost") > 0
			// What it repeats, as far as 14 bits can tell how long ago it was.
			var blocks [][]byte
			var b []byte
			first := i
			for first > 0 && i-first < depth && s.ts-at[first-1] < 1<<14 {
				first--
			}
			for k := first; k < i; k++ {
				b = binary.BigEndian.AppendUint32(b, 0x80<<24|111<<24|(s.ts-at[k])<<10|uint32(len(sent[k])))
				blocks = append(blocks, sent[k])
			}
			b = append(append(b, 111), bytes.Join(append(blocks, sent[i]), nil)...)
			if keep[i] {
				for k := first; k <= i; k++ {
					want[k] = true
				}
				f.push(s.packet(b, false))
			} else {
				s.seq++
				f.lost++
			}
			s.ts += 960
		}
		f.finish()
		next, lost, recovered, pushed := 0, 0, 0, 0
		last := 0
		for i := range n {
			if keep[i] {
				pushed++
				last = i
			}
			if !want[i] {
				continue
			}
			if next >= len(f.frames) {
				r.Fatalf("frame %d is missing", i)
			}
			g := f.frames[next]
			next++
			if !bytes.Equal(g.Data, sent[i]) || g.Timestamp != at[i] {
				r.Fatalf("got frame %d at %d, want %d at %d", g.Data[1], g.Timestamp, i, at[i])
			}
			if (g.Packets == 1) != keep[i] {
				r.Fatalf("frame %d of %d packets, its own was kept: %v", i, g.Packets, keep[i])
			}
			lost += g.LostPackets
			if !keep[i] {
				recovered++
			}
			// Without a pause it is known where the missing frames belong.
			if missing := i > 0 && !want[i-1]; pauses == 0 && missing != (g.LostPackets > 0) {
				r.Fatalf("frame %d comes after %d lost packets", i, g.LostPackets)
			}
		}
		if next != len(f.frames) {
			r.Fatalf("%d frames, want %d", len(f.frames), next)
		}
		if got := f.d.Stats().Recovered; got != uint64(recovered) || lost+recovered != last+1-pushed {
			r.Fatalf("%d recovered, %d lost; want %d recovered of %d", got, lost, recovered, last+1-pushed)
		}
	})
}

func TestREDOfOtherThingsIsLeftOut(t *testing.T) {
	opus := []byte{31 << 3, 1, 2}
	for _, c := range []struct {
		name      string
		payload   []byte
		frames    int
		recovered uint64
		check     func(PacketStats) uint64
	}{
		{"the frame before", redPayload(960, opus, opus), 3, 1, func(s PacketStats) uint64 { return s.Used - 1 }},
		{"frames that were given", redPayload(1920, opus, opus), 2, 0, func(s PacketStats) uint64 { return s.Used - 1 }},
		{"events inside", append(binary.BigEndian.AppendUint32(nil, 0x80<<24|126<<24|960<<10|3), append([]byte{111}, append(opus, opus...)...)...), 2, 0,
			func(s PacketStats) uint64 { return s.Used - 1 }},
		{"an event of its own", append(binary.BigEndian.AppendUint32(nil, 0x80<<24|111<<24|960<<10|3), append([]byte{126}, append(opus, 1, 2)...)...), 2, 1,
			func(s PacketStats) uint64 { return s.Foreign }},
		{"RED in RED", append([]byte{redTestType}, opus...), 1, 0, func(s PacketStats) uint64 { return s.Foreign }},
		{"nothing of its own", redPayload(960, opus, nil), 2, 1, func(s PacketStats) uint64 { return s.Padding }},
		{"a block cut short", redPayload(960, make([]byte, 700), opus)[:600], 1, 0, func(s PacketStats) uint64 { return s.Malformed }},
		{"no last header", []byte{0x80 | 111, 0, 0, 0}, 1, 0, func(s PacketStats) uint64 { return s.Malformed }},
		{"too many blocks", bytes.Repeat([]byte{0x80 | 111, 0, 4, 0}, 100), 1, 0, func(s PacketStats) uint64 { return s.Malformed }},
		{"an old block that is no Opus", redPayload(960, []byte{31<<3 | 3}, opus), 2, 0, func(s PacketStats) uint64 { return s.Used - 1 }},
	} {
		f := &feeder{t: t, d: newRED(t)}
		s := &sender{t: t}
		f.push(s.packet(redPayload(960, opus), false))
		s.ts += 1920
		f.lost = 1
		f.push(s.packet(c.payload, false))
		if n := f.finish(); n != c.frames || f.d.Stats().Recovered != c.recovered || c.check(f.d.Stats().Packets) != 1 {
			t.Errorf("%s: %d frames, want %d: %+v", c.name, n, c.frames, f.d.Stats())
		}
	}
}

func TestREDDoesNotReachBackOverARestart(t *testing.T) {
	opus := []byte{31 << 3, 1, 2}
	f := &feeder{t: t, d: newRED(t)}
	s := &sender{t: t}
	f.push(s.packet(redPayload(960, opus), false))
	f.d.Restart()
	s.ts += 1 << 20
	f.lost = 1
	f.push(s.packet(redPayload(960, opus, opus), false))
	if n := f.finish(); n != 2 || !f.frames[1].Restarted || f.frames[1].LostPackets != 1 || f.frames[1].Duration != 20*time.Millisecond {
		t.Errorf("%d frames: %+v", n, f.frames)
	}
}

func FuzzRED(f *testing.F) {
	opus := []byte{31 << 3, 1, 2}
	var seed []byte
	for i := range 6 {
		b := redPayload(960, opus, opus, opus)
		seed = append(append(seed, 1, byte(len(b)), 1, byte(i%3)<<4), b...)
	}
	f.Add(seed)
	f.Add([]byte("\x01\x08\x01\x10\xef\x0f\x00\x03\xf8\x01\x02"))
	f.Fuzz(func(t *testing.T, in []byte) {
		frames, lost, recovered := pushAll(t, newRED(t), media.Opus, in)
		for i := 1; i < len(frames); i++ {
			if f := frames[i]; f.Packets == 0 && int32(f.Timestamp-frames[i-1].Timestamp) <= 0 {
				t.Fatalf("a repeated frame at %d comes after one at %d", f.Timestamp, frames[i-1].Timestamp)
			}
		}
		if recovered > lost {
			t.Fatalf("%d recovered, %d lost", recovered, lost)
		}
	})
}
