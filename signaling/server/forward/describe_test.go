package forward

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/media/dependency"
)

// shape is how the frames of a source depend on each other.
type shape struct {
	name              string
	spatial, temporal int
	// full: layers refer to the one below in every picture, not in keyframes only.
	full bool
	// shift: the upper spatial layers are two pictures ahead (L2T2_KEY_SHIFT).
	shift bool
}

var shapes = []shape{
	{name: "L1T2", spatial: 1, temporal: 2}, {name: "L1T3", spatial: 1, temporal: 3},
	{name: "L2T1_KEY", spatial: 2, temporal: 1}, {name: "L3T3_KEY", spatial: 3, temporal: 3},
	{name: "L2T2", spatial: 2, temporal: 2, full: true}, {name: "L2T3", spatial: 2, temporal: 3, full: true},
	{name: "L3T1", spatial: 3, temporal: 1, full: true},
}

// pattern gives the temporal layers of the pictures.
func (s shape) pattern() []int { return [][]int{{0}, {0, 1}, {0, 2, 1, 2}}[s.temporal-1] }

// indication is what a frame of layers l is to the target up to layers t.
func (s shape) indication(key bool, l, t Layers) dependency.Indication {
	switch {
	case l.Spatial > t.Spatial || l.Temporal > t.Temporal:
		return dependency.NotPresent
	case key:
		return dependency.Switch
	case l.Spatial < t.Spatial && !s.full:
		return dependency.NotPresent
	case l.Spatial < t.Spatial:
		return dependency.Required
	case l.Temporal == 0 || l.Temporal < t.Temporal:
		return dependency.Switch
	}
	return dependency.Discardable
}

func (s shape) layers() (all []Layers) {
	for i := range s.spatial {
		for j := range s.temporal {
			all = append(all, Layers{int8(i), int8(j)})
		}
	}
	return all
}

// scalable makes the packets of an AV1 source.
type scalable struct {
	codec    media.Codec // 0 is AV1
	shape    shape
	sequence uint16
	number   uint16 // of the next frame
	pictures int
	phase    int
	offset   uint32 // of template ids
	// The numbers of the latest frames, by spatial and temporal layer, of the latest
	// that the frames of the layers above may refer to, and of chains.
	latest [3][3]uint16
	chains [3]uint16
}

// sentFrame is a frame as it was made.
type sentFrame struct {
	number      uint16
	layers      Layers
	indications []dependency.Indication // for each of layers()
}

