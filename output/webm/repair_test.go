package webm

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/muxertest"
)

// repaired repairs a file in memory. It fails when the result has a fault, or
// when repairing that again would change it.
func repaired(t testing.TB, b []byte) (Rescue, []byte, error) {
	t.Helper()
	var out muxertest.File
	got, err := Repair(&out, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		if !errors.Is(err, ErrNothing) {
			t.Fatal(err)
		}
		return got, nil, err
	}
	if got.Whole {
		if len(out.Data) > 0 {
			t.Fatalf("%d bytes are written of a file that is whole", len(out.Data))
		}
		return got, b, nil
	}
	if int64(len(out.Data)) != got.Bytes {
		t.Fatalf("%d bytes are written; it says %d", len(out.Data), got.Bytes)
	}
	rep := inspect(t, out.Data)
	if len(rep.Faults) > 0 || !rep.Seekable || !rep.Finalized {
		t.Fatalf("the repaired file: seekable %v, finalized %v, faults %v", rep.Seekable, rep.Finalized, rep.Faults)
	}
	again, err := Repair(&out, bytes.NewReader(out.Data), int64(len(out.Data)))
	if err != nil || !again.Whole || again.Frames != got.Frames {
		t.Fatalf("repairing it again: %+v, %v", again, err)
	}
	return got, out.Data, nil
}

// framesOf gives each frame of a file as a text, and where the file has to be
// cut at the earliest for the frame to be whole: where the next one begins.
func framesOf(t testing.TB, b []byte) (frames []string, ends []int64) {
	t.Helper()
	r := NewReader(bytes.NewReader(b))
	for {
		x, err := r.Next()
		if err == io.EOF {
			return frames, ends
		}
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		h.Write(x.Data)
		frames = append(frames, fmt.Sprintf("%d@%v+%v %v %v %v %d %x", x.Track, x.Time, x.Duration, x.Key, x.Hidden, x.Droppable, len(x.Data), h.Sum64()))
		ends = append(ends, r.src.pos)
	}
}

// keeps tells that the first n frames are what a file has.
func keeps(t testing.TB, what string, want []string, n int, repaired []byte) {
	t.Helper()
	got, _ := framesOf(t, repaired)
	if len(got) != n {
		t.Fatalf("%s: %d frames are kept; want %d", what, len(got), n)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: frame %d is %s; it was %s", what, i, got[i], want[i])
		}
	}
}

// smallFile makes a finished file of three chunks.
func smallFile(t testing.TB) []byte {
	var file muxertest.File
	w := start(t, &file, Config{UID: "small"}, vp8, opus)
	for at := time.Duration(0); at < 3*time.Second; at += 250 * ms {
		put(t, w, 1, at, at%time.Second == 0, "video at "+at.String())
		put(t, w, 2, at, true, "audio at "+at.String())
	}
	end(t, w)
	return file.Data
}

func TestRepairLeavesAWholeFileAlone(t *testing.T) {
	b := smallFile(t)
	got, _, err := repaired(t, b)
	if err != nil || !got.Whole || got.Frames != 24 || got.DurationMS != 3000 {
		t.Errorf("%+v, %v", got, err)
	}
}

// oddFile is built as others build files: unknown sizes, groups, laces, a
// timestamp scale of its own, a track with a large number, tags.
func oddFile() []byte {
	tracks := el(idTracks, el(idTrackEntry, num(idTrackNumber, 300), num(idTrackType, 1), text(idCodecID, "V_VP8"), el(idVideo, num(idPixelWidth, 64), num(idPixelHeight, 48))),
		el(idTrackEntry, num(idTrackNumber, 2), num(idTrackType, 2), text(idCodecID, "A_VORBIS"), num(idDefaultDuration, 10e6), el(idAudio)))
	wide := func(rel int, flags byte, data string) []byte {
		return append([]byte{0x41, 0x2C, byte(rel >> 8), byte(rel), flags}, data...)
	}
	return bytes.Join([][]byte{
		el(idEBML, text(idDocType, "matroska"), num(idDocTypeVersion, 2)),
		open(idSegment, el(idTags, []byte("early")), el(idInfo, num(idTimestampScale, 21333), text(idMuxingApp, "odd"), el(idDuration, make([]byte, 4))), tracks, el(idVoid, make([]byte, 99))),
		open(idCluster, num(idTimestamp, 1_000_000), num(idPosition, 7), el(idCRC32, []byte("1234")),
			el(idSimpleBlock, wide(0, flagKey, "key")),
			el(idBlockGroup, el(idBlock, wide(-5, flagInvisible, "hidden")), el(idReferenceBlock, []byte{0xFB}), num(idBlockDuration, 77), el(idDiscardPadding, []byte{1})),
			el(idSimpleBlock, body(2, 9, flagKey|laceXiph, "\x02\x01\x02abbc"))),
		open(idCluster, num(idTimestamp, 2_000_000), num(idPrevSize, 7), el(idSimpleBlock, body(2, -300, flagKey, "late")), el(idSimpleBlock, wide(2, flagDroppable, "last"))),
		el(idTags, []byte("late")),
	}, nil)
}

