package depacket

import (
	"bytes"
	"testing"

	"github.com/roomtape/roomtape/media"
)

// bitWriter writes a VP9 header.
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

// vp9KeyData makes the header of a keyframe of profile 0, and some data.
func vp9KeyData(width, height, size int) []byte {
	w := new(bitWriter).put(2, 2).put(2, 0).put(1, 0).put(1, 0).put(1, 1).put(1, 0)
	w.put(24, 0x498342).put(3, 1).put(1, 0).put(16, uint32(width-1)).put(16, uint32(height-1)).put(1, 0)
	return append(w.b, bytes.Repeat([]byte{0xaa}, size)...)
}

// vp9InterData makes the header of an inter frame; with a width of 0, its size
// is that of its reference.
func vp9InterData(refresh, width, height, size int) []byte {
	w := new(bitWriter).put(2, 2).put(2, 0).put(1, 0).put(1, 1).put(1, 1).put(1, 1)
	w.put(8, uint32(refresh)).put(12, 0)
	if width == 0 {
		w.put(1, 1)
	} else {
		w.put(3, 0).put(16, uint32(width-1)).put(16, uint32(height-1))
	}
	w.put(1, 0).put(1, 0).put(1, 1)
	return append(w.b, bytes.Repeat([]byte{0x55}, size)...)
}

// vp9Layer describes a layer frame for sender.vp9Packets.
type vp9Layer struct {
	id         int // -1 for none
	layered    bool
	tid, sid   int
	u, d, flex bool
	tl0        int
	diffs      []int
	sizes      [][2]int // a scalability structure
	group      []byte   // of it; nil: one picture with one reference, one back
	data       []byte
}

func (l vp9Layer) descriptor(begin, end bool) []byte {
	bit := func(set bool, v byte) byte {
		if set {
			return v
		}
		return 0
	}
	b := []byte{bit(l.id >= 0, 0x80) | bit(len(l.diffs) > 0, 0x40) | bit(l.layered, 0x20) | bit(l.flex, 0x10) |
		bit(begin, 8) | bit(end, 4) | bit(begin && l.sizes != nil, 2)}
	if l.id >= 0 {
		b = append(b, 0x80|byte(l.id>>8), byte(l.id))
	}
	if l.layered {
		b = append(b, byte(l.tid)<<5|bit(l.u, 0x10)|byte(l.sid)<<1|bit(l.d, 1))
		if !l.flex {
			b = append(b, byte(l.tl0))
		}
	}
	for i, d := range l.diffs {
		b = append(b, byte(d)<<1|bit(i+1 < len(l.diffs), 1))
	}
	if begin && l.sizes != nil {
		b = append(b, byte(len(l.sizes)-1)<<5|0x18)
		for _, s := range l.sizes {
			b = append(b, byte(s[0]>>8), byte(s[0]), byte(s[1]>>8), byte(s[1]))
		}
		if l.group != nil {
			b = append(b, l.group...)
		} else {
			b = append(b, 1, 0x14, 1)
		}
	}
	return b
}

// vp9Packets makes the packets of a picture: two for each layer.
func (s *sender) vp9Packets(layers ...vp9Layer) []*media.Packet {
	var out []*media.Packet
	s.ts += 3000
	for i, l := range layers {
		half := len(l.data) / 2
		out = append(out,
			s.packet(append(l.descriptor(true, false), l.data[:half]...), false),
			s.packet(append(l.descriptor(false, true), l.data[half:]...), i == len(layers)-1))
	}
	return out
}

