package depacket

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/pion/rtp/codecs"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

// Parameter sets of a real encoder: baseline, 320x240.
var (
	testSPS = []byte{0x27, 0x42, 0xe0, 0x0d, 0x95, 0xa0, 0x50, 0x7e, 0x40}
	testPPS = []byte{0x28, 0xce, 0x03, 0x9e, 0x80}
)

// testSlice makes a slice that begins at the first macroblock, of the test
// parameter sets. Its frame_num has 8 bits.
func testSlice(header byte, frameNum, size int) []byte {
	kind := 5 // P
	if header&0x1f == nalIDR {
		kind = 7
	}
	w := new(bitWriter).put(1, 1) // first_mb_in_slice
	switch kind {
	case 5:
		w.put(5, 6) // ue(5)
	case 7:
		w.put(7, 8) // ue(7)
	}
	w.put(1, 1).put(8, uint32(frameNum&255))
	return append(append([]byte{header}, w.b...), bytes.Repeat([]byte{0xb5}, size)...)
}

// fragments makes FU-A payloads of a NAL unit.
func fragments(nal []byte, size int) (out [][]byte) {
	rest := nal[1:]
	for first := true; len(rest) > 0; first = false {
		n := min(size, len(rest))
		h := nal[0] & 0x1f
		if first {
			h |= 0x80
		}
		if n == len(rest) {
			h |= 0x40
		}
		out = append(out, append([]byte{nal[0]&0xe0 | nalFUA, h}, rest[:n]...))
		rest = rest[n:]
	}
	return out
}

func stapA(nals ...[]byte) []byte {
	b := []byte{nalSTAPA | 0x60}
	for _, n := range nals {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(n))), n...)
	}
	return b
}

// h264Payloads makes frames: a keyframe, then others that refer to each other.
func h264Payloads(n int) (frames [][][]byte) {
	frames = append(frames, append([][]byte{stapA(testSPS, testPPS)}, fragments(testSlice(0x65, 0, 3000), 1100)...))
	for i := 1; i < n; i++ {
		frames = append(frames, fragments(testSlice(0x41, i, 10_000), 1100))
	}
	return frames
}

// av1Seq is a sequence header of 320x180, 8 bits, 4:2:0.
var av1Seq = func() []byte {
	w := new(bitWriter).put(5, 0).put(2, 0).put(5, 0) // profile to operating points
	w.put(12, 0).put(5, 4).put(4, 8).put(4, 8).put(9, 319).put(9, 179)
	w.put(8, 0).put(1, 1).put(2, 0)                     // no frame ids; tools; order hints
	w.put(2, 3).put(3, 6).put(3, 0)                     // choices; 7 bits of order hint
	w.put(3, 0).put(1, 0).put(2, 0).put(2, 0).put(1, 1) // colour, film grain, trailing bit
	return append([]byte{obuSequence<<3 | 2, byte(len(w.b))}, w.b...)
}()

// testAV1Frame makes a frame OBU with a header as far as it is read.
func testAV1Frame(key bool, refresh, size int) []byte {
	w := new(bitWriter).put(1, 0) // show_existing_frame
	if key {
		w.put(2, av1Key).put(1, 1) // show_frame
	} else {
		w.put(2, av1Inter).put(1, 1).put(1, 1) // error_resilient_mode
	}
	w.put(1, 0).put(1, 0) // disable_cdf_update, allow_screen_content_tools
	w.put(1, 0).put(7, 0) // frame_size_override_flag, order_hint
	if !key {
		w.put(8, uint32(refresh))
	}
	obu := append([]byte{obuFrame<<3 | 2}, appendLEB128(nil, len(w.b)+size)...)
	return append(append(obu, w.b...), bytes.Repeat([]byte{0x5a}, size)...)
}

// av1Payloads makes temporal units: a key frame, then others that refer to each
// other.
func av1Payloads(n int) (frames [][][]byte) {
	for i := range n {
		tu := testAV1Frame(i == 0, 1, 10_000)
		if i == 0 {
			tu = append(bytes.Clone(av1Seq), testAV1Frame(true, 0, 3000)...)
		}
		frames = append(frames, (&codecs.AV1Payloader{}).Payload(1100, tu))
	}
	return frames
}

// packetsOf makes the packets of frames.
func packetsOf(t testing.TB, frames [][][]byte) (out []*media.Packet) {
	s := &sender{t: t}
	for _, f := range frames {
		s.ts += 3000
		for i, payload := range f {
			out = append(out, s.packet(payload, i == len(f)-1))
		}
	}
	return out
}

func TestAV1AndH264AreGivenWhole(t *testing.T) {
	for codec, frames := range map[media.Codec][][][]byte{media.AV1: av1Payloads(12), media.H264: h264Payloads(12)} {
		f := &feeder{t: t, d: mustNew(t, codec)}
		f.push(packetsOf(t, frames)...)
		if n := f.finish(); n != 12 || f.d.Stats().Packets.Discarded() != 0 {
			t.Fatalf("%v: %d frames, %+v", codec, n, f.d.Stats())
		}
		if k := f.frames[0]; !k.Key || k.Width != 320 || k.Hidden || k.Droppable {
			t.Errorf("%v: keyframe %+v", codec, k)
		}
		for i, fr := range f.frames[1:] {
			if fr.Key || fr.Hidden || fr.Droppable || !bytes.Equal(fr.Private, f.frames[0].Private) {
				t.Errorf("%v: frame %d: key %v, hidden %v, droppable %v", codec, i+1, fr.Key, fr.Hidden, fr.Droppable)
			}
		}
		if len(f.frames[1].Data) < 10_000 || len(f.frames[1].Data) > 10_030 {
			t.Errorf("%v: a frame has %d bytes", codec, len(f.frames[1].Data))
		}
	}
}

