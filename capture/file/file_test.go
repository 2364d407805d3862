package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/file"
	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
)

// record writes a second of VP8 and Opus, or of one of them, as WebM.
func record(t *testing.T, video, audio bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := webm.NewWriter(&b, webm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var v, a int
	if video {
		if v, err = w.AddTrack(media.Track{Codec: media.VP8, Width: 64, Height: 48}); err != nil {
			t.Fatal(err)
		}
	}
	if audio {
		if a, err = w.AddTrack(media.Track{Codec: media.Opus, Channels: 2}); err != nil {
			t.Fatal(err)
		}
	}
	for at := time.Duration(0); at < time.Second; at += 20 * time.Millisecond {
		n := int(at / (20 * time.Millisecond))
		if video && n%2 == 0 {
			key := n%20 == 0
			if err := w.WriteFrame(v, media.Frame{Data: netsim.Frame(media.VP8, n, 64, key, 64, 48), Time: at, Key: key}); err != nil {
				t.Fatal(err)
			}
		}
		if audio {
			if err := w.WriteFrame(a, media.Frame{Data: netsim.Frame(media.Opus, n, 64, true, 0, 0), Time: at, Key: true, Duration: 20 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// play plays for some time, and gives what came as "kind number at ms" and the
// error at the end.
func play(t *testing.T, cfg file.Config, d time.Duration) (got []string, err error) {
	t.Helper()
	start := time.Now()
	s, err := file.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for {
		x, err := s.Next(t.Context())
		if err != nil {
			return got, err
		}
		since := time.Since(start)
		if since > d {
			return got, nil
		}
		if late := time.Since(x.Captured); late != 0 {
			t.Errorf("%v captured %v ago", x.Kind, late)
		}
		codec := media.VP8
		if x.Kind == media.Audio {
			codec = media.Opus
		}
		n, ok := netsim.Number(codec, x.Frame.Data)
		if !ok || x.Frame.Key != (x.Kind == media.Audio || n%20 == 0) {
			t.Errorf("%v %d: whole %v, key %v", x.Kind, n, ok, x.Frame.Key)
		}
		got = append(got, fmt.Sprintf("%v %d %d", x.Kind, n, since.Milliseconds()))
	}
}

func TestFileIsPlayedAtItsPaceOverAndOver(t *testing.T) {
	both := write(t, "both.webm", record(t, true, true))
	synctest.Test(t, func(t *testing.T) {
		got, err := play(t, file.Config{Path: both}, time.Hour)
		if !errors.Is(err, io.EOF) || len(got) != 75 {
			t.Errorf("%d frames, %v", len(got), err)
		}
		got, err = play(t, file.Config{Path: both, Loop: true}, 9990*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, g := range got {
			seen[g] = true
		}
		for n := range 500 { // a round is a second
			want := fmt.Sprintf("audio %d %d", n%50, n/50*1000+n%50*20)
			if !seen[want] {
				t.Fatalf("no %q; %v", want, got[max(0, len(got)-5):])
			}
		}
	})
}

func TestPicturesAndSoundOfTwoFiles(t *testing.T) {
	pictures, sound := write(t, "p.webm", record(t, true, true)), write(t, "s.webm", record(t, false, true))
	synctest.Test(t, func(t *testing.T) {
		s, err := file.Open(file.Config{Path: pictures, Sound: sound})
		if err != nil {
			t.Fatal(err)
		}
		if v, a := s.Tracks(); v != media.VP8 || a != media.Opus {
			t.Errorf("tracks %v, %v", v, a)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("after Close: %v", err)
		}
		got, err := play(t, file.Config{Path: pictures, NoAudio: true}, time.Hour)
		if !errors.Is(err, io.EOF) || len(got) != 25 {
			t.Errorf("%d frames without sound, %v", len(got), err)
		}
	})
}

func TestWhatCannotBePlayedIsNamed(t *testing.T) {
	whole := record(t, true, true)
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("some text that is no media at all"),
		"header": whole[:200], "ivf": []byte("DKIF\x00\x00\x20\x00MPEG" + string(make([]byte, 20))),
		"ogg": []byte("OggS" + string(make([]byte, 40))),
	} {
		_, err := file.Open(file.Config{Path: write(t, name, b)})
		if !errors.Is(err, capture.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := file.Open(file.Config{Path: "/nonexistent/file"}); !errors.Is(err, capture.ErrName) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("DKIF\x00\x00\x20\x00VP80"))
	f.Add([]byte("OggS\x00\x02"))
	f.Add([]byte{0x1a, 0x45, 0xdf, 0xa3})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			s, err := file.Open(file.Config{Path: path, Loop: len(b)%2 == 0})
			if err != nil {
				if !errors.Is(err, capture.ErrDamaged) {
					t.Errorf("an error that is none of ours: %v", err)
				}
				return
			}
			defer func() { _ = s.Close() }()
			var last [3]time.Time
			for range 1000 {
				x, err := s.Next(t.Context())
				if err != nil {
					return
				}
				if x.Captured.Before(last[x.Kind]) {
					t.Fatalf("%v after %v", x.Captured, last[x.Kind])
				}
				last[x.Kind] = x.Captured
			}
		})
	})
}
