package depacket

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sender makes the packets of one track.
type sender struct {
	t   testing.TB
	seq uint16
	ts  uint32
}

// packet makes the next packet; the payload is copied.
func (s *sender) packet(payload []byte, marker bool) *media.Packet {
	s.t.Helper()
	b := make([]byte, 12, 12+len(payload))
	b[0], b[1] = 0x80, 96
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], s.seq)
	binary.BigEndian.PutUint32(b[4:], s.ts)
	p, err := media.NewPacket(append(b, payload...), epoch.Add(time.Duration(s.seq)*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	s.seq++
	return p
}

// Frames of nothing but a valid header and a few bytes.
var (
	vp8Key   = []byte{0x10 | 2<<5, 0, 0, 0x9d, 1, 0x2a, 0x40, 0x41, 0xf0, 0x80, 1, 2, 3} // 320x240, scaled
	vp8Inter = []byte{0x11 | 2<<5, 0, 0, 4, 5, 6}
)

// vp8Frame describes a frame for vp8Sender.
type vp8Frame struct {
	id       int // PictureID, or -1 for none
	long     bool
	tid, tl0 int // tid -1 for none
	y, n     bool
	key      bool
}

func (f vp8Frame) descriptor(start bool) []byte {
	b := []byte{0}
	if start {
		b[0] |= 0x10
	}
	if f.n {
		b[0] |= 0x20
	}
	if f.id < 0 && f.tid < 0 {
		return b
	}
	b[0] |= 0x80
	b = append(b, 0)
	if f.id >= 0 {
		b[1] |= 0x80
		if f.long {
			b = append(b, 0x80|byte(f.id>>8), byte(f.id))
		} else {
			b = append(b, byte(f.id)&0x7f)
		}
	}
	if f.tid >= 0 {
		b[1] |= 0x60
		last := byte(f.tid) << 6
		if f.y {
			last |= 0x20
		}
		b = append(b, byte(f.tl0), last)
	}
	return b
}

// vp8Packets makes the frame's packets: three, with the marker on the last.
func (s *sender) vp8Packets(f vp8Frame) []*media.Packet {
	data := vp8Inter
	if f.key {
		data = vp8Key
	}
	s.ts += 3000
	first := s.packet(append(f.descriptor(true), data[:2]...), false)
	second := s.packet(append(f.descriptor(false), data[2:5]...), false)
	third := s.packet(append(f.descriptor(false), data[5:]...), true)
	return []*media.Packet{first, second, third}
}

// feeder pushes packets into a depacketizer, noting those that are left out.
type feeder struct {
	t      testing.TB
	d      Depacketizer
	lost   int
	pushed uint64
	frames []Frame
}

func (f *feeder) push(packets ...*media.Packet) {
	for _, p := range packets {
		f.d.Push(p, f.lost)
		f.lost = 0
		f.pushed++
		f.frames = next(f.d, f.frames)
	}
}

// finish flushes, checks the books, and gives how many frames there were.
func (f *feeder) finish() int {
	f.t.Helper()
	f.d.Flush()
	f.frames = next(f.d, f.frames)
	checkStats(f.t, f.d, f.pushed, f.frames)
	return len(f.frames)
}

func TestVP8AfterALoss(t *testing.T) {
	// Three temporal layers as libwebrtc sends them: 0 2 1 2.
	layered := func(i int) vp8Frame {
		tid := []int{0, 2, 1, 2}[i%4]
		return vp8Frame{id: 100 + i, tid: tid, tl0: 250 + i/4, key: i == 0}
	}
	plain := func(i int) vp8Frame { return vp8Frame{id: 120 + i, tid: -1, key: i == 0 || i == 8} }
	for _, c := range []struct {
		name  string
		frame func(int) vp8Frame
		// lose gives which of a frame's packets are lost: a bit each.
		lose    map[int]int
		given   []int // of 12
		starved bool  // at some time after the first frame
	}{
		{"nothing lost", plain, nil, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		{"first packet lost", plain, map[int]int{3: 1}, []int{0, 1, 2, 8, 9, 10, 11}, true},
		{"middle packet lost", plain, map[int]int{3: 2}, []int{0, 1, 2, 8, 9, 10, 11}, true},
		{"marker lost", plain, map[int]int{3: 4}, []int{0, 1, 2, 8, 9, 10, 11}, true},
		{"whole frame lost", plain, map[int]int{3: 7}, []int{0, 1, 2, 8, 9, 10, 11}, true},
		{"keyframe lost", plain, map[int]int{0: 7}, []int{8, 9, 10, 11}, true},
		{"part of keyframe lost", plain, map[int]int{8: 1}, []int{0, 1, 2, 3, 4, 5, 6, 7}, true},
		{"without ids a lost frame breaks the chain", func(i int) vp8Frame {
			return vp8Frame{id: -1, tid: -1, key: i == 0 || i == 8}
		}, map[int]int{3: 7}, []int{0, 1, 2, 8, 9, 10, 11}, true},
		{"part of a frame that nothing refers to", func(i int) vp8Frame {
			return vp8Frame{id: 126 + i, tid: -1, n: i%2 == 1, key: i == 0}
		}, map[int]int{3: 2, 7: 4}, []int{0, 1, 2, 4, 5, 6, 8, 9, 10, 11}, false},
		{"top layer lost whole: until it refers to the base only", func(i int) vp8Frame {
			f := layered(i)
			f.y = i == 6 || i == 7
			return f
		}, map[int]int{1: 7}, []int{0, 4, 6, 7, 8, 9, 10, 11}, false},
		{"top layer lost in part breaks the top layer only", layered, map[int]int{1: 2}, []int{0, 2, 4, 6, 8, 10}, false},
		{"middle layer lost in part breaks both upper layers", layered, map[int]int{2: 2}, []int{0, 1, 4, 8}, false},
		{"base layer lost", layered, map[int]int{4: 7}, []int{0, 1, 2, 3}, true},
		{"base layer lost in part", layered, map[int]int{4: 1}, []int{0, 1, 2, 3}, true},
		{"a whole group lost", layered, map[int]int{4: 7, 5: 7, 6: 7, 7: 7}, []int{0, 1, 2, 3}, true},
	} {
		for _, long := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				f := &feeder{t: t, d: mustNew(t, media.VP8)}
				s := &sender{t: t, seq: 65530}
				starved := false
				at := map[uint32]int{}
				for i := range 12 {
					frame := c.frame(i)
					frame.long = long
					if long && frame.id >= 0 {
						frame.id = (frame.id + 32700) % 32768
					}
					for k, p := range s.vp8Packets(frame) {
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
					t.Errorf("frames given: %v, want %v", given, c.given)
				}
				if starved != c.starved {
					t.Errorf("needed a keyframe: %v, want %v", starved, c.starved)
				}
			})
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestAKeyframeOfAnyLayerEndsTheHunger(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t}
	f.push(s.vp8Packets(vp8Frame{id: 1, tid: 2, key: true})...)
	if f.d.NeedsKeyframe() {
		t.Error("a keyframe is needed after one of layer 2")
	}
}

func TestLostPaddingBreaksNothing(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t}
	f.push(s.vp8Packets(vp8Frame{id: 127, tid: 0, tl0: 255, key: true})...)
	f.push(s.packet(nil, false)) // padding
	f.lost = 5                   // more of it
	s.seq += 5
	f.push(s.vp8Packets(vp8Frame{id: 0, tid: 0, tl0: 0})...)
	if n := f.finish(); n != 2 {
		t.Fatalf("%d frames, want 2: %+v", n, f.d.Stats())
	}
	if f.frames[1].LostPackets != 5 || f.frames[1].DroppedFrames != 0 || f.d.Stats().Packets.Padding != 1 {
		t.Errorf("frame after padding: %+v, %+v", f.frames[1], f.d.Stats())
	}
}

func TestPictureIDsThatCanNotBeRightBreakTheChain(t *testing.T) {
	for name, id := range map[string]int{"back": 9, "same": 10, "too far for the loss": 20} {
		f := &feeder{t: t, d: mustNew(t, media.VP8)}
		s := &sender{t: t}
		f.push(s.vp8Packets(vp8Frame{id: 10, tid: -1, key: true})...)
		f.lost = 2
		f.push(s.vp8Packets(vp8Frame{id: id, tid: -1})...)
		if n := f.finish(); n != 1 {
			t.Errorf("PictureID goes %s: %d frames, want 1", name, n)
		}
	}
}

func TestAPictureIDThatMayHaveGoneRoundBreaksTheChain(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t}
	f.push(s.vp8Packets(vp8Frame{id: 10, tid: -1, key: true})...)
	f.lost = 128
	f.push(s.vp8Packets(vp8Frame{id: 11, tid: -1})...)
	if n := f.finish(); n != 1 || !f.d.NeedsKeyframe() {
		t.Errorf("%d frames, want 1", n)
	}
}

