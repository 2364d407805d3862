package recorder

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

// bitString writes H264 headers (ITU-T H.264 §7.3).
type bitString struct {
	b []byte
	n int
}

func (w *bitString) put(n int, v uint32) *bitString {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

func (w *bitString) ue(v uint32) *bitString {
	n := 0
	for (v+1)>>n > 1 {
		n++
	}
	return w.put(n, 0).put(n+1, v+1)
}

// sender264 sends pictures of H264 whose headers are right.
type sender264 struct {
	*sender
	first    uint32
	frameNum uint32
	zero     int // the place of the last IDR picture
	// bare is set when the parameter sets are elsewhere.
	bare bool
}

// parameters264 are the sets of a sender264: main profile, 320x240, frame_num of
// 4 bits and pic_order_cnt_lsb of 5.
func parameters264() [][]byte {
	sps := new(bitString).put(8, 77).put(8, 0).put(8, 30).ue(0).ue(0).ue(0).ue(1).ue(4).put(1, 0).ue(19).ue(14)
	return [][]byte{
		append([]byte{0x67}, sps.put(1, 1).put(1, 1).put(1, 0).put(1, 0).put(1, 1).b...),
		append([]byte{0x68}, new(bitString).ue(0).ue(0).put(1, 1).put(16, 0x8000).b...),
	}
}

func (r *script) start264(at time.Duration) *sender264 {
	in := videoTrack(nil)
	in.Codecs = map[uint8]media.Codec{97: media.H264}
	s := r.start(at, in)
	s.pt = 97
	return &sender264{sender: s, first: s.rtp}
}

// picture sends one of the kind 'I' (IDR), 'P', 'B' (others refer to it) or 'b',
// that is presented at a place, in frames of 40 ms.
func (s *sender264) picture(at time.Duration, kind byte, place int) {
	header, slice := byte(0x41), uint32(5)
	payload := []byte{0x78} // STAP-A
	add := func(nal []byte) {
		payload = append(binary.BigEndian.AppendUint16(payload, uint16(len(nal))), nal...)
	}
	switch kind {
	case 'I':
		header, slice = 0x65, 7
		s.frameNum, s.zero = 0, place
		for _, set := range parameters264() {
			if !s.bare {
				add(set)
			}
		}
	case 'B':
		slice = 6
	case 'b':
		header, slice = 0x01, 6
	}
	w := new(bitString).ue(0).ue(slice).ue(0).put(4, s.frameNum&15)
	if kind == 'I' {
		w.ue(0)
	}
	w.put(5, uint32(2*(place-s.zero))&31).put(1, 1)
	add(append(append([]byte{header}, w.b...), 0xb5, byte(place), 0xb5))
	if kind != 'b' {
		s.frameNum++
	}
	s.rtp = s.first + uint32(place)*3600
	s.packet(at, true, payload)
}

// pyramids sends n groups of four pictures from the place at, each 40 ms after
// the one before, the first at from.
func (s *sender264) pyramids(from time.Duration, at, n int) {
	for range n {
		for i, k := range []byte("PBbb") {
			s.picture(from+time.Duration(i)*ms(40), k, at+[]int{3, 1, 0, 2}[i])
		}
		from, at = from+ms(160), at+4
	}
}

func h264Config(m *memory) Config {
	cfg := config(m)
	cfg.Ext = webm.Ext
	return cfg
}

// isPicture tells the small pictures from the sound.
func isPicture(w written) bool { return len(w.data) < 60 }

// pictures gives the times of a file's video, as places of 40 ms from the first.
func pictures(t *testing.T, data []byte) (places []int) {
	var first time.Duration
	for _, f := range readBack(t, data) {
		if isPicture(f) {
			if places == nil {
				first = f.at
			}
			at := f.at - first
			if off := at - (at+ms(20))/ms(40)*ms(40); off < -ms(2) || off > ms(2) {
				t.Errorf("a picture is at %v", at)
			}
			places = append(places, int((at+ms(20))/ms(40)))
		}
	}
	return places
}

func TestReorderedPicturesAreStoredInDecodeOrderWithTheirTimes(t *testing.T) {
	room := &script{}
	a := room.start(0, audioTrack())
	a.audio(ms(10), ms(8200))
	v := room.start264(0)
	v.picture(ms(200), 'I', 0)
	v.pyramids(ms(240), 1, 25)
	v.picture(ms(240+4000), 'I', 101)
	v.pyramids(ms(240+4040), 102, 24)
	m := newMemory()
	s, err := run(t, h264Config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for _, gop := range []struct{ at, n int }{{0, 25}, {101, 24}} {
		want = append(want, gop.at)
		for i := range gop.n {
			p := gop.at + 4*i
			want = append(want, p+4, p+2, p+1, p+3)
		}
	}
	if len(m.order) != 1 || !strings.HasSuffix(m.order[0], ".mkv") {
		t.Fatalf("files: %v", m.order)
	}
	data := m.files[m.order[0]].data
	if diff := cmp.Diff(want, pictures(t, data)); diff != "" {
		t.Errorf("pictures (-want +got):\n%s", diff)
	}
	f := s.Manifest().Files[0]
	for _, tr := range f.Tracks {
		if len(tr.Gaps) != 0 {
			t.Errorf("gaps: %+v", tr.Gaps)
		}
	}
	rep, err := webm.Inspect(strings.NewReader(string(data)), -1)
	if err != nil || len(rep.Faults) != 0 || !rep.Seekable {
		t.Errorf("%+v, %v", rep, err)
	}
	if d := rep.DurationMS - f.DurationMS; d < -1 || d > 1 {
		t.Errorf("the file lasts %d ms, by the manifest %d", rep.DurationMS, f.DurationMS)
	}
	video := rep.Tracks[slices.IndexFunc(rep.Tracks, func(r webm.TrackReport) bool { return r.Codec == "H264" })]
	if got := video.LastMS - video.FirstMS; got < 197*40-2 || got > 197*40+2 || video.MaxGapMS > 42 {
		t.Errorf("%+v", video)
	}
	// Sound is where it is needed: no further from a picture than the next group.
	var sound, picture time.Duration
	for _, w := range readBack(t, data) {
		if isPicture(w) {
			picture = max(picture, w.at)
		} else {
			sound = w.at
		}
		if d := picture - sound; picture > ms(400) && sound < ms(7800) && (d < -ms(250) || d > ms(250)) {
			t.Fatalf("sound of %v is next to a picture of %v", sound, picture)
		}
	}
}

func TestGapsOfReorderedPicturesAreWhereTheyAre(t *testing.T) {
	for _, c := range []struct {
		name string
		// lost is the packet that is, by its place in the order of decoding.
		lost uint16
		want []Gap
	}{
		{"one that nothing refers to", 39, []Gap{{AtMS: 37 * 40, DurationMS: 40, Packets: 1, Reason: GapLoss}}},
		{"the last of a group", 48, []Gap{{AtMS: 47 * 40, DurationMS: 40, Packets: 1, Reason: GapLoss}}},
		// All is refused until the keyframe.
		{"one that all refer to", 41, []Gap{{AtMS: 41 * 40, DurationMS: 60 * 40, Packets: 1, Frames: 59, Reason: GapLoss}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			room := &script{}
			v := room.start264(0)
			v.drop = func(seq uint16) bool { return seq == 65500+c.lost }
			v.picture(ms(200), 'I', 0)
			v.pyramids(ms(240), 1, 25)
			v.picture(ms(240+4000), 'I', 101)
			v.pyramids(ms(240+4040), 102, 10)
			s, err := run(t, h264Config(newMemory()), room)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Clone(s.Manifest().Files[0].Tracks[0].Gaps)
			for i := range got { // what rounding does
				got[i].AtMS = (got[i].AtMS + 2) / 4 * 4
				got[i].DurationMS = (got[i].DurationMS + 2) / 4 * 4
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyReorderingGoesBackInAFile(t *testing.T) {
	for _, back := range []time.Duration{ms(300), 10 * time.Second} {
		room := &script{}
		v := room.start264(0)
		v.picture(ms(200), 'I', 0)
		v.pyramids(ms(240), 1, 25)
		v.first -= uint32(back * 90 / time.Millisecond) // the sender's clock jumps
		v.picture(ms(240+4000), 'I', 101)
		v.pyramids(ms(240+4040), 102, 20)
		m := newMemory()
		if _, err := run(t, h264Config(m), room); err != nil {
			t.Fatal(err)
		}
		var times []time.Duration
		for _, w := range readBack(t, m.files[m.order[0]].data) {
			times = append(times, w.at)
		}
		before, after := slices.Max(times[:101]), slices.Min(times[101:])
		if len(times) != 182 || after <= before || after > before+ms(200) {
			t.Errorf("%v back: the file goes from %v to %v", back, before, after)
		}
		if d := slices.Max(times) - after; d < 79*ms(40) || d > 81*ms(40) {
			t.Errorf("%v back: %v of 80 pictures", back, d)
		}
	}
}

// TestParameterSetsOfTheDescriptionAreUsed has a sender that never repeats them.
func TestParameterSetsOfTheDescriptionAreUsed(t *testing.T) {
	for _, given := range []bool{false, true} {
		room := &script{}
		v := room.start264(0)
		v.bare = true
		if given {
			v.in.ParameterSets = signaling.ParameterSets{97: parameters264()}
		}
		v.picture(ms(200), 'I', 0)
		v.pyramids(ms(240), 1, 10)
		m := newMemory()
		s, err := run(t, h264Config(m), room)
		if !given {
			if err == nil || len(m.order) != 0 {
				t.Errorf("without them: %v, files %v", err, m.order)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		track := s.Manifest().Files[0].Tracks[0]
		if track.Frames.Written != 41 || track.Width != 320 || track.Height != 240 {
			t.Errorf("%+v", track)
		}
		if first := readBack(t, m.files[m.order[0]].data)[0].data; !strings.Contains(first, string(parameters264()[0])) {
			t.Error("the keyframe comes without its parameter sets")
		}
	}
}

func TestReorderingIsHeldBackNoLongerThanOtherTracks(t *testing.T) {
	in := interleaver{hold: ms(100)}
	v, a := newLane("v", media.H264), newLane("a", media.Opus)
	in.add(v)
	in.add(a)
	// The video has got to 80 ms, but only 20 ms of it can be presented.
	in.push(v, held{frame: media.Frame{Time: ms(80)}, turn: ms(20), entered: t0})
	in.push(a, held{frame: media.Frame{Time: ms(40)}, turn: ms(40), entered: t0})
	if l := in.next(t0, false); l != v {
		t.Fatal("the picture is not decoded before the sound of 40 ms")
	}
	in.pop(v)
	if in.next(t0.Add(ms(99)), false) != nil {
		t.Error("the sound does not wait for the picture of 40 ms")
	}
	if in.next(t0.Add(ms(100)), false) != a {
		t.Error("the sound waits for ever")
	}
}

// TestReorderedPicturesGoOnInANewFile rotates at keyframes: the pictures that
// come after one, but are presented before others, are where their group is.
func TestReorderedPicturesGoOnInANewFile(t *testing.T) {
	room := func() signaling.Room {
		r := &script{}
		a := r.start(0, audioTrack())
		a.audio(ms(10), ms(12_000))
		v := r.start264(0)
		for i := range 12 { // a keyframe each 25 pictures
			at := ms(200 + 1000*i)
			v.picture(at, 'I', 25*i)
			v.pyramids(at+ms(40), 25*i+1, 6)
		}
		return r
	}
	recorded := func(every time.Duration) (Manifest, []map[string][]placed) {
		mem := newMemory()
		cfg := h264Config(mem)
		cfg.RotateEvery = every
		s, err := run(t, cfg, room())
		if err != nil {
			t.Fatal(err)
		}
		return s.Manifest(), filesOf(t, mem, s.Manifest())
	}
	_, one := recorded(0)
	m, files := recorded(3 * time.Second)
	if len(one) != 1 || len(files) != 4 {
		t.Fatalf("%d and %d files", len(one), len(files))
	}
	checkRotated(t, one[0], files)
	for i, f := range files {
		video := f["video"]
		if len(video)%25 != 0 {
			t.Errorf("file %d has %d pictures", i+1, len(video))
		}
		for k, p := range video {
			if p.at < video[0].at || k%25 == 0 != p.key {
				t.Errorf("file %d: picture %d at %v, after a beginning at %v", i+1, k, p.at, video[0].at)
			}
		}
		for _, tr := range m.Files[i].Tracks {
			if len(tr.Gaps) != 0 {
				t.Errorf("file %d: %+v", i+1, tr.Gaps)
			}
		}
	}
}
