package forward

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// layered makes the packets of an encoding with three temporal layers and, of VP9,
// three spatial ones, which refer to each other in keyframes only (L3T3_KEY).
type layered struct {
	codec    media.Codec
	sequence uint16
	id       uint16
	tl0      byte
	number   uint32
	phase    int
}

// The temporal layers of four pictures, and how many pictures before is what each of
// them refers to.
var (
	pattern = []byte{0, 2, 1, 2}
	backs   = []uint32{4, 1, 2, 1}
)

// picture gives the packets of a picture. Behind its descriptor each has the number
// of the picture and that of the one that it refers to, 0 for none.
func (e *layered) picture(at time.Time, key bool) (out []Packet) {
	e.number++
	e.id++
	if key {
		e.phase = 0
	}
	tid, back := pattern[e.phase], backs[e.phase]
	e.phase = (e.phase + 1) % len(pattern)
	if tid == 0 {
		e.tl0++
	}
	refers := e.number - back
	if key {
		refers = 0
	}
	spatial := 1
	if e.codec == media.VP9 {
		spatial = 3
	}
	for sid := range spatial {
		for i := range 2 {
			var b []byte
			first, last := i == 0, i == 1
			if e.codec == media.VP9 {
				b = []byte{0xe0, 0x80 | byte(e.id>>8&0x7f), byte(e.id), tid<<5 | byte(sid)<<1, e.tl0}
				if key {
					b[0] &^= 0x40
				}
				if first {
					b[0] |= 0x08
				}
				if last {
					b[0] |= 0x04
				}
				if tid < 2 {
					b[3] |= 0x10
				}
				if key && sid > 0 {
					b[3] |= 1
				}
			} else {
				b = []byte{0x80, 0xe0, 0x80 | byte(e.id>>8&0x7f), byte(e.id), e.tl0, tid << 6, 1}
				if first {
					b[0] |= 0x10
				}
				if first && key {
					b[6] = 0
				}
				if e.phase != 0 && tid > 0 { // the last of the four refers to the one of layer 1
					b[5] |= 0x20
				}
			}
			b = binary.BigEndian.AppendUint32(b, e.number)
			b = binary.BigEndian.AppendUint32(b, refers)
			out = append(out, Packet{
				Arrival: at, Sequence: e.sequence, Timestamp: e.number * 3000,
				Marker: last && sid == spatial-1, Payload: append(b, byte(sid)),
			})
			e.sequence++
		}
	}
	return out
}

// TestLayersAreLeftOut has a subscriber want other layers at random, and looks that
// what it gets is whole pictures, with all that they refer to.
func TestLayersAreLeftOut(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		for seed := range uint64(50) {
			testLayers(t, codec, seed)
		}
	}
}

func testLayers(t *testing.T, codec media.Codec, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	e := &layered{codec: codec, sequence: uint16(rng.Uint32()), id: uint16(rng.Uint32()), tl0: byte(rng.Uint32())}
	s := NewStream(codec, 65000)
	type layer struct {
		picture uint32
		spatial byte
	}
	have := map[layer]int{} // packets of it
	next, id := uint16(65000), -1
	key := true
	var of uint32 // the picture that has begun and not ended
	counts := map[Layers]int{}
	for n := range 2000 {
		if rng.IntN(20) == 0 {
			s.SetLayers(Layers{int8(rng.IntN(3)), int8(rng.IntN(3))})
		}
		at := epoch.Add(time.Duration(n) * 33 * time.Millisecond)
		var out []Packet
		if rng.IntN(30) == 0 && n > 0 { // it probes
			out = s.Take(out, 1, 1, Packet{Arrival: at, Sequence: e.sequence, Timestamp: e.number * 3000})
			e.sequence++
		}
		for _, p := range e.picture(at, key) {
			out = s.Take(out, 1, 1, p)
		}
		key = !s.Follows(1) && rng.IntN(10) == 0
		for i, p := range out {
			if p.Sequence != next {
				t.Fatalf("%v, %d: number %d after %d", codec, seed, p.Sequence, next-1)
			}
			next++
			tail := p.Payload[len(p.Payload)-9:]
			number, refers, sid := binary.BigEndian.Uint32(tail), binary.BigEndian.Uint32(tail[4:]), tail[8]
			if of != 0 && number != of {
				t.Fatalf("%v, %d: picture %d begins before %d has ended", codec, seed, number, of)
			}
			if of = number; p.Marker {
				of = 0
			}
			if p.Marker != (i == len(out)-1) {
				t.Fatalf("%v, %d: packet %d of %d of a picture has the marker %v", codec, seed, i+1, len(out), p.Marker)
			}
			if refers != 0 && have[layer{refers, sid}] == 0 || refers == 0 && sid > 0 && have[layer{number, sid - 1}] == 0 {
				t.Fatalf("%v, %d: picture %d, layer %d refers to %d, which was left out", codec, seed, number, sid, refers)
			}
			have[layer{number, sid}]++
			info := look(codec, p.Payload)
			if got := int(info.getID(p.Payload)); codec == media.VP8 && i == 0 {
				if id >= 0 && got != (id+1)&0x7fff {
					t.Fatalf("%v, %d: PictureID %d after %d", codec, seed, got, id)
				}
				id = got
			}
			if i == len(out)-1 {
				counts[info.layers]++
			}
		}
		if !within(out, s.wanted, codec) {
			t.Fatalf("%v, %d: more than is wanted goes out", codec, seed)
		}
	}
	least := 3 // temporal layers
	if codec == media.VP9 {
		least = 9
	}
	if len(counts) < least {
		t.Errorf("%v, %d: only %v", codec, seed, counts)
	}
}