func TestVP8WithoutMarkersEndsAtTheNextTimestamp(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t}
	for i := range 3 {
		for _, p := range s.vp8Packets(vp8Frame{id: -1, tid: -1, key: i == 0}) {
			p.Marker = false
			f.push(p)
		}
	}
	if n := f.finish(); n != 2 { // whether the third has more packets nobody knows
		t.Errorf("%d frames, want 2", n)
	}
}

func TestVP8FrameSaysWhatItIs(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t, seq: 7}
	f.push(s.vp8Packets(vp8Frame{id: 1, tid: -1, key: true})...)
	f.push(s.vp8Packets(vp8Frame{id: 2, tid: -1, n: true})...)
	s.ts += 3000
	f.push(s.packet([]byte{0x10, 0x01 | 2<<5, 0, 0, 1, 2}, true)) // show_frame = 0
	f.finish()
	if len(f.frames) != 3 {
		t.Fatalf("%d frames, want 3", len(f.frames))
	}
	k, n, h := f.frames[0], f.frames[1], f.frames[2]
	if !k.Key || k.Width != 320 || k.Height != 240 || k.Hidden || k.Droppable || k.Packets != 3 ||
		!k.Arrival.Equal(epoch.Add(7*time.Millisecond)) || k.Timestamp != 3000 {
		t.Errorf("keyframe %+v", k)
	}
	if n.Key || !n.Droppable || n.Hidden || n.Width != 0 {
		t.Errorf("droppable frame %+v", n)
	}
	if !h.Hidden {
		t.Errorf("hidden frame %+v", h)
	}
}