type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) put(n int, v uint32) *bitWriter {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

// nonSymmetric writes a number below n.
func (w *bitWriter) nonSymmetric(n, v int) {
	bits := 0
	for x := n; x != 0; x >>= 1 {
		bits++
	}
	if m := 1<<bits - n; v < m {
		w.put(bits-1, uint32(v))
	} else {
		w.put(bits, uint32(v+m))
	}
}

// structure writes that of the source.
func (e *scalable) structure(w *bitWriter) {
	all := e.shape.layers()
	w.put(6, e.offset).put(5, uint32(len(all)-1))
	for i, l := range all {
		switch {
		case i == len(all)-1:
			w.put(2, 3)
		case all[i+1].Spatial > l.Spatial:
			w.put(2, 2)
		default:
			w.put(2, 1)
		}
	}
	for _, l := range all {
		for _, t := range all {
			w.put(2, uint32(e.shape.indication(false, l, t)))
		}
	}
	for range all {
		w.put(1, 1).put(4, 0).put(1, 0) // each frame says what it refers to
	}
	w.nonSymmetric(len(all)+1, e.shape.spatial)
	for _, t := range all {
		w.nonSymmetric(e.shape.spatial, int(t.Spatial))
	}
	for range all {
		for range e.shape.spatial {
			w.put(4, 1)
		}
	}
	w.put(1, 0)
}

// picture gives the packets of a picture, and its frames.
func (e *scalable) picture(at time.Time, key bool) (out []Packet, frames []sentFrame) {
	pattern := e.shape.pattern()
	if key {
		e.phase = 0
		e.offset = (e.offset + 9) % 64
	}
	e.pictures++
	all := e.shape.layers()
	for sid := range e.shape.spatial {
		phase := e.phase
		if e.shape.shift && sid > 0 && !key {
			phase++
		}
		tid := pattern[phase%len(pattern)]
		var refs []uint16
		if !key {
			ref := e.latest[sid][0]
			for j := range tid { // the newest of the layers below
				if int16(e.latest[sid][j]-ref) > 0 {
					ref = e.latest[sid][j]
				}
			}
			refs = append(refs, ref)
		}
		if sid > 0 && (key || e.shape.full) {
			refs = append(refs, e.number-1)
		}
		f := sentFrame{number: e.number, layers: Layers{int8(sid), int8(tid)}}
		for _, t := range all {
			f.indications = append(f.indications, e.shape.indication(key, f.layers, t))
		}
		frames = append(frames, f)
		packets := 1 + int(e.number)%2
		for i := range packets {
			start, end := i == 0, i == packets-1
			first := start && sid == 0 && key
			w := new(bitWriter).put(1, bit(start)).put(1, bit(end))
			w.put(6, (e.offset+uint32(sid*e.shape.temporal+tid))%64).put(16, uint32(e.number))
			w.put(1, bit(first)).put(1, 0).put(1, bit(key)).put(2, 3)
			if first {
				e.structure(w)
			}
			if key {
				for _, i := range f.indications {
					w.put(2, uint32(i))
				}
			}
			for _, r := range refs {
				w.put(2, 3).put(12, uint32(e.number-r-1))
			}
			w.put(2, 0)
			for c := range e.shape.spatial {
				distance := uint32(uint8(e.number - e.chains[c]))
				if key && c >= sid {
					distance = 0
					if sid > 0 {
						distance = uint32(sid)
					}
				}
				w.put(8, distance)
			}
			p := Packet{
				Arrival: at, Sequence: e.sequence, Timestamp: uint32(e.pictures) * 3000,
				Marker: end && sid == e.shape.spatial-1, Payload: []byte{0x10, 0x32, byte(e.number >> 8), byte(e.number), byte(i)},
				Dependency: w.b,
			}
			switch {
			case e.codec == media.VP8: // as Chromium makes it where there are descriptors
				p.Payload = []byte{byte(bit(start) << 4), byte(1 - bit(key))}
			case first:
				p.Payload[0] |= 0x08
			}
			out = append(out, p)
			e.sequence++
		}
		if key {
			for j := range e.latest[sid] {
				e.latest[sid][j] = e.number
			}
		}
		e.latest[sid][tid] = e.number
		if tid == 0 {
			for c := sid; c < e.shape.spatial; c++ {
				e.chains[c] = e.number
			}
		}
		e.number++
	}
	e.phase = (e.phase + 1) % len(pattern)
	return out, frames
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// receiver looks at what comes with the descriptors' own rules only.
type receiver struct {
	t      *testing.T
	what   string
	next   uint16
	reader dependency.Reader
	frames map[uint16]bool
	open   uint32 // the picture that has begun and not ended, 0: none
	active uint32 // as told last
}

// take looks at a packet, and gives its frame.
func (r *receiver) take(p Packet) dependency.Frame {
	r.t.Helper()
	if p.Sequence != r.next {
		r.t.Fatalf("%s: packet %d, want %d", r.what, p.Sequence, r.next)
	}
	r.next++
	var f dependency.Frame
	if _, ok := r.reader.Read(p.Dependency, &f); !ok {
		r.t.Fatalf("%s: the descriptor %x can't be read", r.what, p.Dependency)
	}
	if r.open != 0 && p.Timestamp != r.open {
		r.t.Fatalf("%s: picture %d begins before %d has ended", r.what, p.Timestamp, r.open)
	}
	if r.open = p.Timestamp; p.Marker {
		r.open = 0
	}
	for _, d := range f.Diffs {
		if !r.frames[f.Number-d] {
			r.t.Fatalf("%s: frame %d, layers %d, %d, refers to %d, which has not come", r.what, f.Number, f.Spatial, f.Temporal, f.Number-d)
		}
	}
	if f.End {
		r.frames[f.Number] = true
	}
	r.active = f.Active
	return f
}

// TestDescribedLayersAreLeftOut has a subscriber want other layers of sources at random
// of which only descriptors tell,
// and looks that what it gets can be decoded by what the descriptors say: all
// references are there, and each target that is said to be active has all its frames.
func TestDescribedLayersAreLeftOut(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			for seed := range uint64(10) {
				testScalable(t, media.AV1, shape, seed)
				if shape.spatial == 1 {
					testScalable(t, media.VP8, shape, seed)
				}
			}
		})
	}
}

