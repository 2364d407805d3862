//go:build integration

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// TestOnlyOneKind records the sound of a call alone, and the picture.
func TestOnlyOneKind(t *testing.T) {
	for only, other := range map[media.Kind]media.Kind{media.Audio: media.Video, media.Video: media.Audio} {
		t.Run(only.String(), func(t *testing.T) {
			t.Parallel()
			url, dir := openRoom(t), t.TempDir()
			enter(t, url, "alice", "alice")
			enter(t, url, "bob", "bob")
			p := start(t, "record", "--out", dir, "--session", "s", "--only", only.String(), "--duration", "2s", url)
			if code := p.exit(t); code != 0 {
				t.Fatalf("exit code %d\n%s", code, &p.stderr)
			}
			files := recordings(t, dir)
			if len(files) != 2 {
				t.Errorf("%d files", len(files))
			}
			for _, file := range files {
				if got := frames(t, file); got[only] < 20 || got[other] != 0 {
					t.Errorf("%s: %v", file, got)
				}
				plays(t, file)
			}
		})
	}
}

// TestChangeOfSizeBeginsANewFile changes the size of a picture in the middle of
// a recording, back and forth: the files hold every frame between them.
func TestChangeOfSizeBeginsANewFile(t *testing.T) {
	t.Parallel()
	url, dir := openRoom(t), t.TempDir()
	clip, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	var sent [][]byte
	picture := func(n int, _ bool) []byte {
		width := 640
		if n/30%2 == 1 {
			width = 1280
		}
		b := netsim.Frame(media.VP8, n, 3000, n%30 == 0, width, 360)
		sent = append(sent, b)
		return b
	}
	alice, err := synthetic.Join(t.Context(), synthetic.Config{
		URL: url, Room: "test", PeerID: "alice", Clip: clip, Reserved: true, Loopback: true, Picture: picture,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alice.Close() })
	p := start(t, "record", "--out", dir, "--session", "s", "--on-change", "new-file", "--until-empty", "200ms", url)
	waitFor(t, "two changes of size", 20*time.Second, func() bool { v, _ := alice.Sent(); return v >= 80 })
	alice.Stop()
	_, audio := alice.Sent()
	if err := alice.Close(); err != nil {
		t.Error(err)
	}
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	var got [][]byte
	var sound int64
	var widths []int
	for _, f := range m.Files {
		b, faults := blocks(t, filepath.Join(dir, "s", f.Path))
		if len(faults) > 0 {
			t.Errorf("%s: %v", f.Path, faults)
		}
		got = append(got, b[media.Video]...)
		sound += int64(len(b[media.Audio]))
		for _, track := range f.Tracks {
			if track.Width > 0 {
				widths = append(widths, track.Width)
			}
		}
	}
	same(t, "video", got, sent)
	if sound != audio {
		t.Errorf("%d Opus packets in the files, %d were sent", sound, audio)
	}
	if !slices.Equal(widths, []int{640, 1280, 640}) {
		t.Errorf("the files are %v pixels wide", widths)
	}
}

// TestPipeIntoFFmpeg plays a recording while it is made.
func TestPipeIntoFFmpeg(t *testing.T) {
	t.Parallel()
	url := openRoom(t)
	enter(t, url, "alice", "alice")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	record := exec.CommandContext(t.Context(), path, "record", "--out", "-", "--duration", "3s", url)
	ffmpeg := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-i", "-", "-map", "0", "-f", "framecrc", "-c", "copy", "-")
	var said, complaints, list bytes.Buffer
	record.Stderr, ffmpeg.Stderr, ffmpeg.Stdout = &said, &complaints, &list
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	record.Stdout, ffmpeg.Stdin = w, r
	for _, c := range []*exec.Cmd{record, ffmpeg} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = w.Close(), r.Close()
	if err := record.Wait(); err != nil {
		t.Errorf("record: %v\n%s", err, &said)
	}
	if err := ffmpeg.Wait(); err != nil || complaints.Len() > 0 {
		t.Errorf("ffmpeg: %v\n%s", err, &complaints)
	}
	video, audio := bytes.Count(list.Bytes(), []byte("\n0,")), bytes.Count(list.Bytes(), []byte("\n1,"))
	if video+audio < 150 || video < 50 || audio < 50 {
		t.Errorf("ffmpeg has seen %d and %d frames", video, audio)
	}
}

// TestShortChunksAreWrittenOften watches a file grow.
func TestShortChunksAreWrittenOften(t *testing.T) {
	t.Parallel()
	url, dir := openRoom(t), t.TempDir()
	enter(t, url, "alice", "alice")
	p := start(t, "record", "--out", dir, "--session", "s", "--chunk", "200ms", "--duration", "3s", url)
	var grown int
	var size int64
	waitFor(t, "the file to grow", 20*time.Second, func() bool {
		if info, err := os.Stat(filepath.Join(dir, "s", "alice.webm")); err == nil && info.Size() != size {
			size = info.Size()
			grown++
		}
		return grown >= 10
	})
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, &p.stderr)
	}
}