// within tells whether all is within what is wanted.
func within(out []Packet, wanted Layers, codec media.Codec) bool {
	return !slices.ContainsFunc(out, func(p Packet) bool {
		l, ok := LayersOf(codec, p)
		return ok && !cutAt(wanted).keeps(l)
	})
}

// TestLateLayersAreNotMissed has packets overtake each other: each number goes out
// once, and of what is left out there is nothing.
func TestLateLayersAreNotMissed(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 9))
		e := &layered{codec: media.VP9, sequence: 65500}
		s := NewStream(media.VP9, 100)
		s.SetLayers(Layers{Spatial: 0, Temporal: 1})
		var all []Packet
		for n := range 300 {
			all = append(all, e.picture(epoch.Add(time.Duration(n)*33*time.Millisecond), n == 0)...)
		}
		for i := 6; i+1 < len(all); i++ {
			if rng.IntN(4) == 0 {
				all[i], all[i+1] = all[i+1], all[i]
			}
		}
		seen := map[uint16]bool{}
		empty, highest := 0, uint16(99)
		for _, p := range all {
			for _, q := range s.Take(nil, 1, 1, p) {
				if seen[q.Sequence] {
					t.Fatalf("%d: number %d goes out twice", seed, q.Sequence)
				}
				seen[q.Sequence] = true
				if int16(q.Sequence-highest) > 0 {
					highest = q.Sequence
				}
				if len(q.Payload) == 0 {
					empty++
				} else if l, _ := LayersOf(media.VP9, q); !cutAt(s.wanted).keeps(l) {
					t.Fatalf("%d: %v goes out", seed, l)
				}
			}
		}
		if want := int(highest - 99); len(seen) != want || empty == 0 || want > 700 {
			t.Errorf("%d: %d of %d numbers, %d empty", seed, len(seen), want, empty)
		}
	}
}

// TestTemporalLayersComeBackWithAKeyframe: where the encoder never says that one may
// switch up, a keyframe is needed, but not at once.
func TestTemporalLayersComeBackWithAKeyframe(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		e := &layered{codec: codec}
		s := NewStream(codec, 0)
		needed, key, back := -1, false, false
		for n := range 200 {
			switch n {
			case 10:
				s.SetLayers(Layers{All.Spatial, 0})
			case 50:
				s.SetLayers(All)
			}
			var highest int8
			for _, p := range e.picture(epoch.Add(time.Duration(n)*33*time.Millisecond), n == 0 || key) {
				if codec == media.VP8 {
					p.Payload[5] &^= 0x20 // Y
				} else {
					p.Payload[3] &^= 0x10 // U
				}
				for _, q := range s.Take(nil, 1, 1, p) {
					l, _ := LayersOf(codec, q)
					highest = max(highest, l.Temporal)
				}
			}
			if key = !s.Follows(1) && n > needed+5 && needed >= 0; needed < 0 && !s.Follows(1) {
				needed = n
			}
			if n > needed+10 && needed > 0 {
				back = back || highest == 2
			}
		}
		if needed < 50+60 || needed > 50+63 || !back || !s.Follows(1) {
			t.Errorf("%v: a keyframe is needed from picture %d on; layers came back: %v", codec, needed, back)
		}
	}
}
