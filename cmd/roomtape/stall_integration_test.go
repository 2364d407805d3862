//go:build integration

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// TestReaderThatStallsLosesNothing lets the program that a recording is written
// to read nothing for five seconds.
func TestReaderThatStallsLosesNothing(t *testing.T) {
	t.Parallel()
	url := openRoom(t)
	clip, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	f := &film{codec: media.VP8, first: -1}
	alice, err := synthetic.Join(t.Context(), synthetic.Config{
		URL: url, Room: "test", PeerID: "alice", Clip: clip, Reserved: true, Loopback: true, Picture: f.picture,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alice.Close() })
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	record := exec.CommandContext(t.Context(), path, "record", "--out", "-", "--until-empty", "200ms", url)
	var said bytes.Buffer
	record.Stderr = &said
	out, err := record.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := record.Start(); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out.webm"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.CopyN(file, out, 150_000); err != nil {
		t.Fatal(err)
	}
	after(t, 5*time.Second) // 600 kB come meanwhile, and a pipe takes 64
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(file, out)
		read <- err
	}()
	after(t, 2*time.Second)
	alice.Stop()
	_, audio := alice.Sent()
	if err := alice.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	if err := record.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &said)
	}
	got, faults := blocks(t, file.Name())
	if len(faults) > 0 {
		t.Error(faults)
	}
	same(t, "video", got[media.Video], f.frames[f.first:])
	if n := int64(len(got[media.Audio])); n != audio {
		t.Errorf("%d packets of sound in the file, %d were sent", n, audio)
	}
}
