package recorder

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/roomtape/roomtape/output"
)

// The manifest in the store is, at every moment and byte for byte, that of all
// files, though the parts of those that are over are not made anew.
func TestManifestOfManyFilesIsWhole(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	cfg.RotateEvery = time.Second
	room := &script{}
	for i, id := range []string{"alice", "bob", "carol"} {
		in := videoTrack(nil)
		in.Participant, in.Connection = id, i+1
		v := room.start(ms(100*i), in)
		for at := ms(100 * i); at < ms(8000+1000*i); at += ms(40) {
			v.frame(at, at%ms(400) == ms(100*i))
			v.rtp += 3600
		}
		v.stop(ms(8000 + 1000*i))
	}
	s, err := NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	ticks := 0
	room.before = func(time.Time) {
		if ticks++; ticks%7 != 0 {
			return
		}
		want, err := s.Manifest().encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.encodeManifest()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v\n%s\nwant\n%s", err, got, want)
		}
		most = max(most, len(s.done))
	}
	if err := s.Run(t.Context(), room); err != nil {
		t.Fatal(err)
	}
	if most < 15 {
		t.Errorf("%d files were over before the end", most)
	}
	if err := s.Hash(t.Context()); err != nil {
		t.Error(err)
	}
	for _, f := range s.Manifest().Files {
		if len(f.SHA256) != 64 {
			t.Errorf("%s has no digest", f.Path)
		}
	}
	checkAccounts(t, s.Manifest())
}

// nowhere is a Store that keeps nothing but the size of the manifest.
type nowhere struct {
	files    int
	manifest int
}

type nowhereFile struct{ name string }

func (n *nowhere) Create(name, ext string) (output.File, error) {
	n.files++
	return nowhereFile{fmt.Sprint(name, "-", n.files, ext)}, nil
}
func (n *nowhere) WriteFile(_ string, b []byte) error        { n.manifest = len(b); return nil }
func (n *nowhere) Open(string) (io.ReadCloser, error)        { return nil, io.EOF }
func (f nowhereFile) Name() string                           { return f.name }
func (f nowhereFile) Write(b []byte) (int, error)            { return len(b), nil }
func (f nowhereFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (f nowhereFile) Sync() error                            { return nil }
func (f nowhereFile) Close() error                           { return nil }

// talk is a room of one who talks for ever: two packets a second.
type talk struct {
	s    *sender
	room script
	at   time.Duration
	end  time.Duration
	each func()
}

func (r *talk) step() {
	if r.room.next == len(r.room.events) && r.at < r.end {
		r.room.events, r.room.next = r.room.events[:0], 0
		r.s.opus(r.at)
		r.s.rtp += 24000
		r.at += ms(500)
		r.each()
	}
}

// A month of recording with a file every eight minutes keeps only what the
// manifest says of each: no file, no buffer, no chain of what came before.
func TestManyFilesKeepLittle(t *testing.T) {
	const files = 5_000
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	r := &talk{end: files * time.Second}
	r.s = r.room.start(0, audioTrack())
	r.room.end = t0.Add(r.end)
	store := &nowhere{}
	cfg := config(newMemory())
	cfg.Store, cfg.RotateEvery, cfg.RotateSize = store, time.Second, 1<<20
	var s *Session
	half, open := 0.0, 0
	r.each = func() {
		if r.at == r.end/2 {
			half = heap()
		}
		if s != nil {
			open = max(open, len(s.recordings))
		}
	}
	r.room.before = func(time.Time) { r.step() }
	s, err := NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), &r.room); err != nil {
		t.Fatal(err)
	}
	if store.files < files-2 || open > 3 {
		t.Fatalf("%d files, %d of them at once", store.files, open)
	}
	if s.manifest.refused > 0 {
		t.Errorf("%d refused", s.manifest.refused)
	}
	each := (heap() - half) / (files / 2)
	runtime.KeepAlive(s)
	t.Logf("%.0f bytes are kept for each file; the manifest has %d", each, store.manifest/files)
	if each > 4096 {
		t.Errorf("%.0f bytes are kept for each file", each)
	}
}