func testScalable(t *testing.T, codec media.Codec, shape shape, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	e := &scalable{codec: codec, shape: shape, sequence: uint16(rng.Uint32()), number: uint16(rng.Uint32()), offset: uint32(rng.IntN(64))}
	s := NewStream(codec, 65000)
	r := &receiver{t: t, what: fmt.Sprint(codec, " ", seed), next: 65000, frames: map[uint16]bool{}}
	var d Descriptions
	all := shape.layers()
	key := true
	counts := map[Layers]int{}
	for n := range 1500 {
		if rng.IntN(20) == 0 {
			s.SetLayers(Layers{int8(rng.IntN(shape.spatial)), int8(rng.IntN(shape.temporal))})
		}
		at := epoch.Add(time.Duration(n) * 33 * time.Millisecond)
		var out []Packet
		if rng.IntN(30) == 0 && n > 0 { // it probes
			out = s.Take(out, 1, 1, Packet{Arrival: at, Sequence: e.sequence, Timestamp: uint32(e.pictures) * 3000})
			e.sequence++
		}
		packets, frames := e.picture(at, key)
		for _, p := range packets {
			p.Description = d.Read(p.Dependency, p.Sequence, p.Timestamp)
			out = s.Take(out, 1, 1, p)
		}
		for i, p := range out {
			f := r.take(p)
			if p.Marker != (i == len(out)-1) {
				t.Fatalf("%d: packet %d of %d of a picture has the marker %v", seed, i+1, len(out), p.Marker)
			}
			l := Layers{int8(f.Spatial), int8(f.Temporal)}
			if !cutAt(s.wanted).keeps(l) {
				t.Fatalf("%d: %v goes out, more than %v", seed, l, s.wanted)
			}
			counts[l]++
		}
		for _, f := range frames {
			for i, target := range all {
				active := len(out) > 0 && r.active>>i&1 != 0
				if active && f.indications[i] != dependency.NotPresent && !r.frames[f.number] {
					t.Fatalf("%d: frame %d, layers %v, was left out, and target %v is said to be active", seed, f.number, f.layers, target)
				}
				if key && active != cutAt(s.wanted).keeps(target) {
					t.Fatalf("%d: at a keyframe, target %v is active: %v, wanted %v", seed, target, active, s.wanted)
				}
			}
		}
		key = !s.Follows(1) && rng.IntN(10) == 0
	}
	if len(counts) != len(all) {
		t.Errorf("%d: only %v", seed, counts)
	}
}