// splitSuperframe is an independent reading of annex B, from the back.
func splitSuperframe(t *testing.T, b []byte) [][]byte {
	t.Helper()
	marker := b[len(b)-1]
	if marker>>5 != 6 {
		return [][]byte{b}
	}
	bytesPer := int(marker>>3)%4 + 1
	count := int(marker)%8 + 1
	table := b[len(b)-1-count*bytesPer : len(b)-1]
	b = b[:len(b)-2-count*bytesPer]
	var frames [][]byte
	for len(table) > 0 {
		n := 0
		for i := bytesPer - 1; i >= 0; i-- {
			n = n*256 + int(table[i])
		}
		table = table[bytesPer:]
		frames = append(frames, b[:n])
		b = b[n:]
	}
	if len(b) != 0 {
		t.Fatalf("%d bytes are in no frame of the superframe", len(b))
	}
	return frames
}

func TestVP9LayersBecomeOneSuperframe(t *testing.T) {
	for _, size := range []int{20, 300, 5000} {
		f := &feeder{t: t, d: mustNew(t, media.VP9)}
		s := &sender{t: t}
		sizes := [][2]int{{320, 180}, {640, 360}, {1280, 720}}
		var want [][]byte
		var layers []vp9Layer
		for sid := range 3 {
			data := vp9InterData(1<<sid, sizes[sid][0], sizes[sid][1], size*(sid+1))
			if sid == 0 {
				data = vp9KeyData(320, 180, size)
			}
			if sid == 2 && size == 20 {
				data = vp9InterData(4, 0, 0, size) // its size is in the structure only
			}
			want = append(want, data)
			layers = append(layers, vp9Layer{id: 5, layered: true, sid: sid, d: sid > 0, sizes: sizes, data: data})
		}
		f.push(s.vp9Packets(layers...)...)
		if f.finish() != 1 {
			t.Fatalf("%d frames, want 1: %+v", len(f.frames), f.d.Stats())
		}
		fr := f.frames[0]
		got := splitSuperframe(t, fr.Data)
		if len(got) != 3 {
			t.Fatalf("superframe of %d frames, want 3", len(got))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("frame %d of the superframe differs", i)
			}
		}
		if !fr.Key || fr.Width != 1280 || fr.Height != 720 || fr.Packets != 6 || fr.Hidden {
			t.Errorf("key %v, %dx%d of %d packets, hidden %v", fr.Key, fr.Width, fr.Height, fr.Packets, fr.Hidden)
		}
	}
}

func TestVP9StructureWithASizeOfNothingIsNotBelieved(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	sizes := [][2]int{{320, 180}, {4366, 0}}
	f.push(s.vp9Packets(
		vp9Layer{id: 5, layered: true, sizes: sizes, data: vp9KeyData(320, 180, 20)},
		vp9Layer{id: 5, layered: true, sid: 1, d: true, sizes: sizes, data: vp9InterData(2, 0, 0, 20)},
	)...)
	if f.finish() != 1 {
		t.Fatalf("%d frames, want 1: %+v", len(f.frames), f.d.Stats())
	}
	if fr := f.frames[0]; !fr.Key || fr.Width != 320 || fr.Height != 180 {
		t.Errorf("key %v, %dx%d", fr.Key, fr.Width, fr.Height)
	}
}

func TestVP9FrameOfOneLayerIsLeftAsItIs(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	data := vp9KeyData(64, 48, 9)
	f.push(s.vp9Packets(vp9Layer{id: -1, data: data})...)
	if f.finish() != 1 || !bytes.Equal(f.frames[0].Data, data) || f.frames[0].Width != 64 || f.frames[0].Height != 48 {
		t.Errorf("%+v", f.frames)
	}
}