func TestRepairKeepsWhatOthersWrote(t *testing.T) {
	b := oddFile()
	want, _ := framesOf(t, b)
	if len(want) != 7 {
		t.Fatal(want)
	}
	got, out, err := repaired(t, b)
	if err != nil || got.LostBytes != 0 || len(got.Lost) != 0 || got.Frames != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
	keeps(t, "odd", want, 7, out)
	for _, s := range [][]byte{el(idTags, []byte("early")), el(idTags, []byte("late")), el(idDiscardPadding, []byte{1}), text(idMuxingApp, "odd"), num(idTimestampScale, 21333)} {
		if bytes.Count(out, s) != 1 {
			t.Errorf("%q is not kept", s)
		}
	}
	if rep := inspect(t, out); rep.DocType != "matroska" || rep.Cues != 1 || rep.Clusters != 2 || rep.DurationMS != 43666 {
		t.Errorf("%+v", rep)
	}
}

func TestRepairKeepsSeveralSegments(t *testing.T) {
	b := bytes.Join([][]byte{smallFile(t), oddFile(), []byte("garbage"), smallFile(t)}, nil)
	want, _ := framesOf(t, b)
	got, out, err := repaired(t, b)
	if err != nil || got.LostBytes != 7 || got.Frames != int64(len(want)) {
		t.Fatalf("%+v, %v", got, err)
	}
	keeps(t, "three segments", want, len(want), out)
}