func TestVP8RefusesWhatCanNotBeRight(t *testing.T) {
	for name, payload := range map[string][]byte{
		"one byte":                 {0x10},
		"nothing but flags":        {0x90, 0xf0},
		"id cut":                   {0x90, 0x80, 0x81},
		"TL0PICIDX cut":            {0x90, 0xc0, 1},
		"TID cut":                  {0x90, 0xe0, 1, 2},
		"no data":                  {0x90, 0xe0, 1, 2, 3},
		"frame tag cut":            {0x10, 0x10, 0},
		"start code":               append([]byte{0x10}, 0x50, 0, 0, 0x9d, 1, 0x2b, 64, 1, 240, 0, 1, 2),
		"keyframe header cut":      append([]byte{0x10}, 0x50, 0, 0, 0x9d, 1, 0x2a, 64, 1),
		"no width":                 append([]byte{0x10}, 0x50, 0, 0, 0x9d, 1, 0x2a, 0, 0, 240, 0, 1, 2),
		"version":                  append([]byte{0x10}, 0x5e, 0, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0, 1, 2),
		"first partition cut":      append([]byte{0x10}, 0x50, 1, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0, 1, 2),
		"first partition is empty": append([]byte{0x10}, 0x10, 0, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0, 1, 2),
	} {
		f := &feeder{t: t, d: mustNew(t, media.VP8)}
		s := &sender{t: t}
		f.push(s.packet(payload, true))
		if n := f.finish(); n != 0 || f.d.Stats().Packets.Malformed != 1 {
			t.Errorf("%s: %d frames, %+v", name, n, f.d.Stats())
		}
	}
}