// TestTemporalLayersComeBack has layers come back without a keyframe, where an
// indication says that one may switch.
func TestTemporalLayersComeBack(t *testing.T) {
	for _, shape := range shapes {
		if shape.temporal == 1 {
			continue
		}
		e := &scalable{shape: shape}
		s := NewStream(media.AV1, 0)
		s.SetLayers(Layers{All.Spatial, 0})
		var d Descriptions
		r := &receiver{t: t, what: shape.name, frames: map[uint16]bool{}}
		back := false
		for n := range 41 {
			if n == 22 {
				s.SetLayers(All)
			}
			packets, frames := e.picture(epoch.Add(time.Duration(n)*33*time.Millisecond), n == 0)
			var out []Packet
			for _, p := range packets {
				p.Description = d.Read(p.Dependency, p.Sequence, p.Timestamp)
				out = s.Take(out, 1, 1, p)
			}
			for _, p := range out {
				r.take(p)
			}
			base := frames[0].layers.Temporal == 0
			back = back || base && n >= 22 // at the next picture of the lowest layer
			want := base || back
			if got := len(out) == len(packets); got != want || !got && len(out) > 0 {
				t.Errorf("%s: of picture %d, %d of %d packets go out", shape.name, n, len(out), len(packets))
			}
		}
		if all := uint32(1)<<len(shape.layers()) - 1; r.active != all {
			t.Errorf("%s: active are %b, want %b", shape.name, r.active, all)
		}
	}
}

// TestShiftedLayersEndTheirPictures: where the temporal layers of a picture's frames
// differ, each picture still has its marker.
func TestShiftedLayersEndTheirPictures(t *testing.T) {
	e := &scalable{shape: shape{name: "L2T2_KEY_SHIFT", spatial: 2, temporal: 2, shift: true}}
	s := NewStream(media.AV1, 0)
	r := &receiver{t: t, frames: map[uint16]bool{}}
	var d Descriptions
	for n := range 200 {
		switch n {
		case 20:
			s.SetLayers(Layers{1, 0})
		case 60:
			s.SetLayers(Layers{0, 1})
		case 100:
			s.SetLayers(Layers{0, 0})
		}
		packets, _ := e.picture(epoch.Add(time.Duration(n)*33*time.Millisecond), n == 0 || n == 140)
		var out []Packet
		for _, p := range packets {
			p.Description = d.Read(p.Dependency, p.Sequence, p.Timestamp)
			out = s.Take(out, 1, 1, p)
		}
		for i, p := range out {
			if f := r.take(p); n > 60 && f.Spatial > 0 {
				t.Errorf("picture %d has the upper layer", n)
			}
			if p.Marker != (i == len(out)-1) {
				t.Fatalf("packet %d of %d of picture %d has the marker %v", i+1, len(out), n, p.Marker)
			}
		}
		if len(out) == 0 {
			t.Errorf("nothing of picture %d", n)
		}
	}
}

// TestTheStructureMayComeLate: when the packet with the structure is lost at first,
// its picture goes out whole, and layers are left out as soon as it has come.
func TestTheStructureMayComeLate(t *testing.T) {
	for _, late := range []int{1, 2, 3, 5, 9} { // packets later
		e := &scalable{shape: shape{spatial: 3, temporal: 3}, number: 1}
		s := NewStream(media.AV1, 0)
		s.SetLayers(Layers{0, 2})
		var d Descriptions
		var in []Packet
		for n := range 60 {
			packets, _ := e.picture(epoch.Add(time.Duration(n)*33*time.Millisecond), n == 0 || n == 30)
			if n == 30 {
				late += len(in)
				in = append(in, packets...)
				continue
			}
			in = append(in, packets...)
		}
		first := slices.IndexFunc(in[1:], func(p Packet) bool { return dependency.Structured(p.Dependency) }) + 1
		lost := in[first]
		in = slices.Insert(slices.Delete(in, first, first+1), late, lost)
		var out []Packet
		for _, p := range in {
			p.Description = d.Read(p.Dependency, p.Sequence, p.Timestamp)
			out = s.Take(out, 1, 1, p)
		}
		slices.SortStableFunc(out, func(a, b Packet) int { return int(int16(a.Sequence - b.Sequence)) })
		r := &receiver{t: t, what: fmt.Sprintf("%d later", late-first), frames: map[uint16]bool{}}
		upper := 0
		for _, p := range out {
			if f := r.take(p); f.Spatial > 0 {
				upper++
			}
		}
		if whole := 4; upper > late-first+whole {
			t.Errorf("%d of the upper layers' packets go out though the structure came after %d", upper, late-first)
		}
	}
}

