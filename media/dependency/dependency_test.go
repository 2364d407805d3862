package dependency

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestDependencyDescriptorsOfABrowserAreRead(t *testing.T) {
	// What Chromium sends with a keyframe and the frames after it, VP9 L3T3_KEY
	// and VP8 L1T3.
	for _, c := range []struct {
		name        string
		descriptors []string
		want        []Frame
		layers      int
		chains      int
		active      uint32
		targets     int
		indications []string // of each, a letter a target
	}{
		{
			"VP9 L3T3_KEY, two layers of three", []string{
				"800001c00514853aaaa8018004004002a02a0060010015d34514174d144c700874321651118543276809f8059813f80b38e0",
				"c300021a000800", "c100051a602000",
				"800006800514853aaaa8018004004002a02a0060010015d34514174d144c700874321651118543276809f8059813f80b38",
				"000006", "850007", "c30008",
			}, []Frame{
				{Start: true, Number: 1, Chains: []uint8{0, 0}},
				{Start: true, End: true, Number: 2, Temporal: 2, Droppable: true, Diffs: []uint16{1}, Chains: []uint8{1, 0}},
				{Start: true, End: true, Number: 5, Diffs: []uint16{4}, Chains: []uint8{4, 0}},
				{Start: true, Number: 6, Chains: []uint8{0, 0}},
				{Number: 6, Chains: []uint8{0, 0}},
				{Start: true, Number: 7, Spatial: 1, Diffs: []uint16{1}, Chains: []uint8{1, 1}},
				{Start: true, End: true, Number: 8, Temporal: 2, Droppable: true, Diffs: []uint16{2}, Chains: []uint8{2, 1}},
			}, 2, 2, 0x3f, 6, []string{"SSSSSS", "--D---", "SSS---", "SSSSSS", "SSSSSS", "---SSS", "--D---"},
		},
		{
			"VP8 L1T3", []string{"8000018002044eaaaf2860414d34538a0940409fc059c0", "400001", "c50002", "8500051220", "80000712a0"},
			[]Frame{
				{Start: true, Number: 1},
				{End: true, Number: 1},
				{Start: true, End: true, Number: 2, Temporal: 2, Droppable: true, Diffs: []uint16{1}},
				{Start: true, Number: 5, Temporal: 2, Droppable: true, Diffs: []uint16{2}},
				{Start: true, Number: 7, Diffs: []uint16{6}},
			}, 1, 0, 7, 3, []string{"SSS", "SSS", "--D", "--D", "SSS"},
		},
	} {
		var d Reader
		for i, h := range c.descriptors {
			b, err := hex.DecodeString(h)
			if err != nil {
				t.Fatal(err)
			}
			before := d
			var f Frame
			if numbered, ok := d.Read(b, &f); !numbered || !ok {
				t.Fatalf("%s: descriptor %d is refused", c.name, i)
			}
			if f.Structure != Structured(b) || f.Targets != c.targets || letters(&f) != c.indications[i] {
				t.Errorf("%s: descriptor %d: structure %v, %d targets, %s", c.name, i, f.Structure, f.Targets, letters(&f))
			}
			if got := words(f); !reflect.DeepEqual(got, c.want[i]) {
				t.Errorf("%s: descriptor %d: %+v, want %+v", c.name, i, got, c.want[i])
			}
			rewritten(t, before, b, f)
		}
		if d.layers != c.layers || d.chains != c.chains || d.active != c.active {
			t.Errorf("%s: %d layers, %d chains, active %x", c.name, d.layers, d.chains, d.active)
		}
	}
}

// words gives what a frame says, without what is of its structure.
func words(f Frame) Frame {
	return Frame{
		Start: f.Start, End: f.End, Number: f.Number, Spatial: f.Spatial, Temporal: f.Temporal,
		Droppable: f.Droppable, Diffs: slices.Clone(f.Diffs), Chains: slices.Clone(f.Chains),
	}
}

func letters(f *Frame) string {
	var b []byte
	for t := range f.Targets {
		b = append(b, "-DSR"[f.Indications.Of(t)])
	}
	return string(b)
}

// rewritten looks that a descriptor that was changed says the same as before, but for
// what was changed. before is the reader before it.
func rewritten(t *testing.T, before Reader, b []byte, f Frame) {
	t.Helper()
	want, targets, indications := words(f), f.Targets, f.Indications
	mask := uint32(0x55555555) & (1<<targets - 1)
	want.Number += 1000
	changed := Renumber(Activate(b, &f, mask), want.Number)
	if len(changed) > len(b)+5 || len(changed) > MaxSize {
		t.Fatalf("%x becomes %x", b, changed)
	}
	var g Frame
	if _, ok := before.Read(changed, &g); !ok {
		t.Fatalf("%x becomes %x, which is refused", b, changed)
	}
	if !reflect.DeepEqual(words(g), want) || g.Targets != targets || g.Indications != indications || g.Structure != f.Structure {
		t.Fatalf("%x becomes %x: %+v, want %+v", b, changed, g, want)
	}
	if g.Active != mask && len(b) < MaxSize-5 {
		t.Fatalf("%x becomes %x: active is %b", b, changed, g.Active)
	}
}

// FuzzReader reads descriptors in a row, each with its length before it.
func FuzzReader(f *testing.F) {
	names, _ := filepath.Glob("../../../shared/captures/HackWebRTC-webrtc/test/fuzzers/corpora/dependency_descriptor-corpus/*")
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	for _, list := range [][]string{
		{"800001c00514853aaaa8018004004002a02a0060010015d34514174d144c700874321651118543276809f8059813f80b38e0", "c300021a000800", "850007"},
		{"8000018002044eaaaf2860414d34538a0940409fc059c0", "400001", "8500051220"},
	} {
		var b []byte
		for _, h := range list {
			one, _ := hex.DecodeString(h)
			b = append(append(b, byte(len(one))), one...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d Reader
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			b := in[1 : 1+n]
			in = in[1+n:]
			before := d
			var f Frame
			numbered, ok := d.Read(b, &f)
			if len(d.Templates()) > MaxTemplates || len(f.Diffs) > MaxRefs || len(f.Chains) > MaxTargets {
				t.Fatalf("%+v", f)
			}
			switch {
			case ok && (!numbered || f.Spatial >= MaxSpatial || f.Temporal >= MaxTemporal || f.Targets < 1 || f.Targets > MaxTargets || d.Layers() == 0):
				t.Fatalf("%+v", f)
			case ok:
				rewritten(t, before, b, f)
			}
		}
	})
}
