//go:build integration && linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// padded gives the demo's clip with pictures of size bytes: a decoder takes no
// notice of what comes after the end of the last partition (RFC 6386 §9.5).
func padded(t *testing.T, size int) *synthetic.Clip {
	t.Helper()
	c, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	var video [][]byte
	for _, f := range c.Video {
		video = append(video, append(bytes.Clone(f), make([]byte, max(0, size-len(f)))...))
	}
	return synthetic.NewClip(media.VP8, c.Width, c.Height, c.FrameDuration, video, c.Audio)
}

// TestFullDiskLeavesWhatFits records on a disk of 20 MB until it is full, or until
// what is left is needed to finish the files.
func TestFullDiskLeavesWhatFits(t *testing.T) {
	t.Run("floor", func(t *testing.T) { fillDisk(t) })
	t.Run("full", func(t *testing.T) { fillDisk(t, "--disk-floor", "0") })
}

func fillDisk(t *testing.T, flags ...string) {
	const size = 20 << 20
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("no file system of one's own: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	url, clip := openRoom(t), padded(t, 40_000)
	people := map[string]*synthetic.Peer{}
	for _, id := range []string{"alice", "bob", "carol"} {
		p, err := synthetic.Join(t.Context(), synthetic.Config{
			URL: url, Room: "test", PeerID: id, Clip: clip, Reserved: true, Loopback: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		people[id] = p
	}
	hook := filepath.Join(t.TempDir(), "final")
	p := start(t, append(append([]string{"record", "--log-level", "error", "--out", disk, "--session", "s", "--exec-after", `echo "$ROOMTAPE_FILE" >>` + hook}, flags...), url)...)
	sent := map[string][]sentAt{}
	ended := make(chan struct{})
	go func() {
		_ = p.Wait() // the exit code tells
		close(ended)
	}()
	waitFor(t, "the disk to be full", time.Minute, func() bool {
		for id, person := range people {
			video, audio := person.Sent()
			sent[id] = append(sent[id], sentAt{time.Now(), video, audio})
		}
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if code := p.ProcessState.ExitCode(); code != exitStorage {
		t.Errorf("exit code %d, want %d", code, exitStorage)
	}
	var last string
	for _, line := range strings.Split(strings.TrimSpace(p.stderr.String()), "\n") {
		if strings.HasPrefix(line, "roomtape: ") {
			if last != "" {
				t.Errorf("more than one line says why: %q and %q", last, line)
			}
			last = line
		}
	}
	if !strings.Contains(last, "no space left on device") {
		t.Errorf("no line says why")
	}
	dir := filepath.Join(disk, "s")
	m := readManifest(t, dir)
	if len(m.Warnings) != 1 || !strings.Contains(m.Warnings[0], "low") {
		t.Errorf("the manifest warns of %q", m.Warnings)
	}
	if m.State != "incomplete" || !strings.Contains(m.Reason, "no space left") || len(m.Files) != len(people) {
		t.Errorf("the manifest's state is %q, reason %q, with %d files", m.State, m.Reason, len(m.Files))
	}
	var total int64
	for _, f := range m.Files {
		path := filepath.Join(dir, f.Path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
		if f.Error == "" || f.Bytes != info.Size() {
			t.Errorf("%s: error %q, %d bytes of %d in the manifest", f.Path, f.Error, f.Bytes, info.Size())
		}
		plays(t, path)
		got, faults := blocks(t, path)
		if len(faults) > 0 {
			t.Errorf("%s: %v", f.Path, faults)
		}
		var video, audio [][]byte
		for i := range got[media.Video] {
			video = append(video, clip.Video[i%len(clip.Video)])
		}
		for i := range got[media.Audio] {
			audio = append(audio, clip.Audio[i%len(clip.Audio)])
		}
		same(t, f.Path+": video", got[media.Video], video)
		same(t, f.Path+": audio", got[media.Audio], audio)
		// The chunk that did not fit is at most a second long.
		var want sentAt
		for _, s := range sent[f.Participant] {
			if info.ModTime().Sub(s.at) >= 1500*time.Millisecond {
				want = s
			}
		}
		if int64(len(video)) < want.video || int64(len(audio)) < want.audio || len(video) < 30 {
			t.Errorf("%s: %d video frames and %d Opus packets; %d and %d had been sent 1.5 s before the disk was full",
				f.Path, len(video), len(audio), want.video, want.audio)
		}
	}
	if ran, err := os.ReadFile(hook); err != nil || strings.Count(string(ran), "\n") != len(people) {
		t.Errorf("the command for final files ran with %q, error %v", ran, err)
	}
	if total < size*8/10 {
		t.Errorf("only %d bytes of %d are used", total, size)
	}
}

// TestOneFailingFileStopsNoOther lets one participant's file grow beyond what
// the system allows: the others are recorded to their end.
func TestOneFailingFileStopsNoOther(t *testing.T) {
	t.Parallel()
	url, dir := openRoom(t), t.TempDir()
	people := map[string]*synthetic.Peer{}
	for id, size := range map[string]int{"alice": 0, "bob": 0, "large": 20_000} {
		p, err := synthetic.Join(t.Context(), synthetic.Config{
			URL: url, Room: "test", PeerID: id, Clip: padded(t, size), Reserved: true, Loopback: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		people[id] = p
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &child{Cmd: exec.CommandContext(t.Context(), "sh", "-c", `ulimit -f 2000 && exec "$0" "$@"`, // blocks of 512 bytes
		path, "record", "--out", dir, "--session", "s", "--until-empty", "200ms", url)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	sent := map[string][2]int64{}
	waitFor(t, "the large file to fail, and a second more", 30*time.Second, func() bool {
		video, _ := people["large"].Sent()
		return video > 120
	})
	for id, person := range people {
		person.Stop()
		video, audio := person.Sent()
		sent[id] = [2]int64{video, audio}
		if err := person.Close(); err != nil {
			t.Error(err)
		}
	}
	if code := p.exit(t); code != exitStorage {
		t.Errorf("exit code %d, want %d\n%s", code, exitStorage, &p.stderr)
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	if m.State != "incomplete" || !strings.Contains(m.Reason, "large.webm") || len(m.Files) != len(people) {
		t.Errorf("the manifest's state is %q, reason %q, with %d files", m.State, m.Reason, len(m.Files))
	}
	for _, f := range m.Files {
		file := filepath.Join(dir, "s", f.Path)
		plays(t, file)
		got, n := frames(t, file), sent[f.Participant]
		if failed := f.Participant == "large"; failed != (f.Error != "") || !failed && (got[media.Video] != n[0] || got[media.Audio] != n[1]) {
			t.Errorf("%s: %v in the file, %v were sent, error %q", f.Path, got, n, f.Error)
		} else if failed && got[media.Video] < 20 {
			t.Errorf("%s: only %v are in the file", f.Path, got)
		}
	}
}