// TestALostPacketTakesAlongWhatDependsOnIt loses one packet after the other.
func TestALostPacketTakesAlongWhatDependsOnIt(t *testing.T) {
	// Two groups of pictures, in which each second picture is not referred to.
	av1, h264 := av1Payloads(1), h264Payloads(1)
	for i := 1; i < 6; i++ {
		av1 = append(av1, (&codecs.AV1Payloader{}).Payload(1100, testAV1Frame(false, i&1, 3000)))
		h264 = append(h264, fragments(testSlice(byte(0x41*(i&1)|nalSlice), i/2+1, 3000), 1100))
	}
	for codec, group := range map[media.Codec][][][]byte{media.AV1: av1, media.H264: h264} {
		frames := slices.Concat(group, group)
		total := len(packetsOf(t, frames))
		for lose := range total {
			f := &feeder{t: t, d: mustNew(t, codec)}
			n, at := 0, -1
			for i, p := range packetsOf(t, frames) {
				for n < len(frames) && p.Timestamp > uint32(3000*(n+1)) {
					n++
				}
				if i == lose {
					at = n
					f.lost++
					p.Release()
					continue
				}
				f.push(p)
			}
			f.finish()
			given := map[int]bool{}
			for _, fr := range f.frames {
				given[int(fr.Timestamp/3000)-1] = true
			}
			for i := range frames {
				key := i%6 == 0
				sameGroup := i/6 == at/6
				droppable := at%6 != 0 && at%6%2 == 0
				want := !(i == at || sameGroup && i > at && !droppable && !key)
				// A first or last packet leaves open what else is lost: only
				// H264 counts its pictures.
				if droppable && sameGroup && i > at {
					want = given[i] || codec == media.H264
				}
				if given[i] != want {
					t.Errorf("%v: packet %d of frame %d lost: frame %d given: %v", codec, lose, at, i, given[i])
				}
			}
		}
	}
}

func TestH264RefusesWhatCanNotBeRight(t *testing.T) {
	for name, payload := range map[string][]byte{
		"one byte":             {0x65},
		"forbidden bit":        append([]byte{0xe5}, 1, 2, 3),
		"STAP-B":               {25, 0, 0, 0, 1, 0x65},
		"MTAP16":               {26, 0, 0, 0, 1, 0x65, 2, 3},
		"MTAP24":               {27, 0, 0, 0, 1, 0x65, 2, 3},
		"FU-B":                 {29, 0x85, 0, 0, 1},
		"type 0":               {0, 1, 2},
		"type 31":              {31, 1, 2},
		"STAP-A of nothing":    {24},
		"STAP-A cut":           {24, 0, 9, 0x65, 1},
		"STAP-A with a hole":   {24, 0, 0, 0, 1, 0x65},
		"STAP-A in a STAP-A":   {24, 0, 2, 24, 1},
		"FU-A of nothing":      {28, 0x85},
		"FU-A of a STAP-A":     {28, 0x80 | 24, 1, 2},
		"slice without a type": {0x65, 0x80, 0, 0},
	} {
		f := &feeder{t: t, d: mustNew(t, media.H264)}
		s := &sender{t: t}
		f.push(s.packet(payload, true))
		if n := f.finish(); n != 0 || f.d.Stats().Packets.Malformed != 1 {
			t.Errorf("%s: %d frames, %+v", name, n, f.d.Stats())
		}
	}
}

func TestAV1RefusesWhatCanNotBeRight(t *testing.T) {
	for name, payload := range map[string][]byte{
		"aggregation header only": {0x10},
		"element cut":             {0x00, 9, 1, 2},
		"element of nothing":      {0x00, 0},
		"one element less":        {0x20, 1, 2},
		"length without an end":   {0x00, 0x80, 0x80, 0x80},
		"forbidden bit":           {0x10, 0xb0, 1, 2},
		"size of an OBU":          {0x10, 0x32, 9, 1},
		"no frame":                append([]byte{0x10}, av1Seq...),
	} {
		f := &feeder{t: t, d: mustNew(t, media.AV1)}
		s := &sender{t: t}
		f.push(s.packet(payload, true))
		if n := f.finish(); n != 0 || f.d.Stats().Packets.Malformed != 1 {
			t.Errorf("%s: %d frames, %+v", name, n, f.d.Stats())
		}
	}
}

// TestAV1RawPayload reads the payload that another implementation keeps as an
// example: the beginning of a key frame.
func TestAV1RawPayload(t *testing.T) {
	b := capturetest.File(t, "shinyoshiaki-werift-webrtc/assets/rtp/av1/dump_0.av1")
	if !parseAV1Payload(b) {
		t.Fatal("the payload is refused")
	}
	v := newAV1(Config{MaxFrameSize: DefaultMaxFrameSize})
	f := &feeder{t: t, d: v}
	s := &sender{t: t}
	f.push(s.packet(b, false))
	if len(v.obu) == 0 || v.sequence.width == 0 || v.sequence.height == 0 {
		t.Fatalf("sequence header %+v", v.sequence)
	}
	t.Logf("%+v", v.sequence)
	f.finish()
}