// TestVP9LayersComeAndGo switches the top layer off, and on at a keyframe.
func TestVP9LayersComeAndGo(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	picture := func(id, layers int, key, marker bool) {
		var l []vp9Layer
		for sid := range layers {
			data := vp9InterData(1, 320<<sid, 180<<sid, 30)
			if key && sid == 0 {
				data = vp9KeyData(320, 180, 30)
			}
			l = append(l, vp9Layer{id: id, layered: true, sid: sid, d: key && sid > 0, data: data})
		}
		for _, p := range s.vp9Packets(l...) {
			p.Marker = p.Marker && marker
			f.push(p)
		}
	}
	picture(1, 2, true, true)
	picture(2, 2, false, true)
	picture(3, 1, false, true)
	picture(4, 1, false, false) // a middle box that leaves out the layer with the marker
	picture(5, 1, false, false)
	picture(6, 2, true, false)
	picture(7, 2, false, false)
	if n := f.finish(); n != 7 {
		t.Fatalf("%d frames, want 7: %+v", n, f.d.Stats())
	}
	for i, want := range []int{2, 2, 1, 1, 1, 2, 2} {
		if n := len(splitSuperframe(t, f.frames[i].Data)); n != want {
			t.Errorf("picture %d has %d layers, want %d", i, n, want)
		}
	}
	if w := f.frames[0].Width; w != 640 {
		t.Errorf("width %d, want that of the top layer, 640", w)
	}
}

// TestVP9OnlyUpperLayers is what a middle box sends of L2T1_KEY when it forwards
// lower layers of keyframes only.
func TestVP9OnlyUpperLayers(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	f.push(s.vp9Packets(
		vp9Layer{id: 1, layered: true, data: vp9KeyData(320, 180, 9)},
		vp9Layer{id: 1, layered: true, sid: 1, d: true, data: vp9InterData(2, 640, 360, 9)})...)
	f.push(s.vp9Packets(vp9Layer{id: 2, layered: true, sid: 1, data: vp9InterData(2, 0, 0, 9)})...)
	// One that refers to a layer below which is not there can't be decoded.
	f.push(s.vp9Packets(vp9Layer{id: 3, layered: true, sid: 1, d: true, data: vp9InterData(2, 0, 0, 9)})...)
	if n := f.finish(); n != 2 {
		t.Errorf("%d frames, want 2: %+v", n, f.d.Stats())
	}
}