// TestFrameNumbersGoOn: encodings may number their frames as they like.
func TestFrameNumbersGoOn(t *testing.T) {
	encodings := []*scalable{
		{shape: shapes[1], number: 40000, sequence: 7}, {shape: shapes[1], number: 100, sequence: 60000}, {shape: shapes[1], number: 39990, sequence: 300},
	}
	descriptions := make([]Descriptions, len(encodings))
	s := NewStream(media.AV1, 0)
	r := &receiver{t: t, frames: map[uint16]bool{}}
	newest, began := uint16(0), false
	for n := range 200 {
		wanted := n / 20 % 3
		for i, e := range encodings {
			packets, _ := e.picture(epoch.Add(time.Duration(n)*33*time.Millisecond), n%20 == 0)
			for _, p := range packets {
				p.Description = descriptions[i].Read(p.Dependency, p.Sequence, p.Timestamp)
				for _, q := range s.Take(nil, uint32(i+1), uint32(wanted+1), p) {
					f := r.take(q)
					if began && f.Start && int16(f.Number-newest) <= 0 {
						t.Fatalf("picture %d: frame %d after %d", n, f.Number, newest)
					}
					newest, began = f.Number, true
				}
			}
		}
	}
	if len(r.frames) < 180 {
		t.Errorf("%d frames", len(r.frames))
	}
}

// FuzzDescriptions sends a stream with any descriptors. Whatever they say, it goes on:
// each packet goes out at most once, and what can't be read goes out as it is.
func FuzzDescriptions(f *testing.F) {
	for _, list := range [][]string{
		{"800001c00514853aaaa8018004004002a02a0060010015d34514174d144c700874321651118543276809f8059813f80b38e0", "c300021a000800", "850007"},
		{"8000018002044eaaaf2860414d34538a0940409fc059c0", "400001", "8500051220"},
	} {
		var b []byte
		for i, h := range list {
			one, _ := hex.DecodeString(h)
			b = append(append(b, byte(i), byte(len(one))), one...)
		}
		f.Add(b)
	}
	e := &scalable{shape: shape{spatial: 3, temporal: 3}}
	var b []byte
	for n := range 5 {
		packets, _ := e.picture(epoch, n == 0)
		for i, p := range packets {
			b = append(append(b, byte(n*4+i), byte(len(p.Dependency))), p.Dependency...)
		}
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, codec := range []media.Codec{media.AV1, media.VP9} {
			s := NewStream(codec, 0)
			var d Descriptions
			seen := map[uint16]bool{}
			sequence, sent := uint16(0), false
			for rest := in; len(rest) > 1; {
				control, n := rest[0], min(int(rest[1]), len(rest)-2)
				b := rest[2 : 2+n]
				rest = rest[2+n:]
				s.SetLayers(Layers{int8(control >> 2 & 3), int8(control >> 4 & 3)})
				p := Packet{
					Arrival: epoch, Sequence: sequence - uint16(control&1), Timestamp: uint32(sequence / 4), Marker: control&2 != 0,
					Payload: []byte{0x18, 0x08, 0x00, 1}, Dependency: b,
				}
				if codec == media.VP9 {
					p.Payload = []byte{0x2c, control & 0xde, 1, 1}
				}
				p.Description = d.Read(b, p.Sequence, p.Timestamp)
				sequence++
				if d := p.Description; d != nil && (d.layers.Spatial >= MaxLayers || d.layers.Temporal >= MaxLayers || len(d.targets) > dependency.MaxTargets) {
					t.Fatalf("%+v", d)
				}
				out := s.Take(nil, 1, 1, p)
				for _, q := range out {
					if seen[q.Sequence] || len(q.Dependency) > dependency.MaxSize {
						t.Fatalf("%d goes out again, or with %d bytes", q.Sequence, len(q.Dependency))
					}
					seen[q.Sequence], sent = true, true
				}
				if codec == media.AV1 && p.Description == nil && control&1 == 0 && sent && len(out) != 1 {
					t.Fatalf("what can't be read goes out %d times", len(out))
				}
			}
		}
	})
}