func TestAMalformedPacketBreaksItsFrame(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t}
	p := s.vp8Packets(vp8Frame{id: -1, tid: -1, key: true})
	p[1].Payload = p[1].Payload[:1]
	f.push(p...)
	if n := f.finish(); n != 0 {
		t.Errorf("%d frames, want 0", n)
	}
	if s := f.d.Stats().Packets; s.Malformed != 1 || s.Incomplete != 2 {
		t.Errorf("%+v", s)
	}
}

func TestAFrameThatIsTooLargeIsDropped(t *testing.T) {
	d, err := New(media.VP8, Config{MaxFrameSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	f := &feeder{t: t, d: d}
	s := &sender{t: t}
	f.push(s.vp8Packets(vp8Frame{id: -1, tid: -1, key: true})...)
	if n := f.finish(); n != 0 || d.Stats().Packets.Oversize != 3 {
		t.Errorf("%d frames, %+v", n, d.Stats())
	}
}

func TestARestartIsMarkedAndNeedsAKeyframe(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.VP8)}
	s := &sender{t: t}
	f.push(s.vp8Packets(vp8Frame{id: 1, tid: -1, key: true})...)
	f.push(s.vp8Packets(vp8Frame{id: 2, tid: -1})[:2]...)
	f.d.Restart()
	if !f.d.NeedsKeyframe() {
		t.Error("needs no keyframe after a restart")
	}
	f.push(s.vp8Packets(vp8Frame{id: 3, tid: -1})...)
	f.push(s.vp8Packets(vp8Frame{id: 4, tid: -1, key: true})...)
	f.push(s.vp8Packets(vp8Frame{id: 5, tid: -1})...)
	if n := f.finish(); n != 3 {
		t.Fatalf("%d frames, want 3", n)
	}
	if f.frames[0].Restarted || !f.frames[1].Restarted || f.frames[2].Restarted {
		t.Error("Restarted is not on the first frame after the restart alone")
	}
	if n := f.frames[1].DroppedFrames; n != 2 {
		t.Errorf("%d frames dropped, want 2", n)
	}
}

func TestCaptureTimeIsRead(t *testing.T) {
	d, err := New(media.VP8, Config{AbsCaptureTime: 3})
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0x90, 0xe0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0, 3, 0x37, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0x10}
	p, err := media.NewPacket(append(b, vp8Key...), epoch)
	if err != nil {
		t.Fatal(err)
	}
	d.Push(p, 0)
	if f, ok := d.Next(); !ok || f.CaptureTime != 0x0102030405060708 {
		t.Errorf("capture time %#x", f.CaptureTime)
	}
}

// TestVP8RawPackets reads packets that another implementation keeps as examples.
func TestVP8RawPackets(t *testing.T) {
	var packets []*media.Packet
	for _, path := range capturetest.Glob(t, "shinyoshiaki-werift-webrtc/assets/rtp/vp8/dump_*.rtp") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := media.NewPacket(b, epoch)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		packets = append(packets, p)
	}
	sortBySequence(packets)
	d := mustNew(t, media.VP8)
	frames := run(t, d, packets)
	t.Logf("%d packets, %d frames: %+v", len(packets), len(frames), d.Stats())
	if len(frames) == 0 || !frames[0].Key || frames[0].Width == 0 {
		t.Errorf("no keyframe in %d frames", len(frames))
	}
	if s := d.Stats().Packets; s.Malformed != 0 {
		t.Errorf("%d malformed packets", s.Malformed)
	}
}

func sortBySequence(p []*media.Packet) {
	for i := range p {
		for k := i; k > 0 && int16(p[k].SequenceNumber-p[k-1].SequenceNumber) < 0; k-- {
			p[k], p[k-1] = p[k-1], p[k]
		}
	}
}
