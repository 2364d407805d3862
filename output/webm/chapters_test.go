package webm

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
)

// disk is a file in memory.
type disk struct{ data []byte }

func (d *disk) Write(b []byte) (int, error) { return d.WriteAt(b, int64(len(d.data))) }

func (d *disk) WriteAt(b []byte, at int64) (int, error) {
	if grow := int(at) + len(b) - len(d.data); grow > 0 {
		d.data = append(d.data, make([]byte, grow)...)
	}
	return copy(d.data[at:], b), nil
}

// chaptered makes a file of two seconds with chapters.
func chaptered(t *testing.T, f *disk, names ...string) {
	t.Helper()
	w, err := NewWriter(f, Config{UID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.AddTrack(media.Track{Codec: media.VP8, Width: 640, Height: 480})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		frame := media.Frame{Data: []byte{byte(i), 1, 2}, Time: time.Duration(i) * 40 * time.Millisecond, Key: i%25 == 0}
		if err := w.WriteFrame(n, frame); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		if err := w.AddChapter(time.Duration(i)*300*time.Millisecond, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChapters: they are before the media when there is room for them, and else
// behind it; they survive a repair.
func TestChapters(t *testing.T) {
	names := []string{"kick-off", "Töre \u2764", "bad \xff"}
	want := []Chapter{{0, "kick-off"}, {300, "Töre \u2764"}, {600, "bad \uFFFD"}}
	t.Run("few", func(t *testing.T) { testChapters(t, names, want) })
	for i := range 60 {
		names = append(names, strings.Repeat("x", i+1))
		want = append(want, Chapter{int64(len(want)) * 300, strings.Repeat("x", i+1)})
	}
	t.Run("many", func(t *testing.T) { testChapters(t, names, want) })
}

func testChapters(t *testing.T, names []string, want []Chapter) {
	f := &disk{}
	chaptered(t, f, names...)
	rep, err := Inspect(bytes.NewReader(f.data), int64(len(f.data)))
	if err != nil || !rep.Seekable || !rep.Finalized || len(rep.Faults) > 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if diff := cmp.Diff(want, rep.Chapters); diff != "" {
		t.Errorf("chapters (-want +got):\n%s", diff)
	}
	media := bytes.Index(f.data, []byte{0x1F, 0x43, 0xB6, 0x75})
	// The first place that its id stands at is in SeekHead.
	if at := bytes.LastIndex(f.data, []byte{0x10, 0x43, 0xA7, 0x70}); (at < media) != (len(names) < 10) || at < 100 {
		t.Errorf("%d chapters are at %d, the media begins at %d", len(names), at, media)
	}
	plain := &disk{}
	chaptered(t, plain)
	if rep, err := Inspect(bytes.NewReader(plain.data), -1); err != nil || rep.Chapters != nil || bytes.Contains(plain.data, []byte{0x10, 0x43, 0xA7, 0x70}) {
		t.Errorf("without chapters: %+v, %v", rep.Chapters, err)
	}

	// Chapters survive a repair, and so do those behind what has to be repaired.
	broken := bytes.Clone(f.data)
	second := bytes.LastIndex(broken, []byte{0x1F, 0x43, 0xB6, 0x75})
	for i := range 30 {
		broken[second+60+i] = 0
	}
	out := &disk{}
	rescue, err := Repair(out, bytes.NewReader(broken), int64(len(broken)))
	if err != nil || rescue.Whole {
		t.Fatalf("repair: %+v, %v", rescue, err)
	}
	rep, err = Inspect(bytes.NewReader(out.data), int64(len(out.data)))
	if err != nil || !rep.Seekable || !rep.Finalized || len(rep.Faults) > 0 {
		t.Errorf("repaired: %+v, %v", rep, err)
	}
	if diff := cmp.Diff(want, rep.Chapters); diff != "" {
		t.Errorf("chapters of the repaired file (-want +got):\n%s", diff)
	}
}

func TestChaptersAreBounded(t *testing.T) {
	w, err := NewWriter(&disk{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddChapter(0, strings.Repeat("x", maxChapterName+1)); err == nil {
		t.Error("a name without end is taken")
	}
	for range MaxChapters {
		if err := w.AddChapter(0, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddChapter(0, "x"); err == nil {
		t.Error("one more is taken")
	}
	stream, err := NewWriter(&bytes.Buffer{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.AddChapter(0, "x"); err != nil || len(stream.marks) > 0 {
		t.Errorf("a stream: %v, %d chapters", err, len(stream.marks))
	}
}
