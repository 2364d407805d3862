package main

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// TestNoGoroutineIsLeft records a room in this process, with a command for
// final files, and then looks for goroutines that were not there before.
func TestNoGoroutineIsLeft(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	once := func() {
		r, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, log)
		if err != nil {
			t.Fatal(err)
		}
		clip, err := readClip("alice")
		if err != nil {
			t.Fatal(err)
		}
		url := r.url("ws") + "/ws/test"
		p, err := synthetic.Join(t.Context(), synthetic.Config{URL: url, Room: "test", PeerID: "alice", Clip: clip, Loopback: true})
		if err != nil {
			t.Fatal(err)
		}
		kind, url, room, err := findRoom(url, "")
		if err != nil {
			t.Fatal(err)
		}
		format, err := findFormat("webm")
		if err != nil {
			t.Fatal(err)
		}
		result, err := recordRoom(context.Background(), recordOptions{
			kind: kind, url: url, room: room, out: t.TempDir(), session: "s", name: "{participant}", format: format,
			codecs: videoCodecs(), only: media.KindUnknown, joinTimeout: 10 * time.Second, duration: 500 * time.Millisecond,
			announce: true, execAfter: "true",
		}, stdio{out: io.Discard, err: io.Discard}, log)
		if err != nil || len(result.manifest.Files) != 1 {
			t.Errorf("%+v, error %v", result, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
	once() // what is started once for all is there after it
	before := runtime.NumGoroutine()
	once()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}
