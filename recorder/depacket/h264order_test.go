package depacket

import (
	"slices"
	"testing"

	"github.com/roomtape/roomtape/media"
)

// ue puts an unsigned Exp-Golomb code.
func (w *bitWriter) ue(v uint32) *bitWriter {
	n := 0
	for (v+1)>>n > 1 {
		n++
	}
	return w.put(n, 0).put(n+1, v+1)
}

// orderSPS makes a parameter set of main profile, 320x240, whose frame_num has 4
// bits and pic_order_cnt_lsb 5.
func orderSPS(pocType uint32) []byte {
	w := new(bitWriter).put(8, 77).put(8, 0).put(8, 30).ue(0).ue(0).ue(pocType)
	if pocType == 0 {
		w.ue(1)
	}
	w.ue(4).put(1, 0).ue(19).ue(14).put(1, 1).put(1, 1).put(1, 0).put(1, 0).put(1, 1)
	return append([]byte{0x67}, w.b...)
}

var orderPPS = append([]byte{0x68}, new(bitWriter).ue(0).ue(0).put(1, 1).b...)

// pic is a picture of a test: its place in presentation, in frames; what it is
// ('I' an IDR picture, 'R' a recovery point, 'P', 'B' that others refer to, 'b');
// and whether its packet is lost.
type pic struct {
	kind  byte
	place int
	lost  bool
}

// nals makes the NAL units of a picture.
func (p pic) nals(t *testing.T, frameNum int) [][]byte {
	header, kind := byte(0x41), uint32(5)
	var out [][]byte
	switch p.kind {
	case 'I':
		header, kind = 0x65, 7
		out = append(out, orderSPS(0), orderPPS)
	case 'R':
		kind = 7
		out = append(out, []byte{nalSEI, 6, 1, 0xc4, 0x80}) // recovery_frame_cnt 0
	case 'P':
	case 'B':
		kind = 6
	case 'b':
		header, kind = 0x01, 6
	default:
		t.Fatal(p)
	}
	w := new(bitWriter).ue(0).ue(kind).ue(0).put(4, uint32(frameNum&15))
	if p.kind == 'I' {
		w.ue(0)
	}
	w.put(5, uint32(2*p.place&31)).put(1, 1)
	return append(out, append(append([]byte{header}, w.b...), 0xb5, 0xb5, 0xb5))
}

// depacketized gives the frames that come of pictures, in their order.
func depacketized(t *testing.T, pics ...pic) (*feeder, []Frame) {
	f := &feeder{t: t, d: mustNew(t, media.H264)}
	s := &sender{t: t}
	num, idr := 0, 0
	for _, p := range pics {
		if p.kind == 'I' {
			num, idr = 0, p.place
		}
		at := p.place
		s.ts = uint32(3000 * at)
		p.place -= idr
		k := s.packet(stapA(p.nals(t, num)...), true)
		if p.kind != 'b' {
			num++
		}
		if p.lost {
			k.Release()
			f.lost++
			continue
		}
		f.push(k)
	}
	f.finish()
	return f, f.frames
}

// places gives those of frames that f holds for.
func places(frames []Frame, f func(*Frame) bool) (out []int) {
	for i := range frames {
		if f(&frames[i]) {
			out = append(out, int(frames[i].Timestamp/3000))
		}
	}
	return out
}

func all(*Frame) bool         { return true }
func behind(f *Frame) bool    { return f.Reordered }
func keyframe(f *Frame) bool  { return f.Key }
func openFrame(f *Frame) bool { return f.Open }

// group makes a pyramid of pictures after the place at.
func group(at int) []pic {
	return []pic{{'P', at + 4, false}, {'B', at + 2, false}, {'b', at + 1, false}, {'b', at + 3, false}}
}

func TestReorderedPicturesAreTold(t *testing.T) {
	// Long enough for the counts of 5 bits to go round several times.
	pics := []pic{{kind: 'I'}}
	var want []int
	for at := 0; at < 40; at += 4 {
		pics = append(pics, group(at)...)
		want = append(want, at+2, at+1, at+3)
	}
	pics = append(pics, pic{'I', 41, false})
	pics = append(pics, group(41)...)
	want = append(want, 43, 42, 44)
	f, frames := depacketized(t, pics...)
	if len(frames) != len(pics) || f.d.Stats().Packets.Discarded() != 0 {
		t.Fatalf("%d frames of %d: %+v", len(frames), len(pics), f.d.Stats())
	}
	if got := places(frames, behind); !slices.Equal(got, want) {
		t.Errorf("reordered are %v, want %v", got, want)
	}
	for _, fr := range frames {
		if !fr.Reorders || fr.Open {
			t.Errorf("%+v", fr)
		}
	}
}

// TestPicturesBeforeTheKeyframeThatDecodingBeganWithAreDropped has recovery
// points, which some senders make all their keyframes.
func TestPicturesBeforeTheKeyframeThatDecodingBeganWithAreDropped(t *testing.T) {
	open := func(at int) []pic { // I, and two that refer to it and to what was before
		return []pic{{'R', at + 3, false}, {'B', at + 2, false}, {'b', at + 1, false}, {'P', at + 4, false}, {'P', at + 5, false}}
	}
	sets := []pic{{kind: 'I'}}
	for _, c := range []struct {
		name      string
		pics      []pic
		want      []int
		discarded PacketStats
	}{
		{"nothing lost", slices.Concat(sets, open(0), open(5)), []int{0, 3, 2, 1, 4, 5, 8, 7, 6, 9, 10}, PacketStats{}},
		{
			"a reference lost", slices.Concat(sets, open(0), []pic{{'P', 6, true}}, open(6), open(11)),
			[]int{0, 3, 2, 1, 4, 5, 9, 10, 11, 14, 13, 12, 15, 16}, PacketStats{Undecodable: 2},
		},
		{
			"the picture before lost, and the rest refused", slices.Concat(sets, open(0), []pic{{'P', 6, true}, {'P', 7, false}}, open(7)),
			[]int{0, 3, 2, 1, 4, 5, 10, 11, 12}, PacketStats{Undecodable: 3},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, frames := depacketized(t, c.pics...)
			if got := places(frames, all); !slices.Equal(got, c.want) {
				t.Errorf("given %v, want %v", got, c.want)
			}
			stats := f.d.Stats().Packets
			stats.Used = 0
			if stats != c.discarded {
				t.Errorf("%+v", stats)
			}
			if got := places(frames, openFrame); !slices.Equal(got, places(frames, func(f *Frame) bool { return f.Key && f.Timestamp > 0 })) {
				t.Errorf("open keyframes %v of %v", got, places(frames, keyframe))
			}
		})
	}
}

func TestASenderThatCannotReorderIsBelieved(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.H264)}
	f.push(packetsOf(t, h264Payloads(12))...) // its pic_order_cnt_type is 2
	f.finish()
	for i, fr := range f.frames {
		if fr.Reorders || fr.Reordered || fr.Open {
			t.Fatalf("frame %d: %+v", i, fr)
		}
	}
}
