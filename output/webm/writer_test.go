package webm

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/muxertest"
)

const ms = time.Millisecond

// start makes a Writer with tracks on w.
func start(t testing.TB, w io.Writer, cfg Config, tracks ...media.Track) *Writer {
	t.Helper()
	x, err := NewWriter(w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range tracks {
		if _, err := x.AddTrack(tr); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func put(t testing.TB, w *Writer, track int, at time.Duration, key bool, data string) {
	t.Helper()
	f := media.Frame{Data: []byte(data), Time: at, Key: key}
	if err := w.WriteFrame(track, f); err != nil {
		t.Fatal(err)
	}
}

func end(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// placed is a block and the cluster that it is in.
type placed struct {
	Block
	cluster time.Duration
	first   bool
}

func blocks(t testing.TB, file []byte) []placed {
	t.Helper()
	r := NewReader(bytes.NewReader(file))
	r.seen = &structure{}
	var ps []placed
	clusters := 0
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Data = bytes.Clone(b.Data)
		ps = append(ps, placed{b, time.Duration(r.clusterTime) * ms, r.seen.clusters > clusters})
		clusters = r.seen.clusters
	}
	if len(r.Faults()) > 0 {
		t.Fatalf("faults: %v", r.Faults())
	}
	return ps
}

func inspect(t testing.TB, file []byte) Report {
	t.Helper()
	rep, err := Inspect(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestChunksAreShortAndBeginAtKeyframes(t *testing.T) {
	for _, chunk := range []time.Duration{200 * ms, time.Second, 10 * time.Second, time.Hour} {
		var file muxertest.File
		w := start(t, &file, Config{Chunk: chunk}, vp8, opus)
		for at := time.Duration(0); at < 2*time.Minute; at += 20 * ms {
			if at%(40*ms) == 0 {
				put(t, w, 1, at, at%(7*time.Second) == 0, "video")
			}
			put(t, w, 2, at, true, "audio")
		}
		end(t, w)
		limit := min(chunk, MaxChunk)
		var last time.Duration
		for _, p := range blocks(t, file.Data) {
			if p.Time-p.cluster >= limit {
				t.Fatalf("chunks of %v: a block %v after its cluster", chunk, p.Time-p.cluster)
			}
			if p.Track == 1 && p.Key && !p.first && p.Time-p.cluster >= limit/2 {
				t.Fatalf("chunks of %v: a keyframe %v into its cluster", chunk, p.Time-p.cluster)
			}
			if p.first && p.Time-last > limit {
				t.Fatalf("chunks of %v: clusters %v apart", chunk, p.Time-last)
			}
			last = p.Time
		}
	}
}

func TestChunksAreSmall(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{MaxChunkBytes: 1000}, vp8)
	sizes := []int{100, 300, 900, 5000, 10, 10, 970, 600, 600}
	for i, n := range sizes {
		put(t, w, 1, time.Duration(i)*ms, false, string(make([]byte, n)))
	}
	end(t, w)
	before := w.header.size()
	for _, e := range file.Ends {
		if n := e - before; n > 1000 && n < 5000 {
			t.Errorf("a chunk of %d bytes", n)
		}
		before = e
	}
	for i, p := range blocks(t, file.Data) {
		if len(p.Data) != sizes[i] {
			t.Errorf("block %d has %d bytes; want %d", i, len(p.Data), sizes[i])
		}
	}
	if cap(w.cluster.buf) > 2*1000 {
		t.Errorf("%d bytes are held for a chunk of 1000", cap(w.cluster.buf))
	}
}

func TestBlocksAreNeverBeforeTheirCluster(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{}, vp8, opus, opus)
	at := [][3]time.Duration{{500, 100, 620}, {520, 300, 640}, {900, 310, 1400}, {2000, 1200, 1500}, {2040, 2039, 2200}}
	for _, row := range at {
		for i, a := range row {
			put(t, w, i+1, a*ms, true, string(make([]byte, 1+int(a)*100)))
		}
	}
	end(t, w)
	got := blocks(t, file.Data)
	for i, p := range got {
		if want := at[i/3][i%3] * ms; p.Time != want {
			t.Errorf("block %d is at %v; want %v", i, p.Time, want)
		}
		if p.Time < p.cluster {
			t.Errorf("block %d is %v before its cluster", i, p.cluster-p.Time)
		}
	}
}

func TestTimesAreRoundedAndNeverFall(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{}, vp8, opus)
	for _, at := range []time.Duration{-time.Second, 499 * time.Microsecond, 500 * time.Microsecond, 20*ms + 400*time.Microsecond, 10 * ms, 33*ms + 501*time.Microsecond} {
		put(t, w, 1, at, false, "v")
		put(t, w, 2, at, true, "a")
	}
	put(t, w, 2, 40*ms, true, "") // left out
	end(t, w)
	var got []time.Duration
	for _, p := range blocks(t, file.Data) {
		if p.Track == 1 {
			got = append(got, p.Time)
		}
	}
	if want := []time.Duration{0, 0, 1 * ms, 20 * ms, 20 * ms, 34 * ms}; !slices.Equal(got, want) {
		t.Errorf("the times are %v; want %v", got, want)
	}
}

func TestFlagsAreKept(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{}, vp8)
	for i := range 8 {
		f := media.Frame{Data: []byte("x"), Time: time.Duration(i) * ms, Key: i&1 != 0, Hidden: i&2 != 0, Droppable: i&4 != 0}
		if err := w.WriteFrame(1, f); err != nil {
			t.Fatal(err)
		}
	}
	end(t, w)
	for i, p := range blocks(t, file.Data) {
		if p.Key != (i&1 != 0) || p.Hidden != (i&2 != 0) || p.Droppable != (i&4 != 0) {
			t.Errorf("frame %d has the flags %v %v %v", i, p.Key, p.Hidden, p.Droppable)
		}
	}
}

// history keeps every state of a file.
type history struct {
	muxertest.File
	states [][]byte
}

func (h *history) Write(b []byte) (int, error) {
	defer func() { h.states = append(h.states, bytes.Clone(h.Data)) }()
	return h.File.Write(b)
}

func (h *history) WriteAt(b []byte, offset int64) (int, error) {
	defer func() { h.states = append(h.states, bytes.Clone(h.Data)) }()
	return h.File.WriteAt(b, offset)
}

func TestEveryStateOfAFileIsWhole(t *testing.T) {
	var h history
	w := start(t, &h, Config{Date: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, opus)
	for at := time.Duration(0); at < 5*time.Second; at += 20 * ms {
		if at == 2*time.Second {
			if _, err := w.AddTrack(media.Track{Codec: media.VP8}); err != nil {
				t.Fatal(err)
			}
		}
		put(t, w, 1, at, true, "audio")
		if at >= 2*time.Second {
			f := media.Frame{Data: []byte("video"), Time: at, Key: at%time.Second == 0, Width: 1920, Height: 1080}
			if err := w.WriteFrame(2, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	end(t, w)
	frames := 0
	for i, state := range h.states {
		rep := inspect(t, state)
		n := 0
		for _, tr := range rep.Tracks {
			n += tr.Frames
		}
		if len(rep.Faults) > 0 || n < frames || rep.Finalized != (i == len(h.states)-1) {
			t.Errorf("state %d of %d: %+v", i, len(h.states), rep)
		}
		frames = n
	}
	rep := inspect(t, h.Data)
	if !rep.Seekable || rep.DurationMS != 5000 || rep.Cues != 5 || rep.Tracks[1].Width != 1920 || rep.Tracks[1].Keyframes != 3 {
		t.Errorf("the finished file: %+v", rep)
	}
	if h.Patches != 4 {
		t.Errorf("%d writes in place; want 2 for the late track and what its frames showed, the index, and the header", h.Patches)
	}
}

func TestDefaultDurationIsNeverLongerThanAStep(t *testing.T) {
	var h history
	w := start(t, &h, Config{Chunk: 200 * ms}, media.Track{Codec: media.VP8}, opus)
	steps := []int{40, 40, 33, 34, 33, 34, 33, 33, 34, 20, 34, 33, 34, 2, 33, 40, 1, 40}
	at, least := 0, 1000
	check := func() {
		t.Helper()
		if len(h.states) == 0 {
			return
		}
		state := h.states[len(h.states)-1]
		bs := blocks(t, state)
		r := NewReader(bytes.NewReader(state))
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		shortest := time.Second
		var last time.Duration
		for i, b := range bs {
			if i > 0 {
				shortest = min(shortest, b.Time-last)
			}
			last = b.Time
		}
		if got := r.Tracks()[0].DefaultDuration; len(bs) > 1 && (got == 0 || got > max(shortest, minDefaultDuration)) {
			t.Errorf("after %v: DefaultDuration is %v; frames are %v apart", last, got, shortest)
		}
		if got := r.Tracks()[1].DefaultDuration; got != 0 {
			t.Errorf("sound has a DefaultDuration of %v", got)
		}
	}
	for i := range 3 * len(steps) {
		put(t, w, 1, time.Duration(at)*ms, i == 0, "frame")
		check()
		step := steps[i%len(steps)]
		at, least = at+step, min(least, step)
	}
	end(t, w)
	check()
	if least != 1 {
		t.Fatalf("the least step was %d ms", least)
	}
}

func TestAFullDiskLeavesAFinishedFile(t *testing.T) {
	for _, limit := range []int{1500, 3000, 5000, 7777} {
		file := muxertest.File{Limit: limit}
		w := start(t, &file, Config{}, vp8, opus)
		var err error
		for at := time.Duration(0); err == nil; at += 20 * ms {
			f := media.Frame{Data: []byte("frame of some length"), Time: at, Key: at%time.Second == 0}
			if err = w.WriteFrame(1, f); err == nil {
				err = w.WriteFrame(2, f)
			}
		}
		if got := w.Close(); !errors.Is(got, muxertest.ErrDisk) {
			t.Errorf("room for %d bytes: Close gives %v", limit, got)
		}
		if w.pos == 0 {
			if len(file.Data) != 0 {
				t.Errorf("room for %d bytes: %d bytes of nothing are left", limit, len(file.Data))
			}
			continue
		}
		if rep := inspect(t, file.Data); len(rep.Faults) > 0 || !rep.Finalized || rep.DurationMS == 0 {
			t.Errorf("room for %d bytes: %+v", limit, rep)
		}
	}
}

func TestAnIndexThatDoesNotFitIsLeftOut(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{}, vp8)
	put(t, w, 1, 0, true, "key")
	put(t, w, 1, 40*ms, false, "more")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	file.Limit = len(file.Data) + 10
	if err := w.Close(); !errors.Is(err, muxertest.ErrDisk) {
		t.Errorf("Close gives %v", err)
	}
	rep := inspect(t, file.Data)
	if len(rep.Faults) > 0 || !rep.Finalized || rep.Seekable || rep.DurationMS != 80 {
		t.Errorf("%+v", rep)
	}
}

func TestCodecsThatWebMLacksMakeMatroska(t *testing.T) {
	av1 := media.Track{Codec: media.AV1, Private: []byte{0x81, 0, 0, 0}}
	for _, c := range []struct {
		tracks       []media.Track
		docType, ext string
	}{
		{[]media.Track{vp8, opus}, "webm", ".webm"},
		{[]media.Track{av1, opus}, "webm", ".webm"},
		{[]media.Track{opus, h264}, "matroska", ".mkv"},
	} {
		var file muxertest.File
		w := start(t, &file, Config{}, c.tracks...)
		put(t, w, 1, 0, true, "x")
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AddTrack(h264); (err != nil) != (c.docType == "webm") || err != nil && !errors.Is(err, output.ErrFixedTracks) {
			t.Errorf("adding H264 to %s: %v", c.docType, err)
		}
		end(t, w)
		var list []media.Codec
		for _, tr := range c.tracks {
			list = append(list, tr.Codec)
		}
		if rep := inspect(t, file.Data); rep.DocType != c.docType || Ext(list) != c.ext || len(rep.Faults) > 0 {
			t.Errorf("%v: %s, ending %s, faults %v", list, rep.DocType, Ext(list), rep.Faults)
		}
	}
}

func TestTracksThatCantBeWrittenAreRefused(t *testing.T) {
	w := start(t, io.Discard, Config{})
	for _, tr := range []media.Track{{}, {Codec: media.AV1}, {Codec: media.H264}, {Codec: media.H264, Private: make([]byte, maxPrivate+1)}} {
		if _, err := w.AddTrack(tr); err == nil {
			t.Errorf("%+v is taken", tr)
		}
	}
	for range maxTracks {
		if _, err := w.AddTrack(opus); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.AddTrack(opus); !errors.Is(err, output.ErrFixedTracks) {
		t.Errorf("track %d: %v", maxTracks+1, err)
	}
	if err := w.WriteFrame(1, media.Frame{Data: make([]byte, MaxFrameSize+1)}); err == nil {
		t.Error("a frame of any size is taken")
	}
	end(t, w)
	if _, err := NewWriter(io.Discard, Config{Chunk: -1}); err == nil {
		t.Error("a negative chunk is taken")
	}
}

func TestOpusIsDeclaredAsPlayersNeedIt(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{}, media.Track{Codec: media.Opus, Channels: 1})
	put(t, w, 1, 0, true, "x")
	end(t, w)
	r := NewReader(bytes.NewReader(file.Data))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	tr := r.Tracks()[0]
	want := "OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00"
	if string(tr.Private) != want || tr.Channels != 2 || tr.CodecDelay != 6500*time.Microsecond || tr.SeekPreRoll != 80*ms {
		t.Errorf("%+v", tr)
	}
}

func TestIdentifiersComeFromTheSeed(t *testing.T) {
	a, b := uid("seed", "track 1"), uid("seed", "track 2")
	if a == b || a == uid("other", "track 1") || a == 0 || a >= 1<<56 || a != uid("seed", "track 1") {
		t.Error(a, b)
	}
}

func TestTheIndexStaysBounded(t *testing.T) {
	var l cueList
	const n = 5 * maxCues
	for i := range int64(n) {
		l.add(cue{time: i * 100, track: 1 + uint8(i%2)})
	}
	if len(l.cues) > maxCues || len(l.cues) < maxCues/8 {
		t.Fatalf("%d entries", len(l.cues))
	}
	var last [3]int64
	for _, c := range l.cues {
		if gap := c.time - last[c.track]; gap > 4*l.gap+200 {
			t.Fatalf("a hole of %d ms, where entries are %d ms apart", gap, l.gap)
		}
		last[c.track] = c.time
	}
	if last[1] < (n-10)*100-2*l.gap {
		t.Errorf("the last entry is at %d", last[1])
	}
}

// Sound that comes after the picture's chunk was written is not before the picture
// with the delay of Opus taken off.
func TestSoundBeginsAfterAPictureThatIsWritten(t *testing.T) {
	for _, c := range []struct {
		flush       bool
		sound, want time.Duration
	}{
		{false, 0, 0}, {false, 3, 3}, {true, 0, 7}, {true, 3, 7}, {true, 6, 7}, {true, 7, 7}, {true, 8, 8},
	} {
		var file muxertest.File
		w := start(t, &file, Config{}, opus, vp8)
		put(t, w, 2, 0, true, "picture")
		if c.flush {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		put(t, w, 1, c.sound*ms, true, "sound")
		put(t, w, 1, (c.sound+20)*ms, true, "sound")
		end(t, w)
		got := blocks(t, file.Data)
		if got[1].Time != c.want*ms || got[2].Time != (c.sound+20)*ms {
			t.Errorf("sound from %d ms on, a chunk before it: %v: at %v and %v", c.sound, c.flush, got[1].Time, got[2].Time)
		}
	}
}
