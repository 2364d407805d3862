//go:build integration

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// program builds the binary once, as it is shipped.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "roomtape")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "roomtape")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// child is roomtape running as a process of its own.
type child struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

// start runs roomtape; it is killed at the end of the test if it still runs.
func start(t *testing.T, args ...string) *child {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &child{Cmd: exec.CommandContext(t.Context(), path, args...)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// exit waits for the process's end and gives its exit code.
func (p *child) exit(t *testing.T) int {
	t.Helper()
	err := p.Wait()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// stop ends the process as a service manager does, which must succeed.
func (p *child) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
}

// openRoom starts a room server and gives a room's URL.
func openRoom(t *testing.T) string {
	t.Helper()
	r, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	return r.url("ws") + "/ws/test"
}

// enter lets a participant into the room, who plays the clip to those who come
// later, that is, to the recorder.
func enter(t *testing.T, url, id, clip string) *synthetic.Peer {
	t.Helper()
	c, err := readClip(clip)
	if err != nil {
		t.Fatal(err)
	}
	p, err := synthetic.Join(t.Context(), synthetic.Config{URL: url, Room: "test", PeerID: id, Clip: c, Reserved: true, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// waitFor returns when the condition holds, and fails the test when it does not
// in time.
func waitFor(t *testing.T, what string, timeout time.Duration, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited %v in vain for %s", timeout, what)
		}
	}
}

// recordings lists the WebM files below dir.
func recordings(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if ext := filepath.Ext(path); ext == ".webm" || ext == ".mkv" {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// frames counts a file's frames by kind, and fails the test if the file has any
// fault.
func frames(t *testing.T, file string) map[media.Kind]int64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counts := map[media.Kind]int64{}
	r := webm.NewReader(f)
	for {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, track := range r.Tracks() {
			if track.Number == block.Track {
				counts[track.Codec.Kind()]++
			}
		}
	}
	for _, fault := range r.Faults() {
		t.Errorf("%s: at byte %d: %s", filepath.Base(file), fault.Offset, fault.What)
	}
	return counts
}

// silent runs a program that must end well and say nothing.
func silent(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

// plays decodes all of a file, as anybody would, and expects not a word of
// complaint.
func plays(t *testing.T, file string) {
	t.Helper()
	silent(t, "ffprobe", "-v", "error", file)
	silent(t, "ffmpeg", "-v", "error", "-i", file, "-f", "null", "-")
}

// blockTimes gives the times of a file's frames of one kind, in their order.
func blockTimes(t *testing.T, file string, kind media.Kind) []time.Duration {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var times []time.Duration
	r := webm.NewReader(f)
	for {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return times
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, track := range r.Tracks() {
			if track.Number == block.Track && track.Codec.Kind() == kind {
				times = append(times, block.Time)
			}
		}
	}
}