func TestRepairOfAFileThatIsCutAnywhere(t *testing.T) {
	for name, b := range map[string][]byte{"ours": smallFile(t), "odd": oddFile()} {
		want, ends := framesOf(t, b)
		for n := range b {
			what := fmt.Sprintf("%s, cut at %d", name, n)
			rep := inspect(t, b[:n])
			whole := 0
			for whole < len(ends) && ends[whole] <= int64(n) {
				whole++
			}
			seen := 0
			for _, tr := range rep.Tracks {
				seen += tr.Frames
			}
			if seen != whole {
				t.Fatalf("%s: inspect sees %d frames of %d", what, seen, whole)
			}
			got, out, err := repaired(t, b[:n])
			if whole == 0 {
				if err == nil {
					t.Fatalf("%s: nothing is repaired to %+v", what, got)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			keeps(t, what, want, whole, out)
			if got.LostBytes > 200 || got.LostBytes > 0 && len(got.Lost) == 0 {
				t.Fatalf("%s: %+v", what, got)
			}
		}
	}
}

// largeFile has two frames in each 33 ms, one of some kB.
func largeFile(t testing.TB, frames int) []byte {
	var file muxertest.File
	w := start(t, &file, Config{UID: "large"}, vp8, opus)
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 20_000)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for i := range frames {
		at := time.Duration(i) * 33 * ms
		size := 5000 + rng.IntN(5000)
		if err := w.WriteFrame(1, media.Frame{Data: data[:size], Time: at, Key: i%90 == 0}); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteFrame(2, media.Frame{Data: data[size : size+80], Time: at, Key: true, Duration: 20 * ms}); err != nil {
			t.Fatal(err)
		}
	}
	end(t, w)
	return file.Data
}

func TestRepairOfALargeFileThatIsCutAtRandom(t *testing.T) {
	b := largeFile(t, 300)
	want, ends := framesOf(t, b)
	rng := rand.New(rand.NewPCG(3, 4))
	room := make([]byte, 0, 2*len(b))
	for range 1000 {
		n := rng.IntN(len(b))
		whole := 0
		for whole < len(ends) && ends[whole] <= int64(n) {
			whole++
		}
		out := muxertest.File{Data: room}
		got, err := Repair(&out, bytes.NewReader(b[:n]), int64(n))
		if whole == 0 != errors.Is(err, ErrNothing) || got.Frames != int64(whole) {
			t.Fatalf("cut at %d: %d frames of %d, %v", n, got.Frames, whole, err)
		}
		if whole == 0 {
			continue
		}
		// Every block is in the result in its bytes; its frames are compared
		// for some.
		if rep := inspect(t, out.Data); len(rep.Faults) > 0 || !rep.Seekable || !rep.Finalized || rep.Tracks[0].Frames+rep.Tracks[1].Frames != whole {
			t.Fatalf("cut at %d: %+v", n, rep)
		}
		if n%20 == 0 {
			keeps(t, fmt.Sprint("cut at ", n), want, whole, out.Data)
		}
	}
}

func TestRepairOfDamageInTheMiddle(t *testing.T) {
	b := smallFile(t)
	want, _ := framesOf(t, b)
	at := bytes.Index(b, []byte("video at 1.25s"))
	b[at-6] = 0 // the SimpleBlock's id
	got, out, err := repaired(t, b)
	frames, _ := framesOf(t, out)
	if err != nil || len(frames) < len(want)-8 || len(got.Lost) != 1 || got.LostBytes != got.Lost[0].Bytes || got.Lost[0].Offset != int64(at-6) {
		t.Errorf("%d of %d frames are kept, %+v, %v", len(frames), len(want), got, err)
	}
	// A group of which only an integer is wrong keeps its frame.
	b = bytes.Join([][]byte{docHead, open(idSegment, oneTrack, el(idCluster, num(idTimestamp, 0),
		el(idBlockGroup, el(idBlock, body(1, 4, 0, "a")), el(idBlockDuration, make([]byte, 9)))))}, nil)
	_, out, err = repaired(t, b)
	if got := describe(t, out); err != nil || got != "1@4ms a key" {
		t.Errorf("%s, %v", got, err)
	}
	// One of two tracks can't be read.
	b = bytes.Join([][]byte{docHead, open(idSegment,
		el(idTracks, el(idTrackEntry, num(idTrackNumber, 2), text(idCodecID, strings.Repeat("x", 2000))), oneTrack[12:]),
		el(idCluster, num(idTimestamp, 0), el(idSimpleBlock, body(2, 0, 0, "lost")), el(idSimpleBlock, body(1, 4, flagKey, "a"))))}, nil)
	rescue, out, err := repaired(t, b)
	if got := describe(t, out); err != nil || got != "1@4ms a key" || rescue.LostBytes == 0 {
		t.Errorf("%s, %+v, %v", got, rescue, err)
	}
}

func TestRepairSplitsEndlessClusters(t *testing.T) {
	var b bytes.Buffer
	b.Write(bytes.Join([][]byte{docHead, open(idSegment, oneTrack), open(idCluster, num(idTimestamp, 5))}, nil))
	for i := range 40 {
		b.Write(el(idSimpleBlock, body(1, i, flagKey, strings.Repeat(string(rune('a'+i%26)), 1<<20))))
	}
	want, _ := framesOf(t, b.Bytes())
	_, out, err := repaired(t, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, "an endless cluster", want, 40, out)
	if rep := inspect(t, out); rep.Clusters < 5 || rep.Cues != 40 {
		t.Errorf("%d clusters, %d cues", rep.Clusters, rep.Cues)
	}
}

func TestRepairGivesTheErrors(t *testing.T) {
	b := smallFile(t)
	b = b[:len(b)-10]
	full := muxertest.File{Limit: 700}
	if _, err := Repair(&full, bytes.NewReader(b), int64(len(b))); err == nil || errors.Is(err, ErrNothing) {
		t.Errorf("on a full disk: %v", err)
	}
	failed := errors.New("the disk is broken")
	if _, err := Repair(&muxertest.File{}, brokenAt{b, 1500, failed}, int64(len(b))); !errors.Is(err, failed) {
		t.Errorf("from a broken disk: %v", err)
	}
}

// brokenAt can't be read from an offset on.
type brokenAt struct {
	b   []byte
	at  int64
	err error
}

func (f brokenAt) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= f.at {
		return 0, f.err
	}
	return copy(b, f.b[offset:f.at]), nil
}