func TestVP9AfterALoss(t *testing.T) {
	inter, key := vp9InterData(1, 0, 0, 9), vp9KeyData(320, 180, 9)
	data := func(isKey bool) []byte {
		if isKey {
			return key
		}
		return inter
	}
	one := func(l vp9Layer) []vp9Layer { return []vp9Layer{l} }
	spatial := func(i int) []vp9Layer { // packets 1, 2 and 4, 8 of a picture
		return []vp9Layer{
			{id: i, layered: true, tl0: i, data: data(i%8 == 0)},
			{id: i, layered: true, sid: 1, tl0: i, d: i%8 == 0, data: inter},
		}
	}
	// Layers 0 2 1 2; a base picture lets all layers switch up.
	temporal := func(u bool) func(i int) []vp9Layer {
		return func(i int) []vp9Layer {
			tid := []int{0, 2, 1, 2}[i%4]
			return one(vp9Layer{id: 32766 + i, layered: true, tid: tid, tl0: 255 + i/4, u: u, data: data(i == 0)})
		}
	}
	// The same, and a group says what refers to what: the second picture of the
	// top layer to the middle one, or to the one before.
	grouped := func(back byte) func(i int) []vp9Layer {
		return func(i int) []vp9Layer {
			l := temporal(false)(i)[0]
			if i == 0 {
				l.sizes = [][2]int{{320, 180}}
				l.group = []byte{4, 0<<5 | 1<<2, 4, 2<<5 | 1<<2, 1, 1<<5 | 1<<2, 2, 2<<5 | 1<<2, back}
			}
			return one(l)
		}
	}
	layeredGroup := func(i int) []vp9Layer { // and two spatial layers
		l := grouped(1)(i)[0]
		if i == 0 {
			l.sizes = append(l.sizes, [2]int{640, 360})
		}
		top := l
		top.sid, top.d, top.data, top.sizes = 1, true, inter, nil
		return []vp9Layer{l, top}
	}
	flexible := func(i int) []vp9Layer { // pairs: the odd ones are referred to by none
		l := vp9Layer{id: 40 + i, layered: true, flex: true, tid: i % 2, data: data(i == 0)}
		if i > 0 {
			l.diffs = []int{1 + (i+1)%2}
		}
		return one(l)
	}
	for _, c := range []struct {
		name    string
		picture func(int) []vp9Layer
		lose    map[int]int
		given   []int
		starved bool
	}{
		{"nothing lost", spatial, nil, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"upper layer lost in part", spatial, map[int]int{2: 4}, []int{0, 1, 8, 9, 10, 11}, true},
		{"upper layer lost with the marker", spatial, map[int]int{2: 8}, []int{0, 1, 8, 9, 10, 11}, true},
		{"upper layer lost whole", spatial, map[int]int{2: 12}, []int{0, 1, 8, 9, 10, 11}, true},
		{"lower layer lost whole", spatial, map[int]int{2: 3}, []int{0, 1, 8, 9, 10, 11}, true},
		{"picture lost whole", spatial, map[int]int{2: 15}, []int{0, 1, 8, 9, 10, 11}, true},
		{"upper layer of a keyframe lost", spatial, map[int]int{8: 4}, []int{0, 1, 2, 3, 4, 5, 6, 7}, true},
		{"without layers", func(i int) []vp9Layer { return one(vp9Layer{id: -1, data: data(i%8 == 0)}) },
			map[int]int{2: 3}, []int{0, 1, 8, 9, 10, 11}, true},
		{"top temporal layer lost", temporal(false), map[int]int{1: 3}, []int{0, 4, 8}, false},
		{"top temporal layer lost in part", temporal(false), map[int]int{1: 1}, []int{0, 2, 4, 6, 8, 10}, false},
		{"top temporal layer lost, switching up", temporal(true), map[int]int{1: 3}, []int{0, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"middle temporal layer lost, switching up", temporal(true), map[int]int{2: 1}, []int{0, 1, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"base temporal layer lost", temporal(true), map[int]int{4: 3}, []int{0, 1, 2, 3}, true},
		{"top temporal layer lost, group", grouped(1), map[int]int{1: 3}, []int{0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"top temporal layer lost in part, group", grouped(1), map[int]int{5: 2}, []int{0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11}, false},
		{"top temporal layer lost, and referred to", grouped(2), map[int]int{5: 3}, []int{0, 1, 2, 3, 4, 6, 8, 9, 10, 11}, false},
		{"middle temporal layer lost, group", grouped(1), map[int]int{2: 3}, []int{0, 1, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"base temporal layer lost, group", grouped(1), map[int]int{4: 3}, []int{0, 1, 2, 3}, true},
		{"middle temporal layer lost in part, group of spatial layers", layeredGroup, map[int]int{2: 4}, []int{0, 1, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"group of another sender", func(i int) []vp9Layer { // its layers are others than those that come
			l := temporal(false)(i)[0]
			if i == 0 {
				l.sizes, l.group = [][2]int{{320, 180}}, []byte{2, 0<<5 | 1<<2, 1, 1<<5 | 1<<2, 1}
			}
			return one(l)
		}, map[int]int{1: 3}, []int{0, 4, 8}, false},
		{"flexible, unreferenced picture lost whole", flexible, map[int]int{3: 3}, []int{0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"flexible, unreferenced picture lost in part", flexible, map[int]int{3: 1}, []int{0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"flexible, base picture lost", flexible, map[int]int{4: 3}, []int{0, 1, 2, 3}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &feeder{t: t, d: mustNew(t, media.VP9)}
			s := &sender{t: t}
			at := map[uint32]int{}
			starved := false
			for i := range 12 {
				for k, p := range s.vp9Packets(c.picture(i)...) {
					if c.lose[i]>>k&1 != 0 {
						f.lost++
					} else {
						f.push(p)
					}
				}
				at[s.ts] = i
				starved = starved || i > 0 && f.d.NeedsKeyframe()
			}
			f.finish()
			var given []int
			for _, fr := range f.frames {
				given = append(given, at[fr.Timestamp])
			}
			if !equal(given, c.given) {
				t.Errorf("pictures given: %v, want %v", given, c.given)
			}
			if starved != c.starved {
				t.Errorf("needed a keyframe: %v, want %v", starved, c.starved)
			}
		})
	}
}

func TestVP9Headers(t *testing.T) {
	key := func(profile uint32) *bitWriter {
		w := new(bitWriter).put(2, 2).put(1, profile&1).put(1, profile>>1)
		if profile == 3 {
			w.put(1, 0)
		}
		return w.put(1, 0).put(1, 0).put(1, 1).put(1, 0).put(24, 0x498342)
	}
	size := func(w *bitWriter) []byte { return w.put(16, 639).put(16, 359).put(8, 0).b }
	inter := func(shown, resilient uint32) *bitWriter {
		return new(bitWriter).put(2, 2).put(2, 0).put(1, 0).put(1, 1).put(1, shown).put(1, resilient)
	}
	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
		want vp9Header
	}{
		{"profile 0", size(key(0).put(3, 2).put(1, 0)), true, vp9Header{key: true, shown: true, width: 640, height: 360}},
		{"profile 1", size(key(1).put(3, 2).put(1, 0).put(2, 0).put(1, 0)), true, vp9Header{key: true, shown: true, width: 640, height: 360}},
		{"profile 1, RGB", size(key(1).put(3, 7).put(1, 0)), true, vp9Header{key: true, shown: true, width: 640, height: 360}},
		{"profile 2, 12 bits", size(key(2).put(1, 1).put(3, 2).put(1, 0)), true, vp9Header{key: true, shown: true, width: 640, height: 360}},
		{"profile 3, 10 bits", size(key(3).put(1, 0).put(3, 2).put(1, 0).put(2, 3).put(1, 0)), true, vp9Header{key: true, shown: true, width: 640, height: 360}},
		{"profile 0, RGB", size(key(0).put(3, 7)), false, vp9Header{}},
		{"profile 1, reserved bit", size(key(1).put(3, 2).put(1, 0).put(2, 0).put(1, 1)), false, vp9Header{}},
		{"reserved profile", new(bitWriter).put(2, 2).put(3, 7).put(24, 0).b, false, vp9Header{}},
		{"frame marker", []byte{0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false, vp9Header{}},
		{"sync code", new(bitWriter).put(2, 2).put(5, 1).put(1, 0).put(24, 0x498343).put(40, 0).b, false, vp9Header{}},
		{"keyframe cut", size(key(0).put(3, 2).put(1, 0))[:7], false, vp9Header{}},
		{"show_existing_frame", new(bitWriter).put(2, 2).put(2, 0).put(1, 1).put(3, 5).b, true, vp9Header{shown: true}},
		{"hidden intra-only", inter(0, 0).put(1, 1).put(2, 0).put(24, 0x498342).put(8, 1).put(16, 63).put(16, 31).put(1, 0).put(8, 0).b,
			true, vp9Header{width: 64, height: 32}},
		{"nothing refers to it", inter(1, 1).put(8, 0).put(12, 0).put(1, 1).put(1, 0).put(1, 0).put(1, 1).put(8, 0).b,
			true, vp9Header{shown: true, droppable: true}},
		{"only its probabilities are kept", inter(1, 0).put(2, 0).put(8, 0).put(12, 0).put(1, 1).put(1, 0).put(1, 0).put(1, 0).put(2, 0).put(1, 1).b,
			true, vp9Header{shown: true}},
		{"nor its probabilities", inter(1, 0).put(2, 0).put(8, 0).put(12, 0).put(1, 1).put(1, 1).put(32, 0).put(1, 0).put(1, 1).put(1, 0).b,
			true, vp9Header{shown: true, droppable: true}},
		{"inter frame cut", inter(1, 1).put(8, 0).b, false, vp9Header{}},
		{"nothing", nil, false, vp9Header{}},
	} {
		var got vp9Header
		ok := parseVP9Header(c.b, &got)
		got = vp9Header{key: got.key, shown: got.shown, droppable: got.droppable, width: got.width, height: got.height}
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %v %+v, want %v %+v", c.name, ok, got, c.ok, c.want)
		}
	}
}

func TestVP9RefusesWhatCanNotBeRight(t *testing.T) {
	for name, payload := range map[string][]byte{
		"one byte":               {0x0c},
		"id cut":                 {0x8c, 0x81},
		"no data":                {0x8c, 1},
		"layers cut":             {0xac, 1},
		"TL0PICIDX cut":          {0xac, 1, 0},
		"references cut":         {0xdc, 1, 3},
		"four references":        {0xdc, 1, 3, 3, 3, 3, 0x80},
		"structure cut":          {0x8e, 1},
		"structure's sizes cut":  {0x8e, 1, 0x30, 1, 2, 3, 4, 5},
		"structure's group":      {0x8e, 1, 0x08},
		"structure's group cut":  {0x8e, 1, 0x08, 3, 0, 0},
		"structure's references": {0x8e, 1, 0x08, 1, 0x0c, 1},
		"header":                 {0x0c, 0x00, 1, 2, 3},
	} {
		f := &feeder{t: t, d: mustNew(t, media.VP9)}
		s := &sender{t: t}
		f.push(s.packet(payload, true))
		if n := f.finish(); n != 0 || f.d.Stats().Packets.Malformed != 1 {
			t.Errorf("%s: %d frames, %+v", name, n, f.d.Stats())
		}
	}
}

func TestSuperframesOfTheSenderAreRead(t *testing.T) {
	hidden := new(bitWriter).put(2, 2).put(2, 0).put(1, 0).put(1, 1).put(1, 0).put(1, 1).put(1, 0).
		put(8, 1).put(12, 0).put(1, 1).put(1, 0).put(1, 0).put(1, 1).put(8, 0).b
	shown := vp9InterData(0, 0, 0, 3)
	both := appendSuperframeIndex(append(append([]byte{}, hidden...), shown...), []int{0, len(hidden)})
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	f.push(s.vp9Packets(vp9Layer{id: -1, data: vp9KeyData(64, 64, 5)})...)
	f.push(s.vp9Packets(vp9Layer{id: -1, data: hidden})...)
	f.push(s.vp9Packets(vp9Layer{id: -1, data: both})...)
	if n := f.finish(); n != 3 {
		t.Fatalf("%d frames, want 3: %+v", n, f.d.Stats())
	}
	if !f.frames[1].Hidden || f.frames[2].Hidden || f.frames[2].Droppable || !bytes.Equal(f.frames[2].Data, both) {
		t.Errorf("hidden %v and %v, droppable %v", f.frames[1].Hidden, f.frames[2].Hidden, f.frames[2].Droppable)
	}
}

func TestSuperframeIndexHoldsLargeFrames(t *testing.T) {
	starts := []int{0, 1, 70001, 70005, 1 << 24}
	b := appendSuperframeIndex(make([]byte, 1<<24+7), starts)
	got := splitSuperframe(t, b)
	var ends [maxLayers]int
	if n := superframe(b, &ends); n != len(starts) || len(got) != n {
		t.Fatalf("%d frames found, and %d by the test, want %d", n, len(got), len(starts))
	}
	for i, want := range []int{1, 70000, 4, 1<<24 - 70005, 7} {
		if len(got[i]) != want || ends[i] != starts[i]+want {
			t.Errorf("frame %d of %d bytes ends at %d, want %d bytes", i, len(got[i]), ends[i], want)
		}
	}
}