// TestRepairOfOthersFiles repairs what browsers and other programs have made.
func TestRepairOfOthersFiles(t *testing.T) {
	var names []string
	for _, pattern := range []string{"*/*/*.webm", "*/*/*/*.webm", "*/*/*/*.mkv"} {
		found, _ := filepath.Glob(filepath.Join(captures(t), pattern))
		names = append(names, found...)
	}
	if len(names) < 10 {
		t.Fatal(names)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := framesOf(t, b)
			got, out, err := repaired(t, b)
			if err != nil {
				if len(want) > 0 {
					t.Fatalf("%d frames, %v", len(want), err)
				}
				return
			}
			keeps(t, name, want, len(want), out)
			t.Logf("whole %v, %d ms, %d frames, lost %v", got.Whole, got.DurationMS, got.Frames, got.Lost)
		})
	}
}

// TestRepairLeavesOutDamagedChapters repairs a file with chapters whose last
// element says that it is longer than they are: what is kept must be whole.
func TestRepairLeavesOutDamagedChapters(t *testing.T) {
	chapters := func(inner ...[]byte) []byte {
		return el(idChapters, el(idEditionEntry, el(idChapterAtom, inner...)))
	}
	whole := chapters(num(idChapterTimeStart, 5e6), el(idChapterDisplay, text(idChapString, "here")))
	damaged := chapters(num(idChapterTimeStart, 5e6), []byte{0x85, 0x9A, 'x'})
	for name, c := range map[string]struct {
		chapters []byte
		want     int
	}{"whole": {whole, 1}, "damaged": {damaged, 0}} {
		b := smallFile(t)
		at := bytes.Index(b, []byte{0x1F, 0x43, 0xB6, 0x75})
		b = bytes.Join([][]byte{b[:at], c.chapters, b[at : len(b)-50]}, nil)
		got, out, err := repaired(t, b)
		if err != nil || got.Whole {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		if rep := inspect(t, out); len(rep.Chapters) != c.want {
			t.Errorf("%s: chapters %v", name, rep.Chapters)
		}
	}
}

func FuzzRepair(f *testing.F) {
	f.Add(smallFile(f))
	f.Add(oddFile())
	f.Add(append(smallFile(f), oddFile()...))
	if dir, err := filepath.Abs("../../../shared/captures"); err == nil {
		for _, pattern := range []string{"mozilla-nestegg/test/media/*.webm", "webmproject-libwebm/testing/testdata/*.*"} {
			names, _ := filepath.Glob(filepath.Join(dir, pattern))
			for _, name := range names {
				if b, err := os.ReadFile(name); err == nil && len(b) < 20_000 {
					f.Add(b)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := playable(b)
		got, out, err := repaired(t, b)
		if err != nil {
			if want > 0 {
				t.Fatalf("%d frames, and %v", want, err)
			}
			return
		}
		if got.LostBytes > int64(len(b)) || len(got.Lost) > maxFaults || len(out) > 4*len(b)+2000 {
			t.Fatalf("%d bytes of %d, %+v", len(out), len(b), got)
		}
		if frames, _ := framesOf(t, out); len(frames) < want {
			t.Fatalf("%d frames of %d are kept", len(frames), want)
		}
	})
}

// playable counts the frames of tracks that have a codec.
func playable(b []byte) int {
	n := 0
	for r := NewReader(bytes.NewReader(b)); ; {
		x, err := r.Next()
		if err != nil {
			return n
		}
		if r.Tracks()[r.index[x.Track]].CodecID != "" {
			n++
		}
	}
}

// BenchmarkRepair repairs a file whose writer was killed; BenchmarkRepairCopy
// is what reading and writing as much takes.
func BenchmarkRepair(b *testing.B) {
	file := largeFile(b, 1500)
	file = file[:len(file)-100]
	out := muxertest.File{Data: make([]byte, 0, len(file)+1<<20)}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		out.Data = out.Data[:0]
		got, err := Repair(&out, bytes.NewReader(file), int64(len(file)))
		if err != nil || got.Frames == 0 {
			b.Fatal(err)
		}
	}
}

func BenchmarkRepairCopy(b *testing.B) {
	file := largeFile(b, 1500)
	out := make([]byte, 0, len(file))
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		out = append(out[:0], file...)
	}
}

// BenchmarkInspect inspects a file of 15 MB in memory.
func BenchmarkInspect(b *testing.B) {
	file := largeFile(b, 1500)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if rep, err := Inspect(bytes.NewReader(file), -1); err != nil || len(rep.Faults) > 0 {
			b.Fatal(rep, err)
		}
	}
}
