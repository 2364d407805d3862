//go:build integration

package main

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
)

// tcpWire leads to a room's server, and can be cut below the WebSocket.
type tcpWire struct {
	url   string
	mu    sync.Mutex
	conns []net.Conn
}

func newTCPWire(t *testing.T, url string) *tcpWire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rest := strings.TrimPrefix(url, "ws://")
	target, path, _ := strings.Cut(rest, "/")
	w := &tcpWire{url: "ws://" + l.Addr().String() + "/" + path}
	t.Cleanup(func() { _ = l.Close(); w.cut() })
	go func() {
		for {
			theirs, err := l.Accept()
			if err != nil {
				return
			}
			ours, err := net.Dial("tcp", target)
			if err != nil {
				_ = theirs.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, theirs, ours)
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{theirs, ours}, {ours, theirs}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_, _ = theirs.Close(), ours.Close()
				}()
			}
		}
	}()
	return w
}

// cut resets what goes through now.
func (w *tcpWire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	w.conns = nil
}

// TestALostSocketLeavesNoGap cuts the WebSockets of a recorder, a page and a publisher
// in a room that is forwarded, one after the other. Each of the two is one file, with
// all that was sent, and nobody has left.
func TestALostSocketLeavesNoGap(t *testing.T) {
	t.Parallel()
	url, dir := openForwardedRoom(t), t.TempDir()
	wires := map[string]*tcpWire{}
	for _, of := range []string{"recorder", "page", "publisher"} {
		wires[of] = newTCPWire(t, url)
	}
	alice := page(t, browser.Start(t), wires["page"].url, "alice")
	pattern := start(t, "publish", "--source", "pattern", "--size", "320x240", "--peer-id", "pat", wires["publisher"].url)
	rec := start(t, "record", "--out", dir, "--session", "s", wires["recorder"].url)
	waitFor(t, "two files", 30*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
	after(t, 2*time.Second)
	for _, of := range []string{"recorder", "page", "publisher", "recorder"} {
		wires[of].cut()
		after(t, 2*time.Second)
	}
	alice.Wait(`roomtape.state === 'joined' && roomtape.peers.length === 2`)
	for _, p := range []*child{rec, pattern} {
		if n := strings.Count(p.stderr.String(), "all goes on"); n == 0 {
			t.Errorf("the server has not let it go on:\n%s", &p.stderr)
		}
	}
	for _, p := range []*child{pattern, rec} { // the recorder hears the last of the other
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(t); code != 0 {
			t.Errorf("exit code %d\n%s", code, &p.stderr)
		}
	}
	session := filepath.Join(dir, "s")
	m := manifestIn(t, session)
	if len(m.Files) != 2 || len(m.Participants) != 2 {
		t.Errorf("%d files, participants %+v", len(m.Files), m.Participants)
	}
	for _, g := range gaps(m) {
		t.Error(g)
	}
	for _, f := range m.Files {
		frames(t, filepath.Join(session, f.Path))
		for _, tr := range f.Tracks {
			if tr.Packets.Lost > 0 || tr.Frames.Dropped > 0 {
				t.Errorf("%s %s: packets %+v, frames %+v", f.Path, tr.Kind, tr.Packets, tr.Frames)
			}
		}
		var latest, longest time.Duration
		for _, at := range blockTimes(t, filepath.Join(session, f.Path), media.Video) {
			longest, latest = max(longest, at-latest), at
		}
		t.Logf("%s lasts %d ms; at most %v from one picture to the next", f.Path, f.DurationMS, longest)
		if f.DurationMS < 9000 || longest > 2*time.Second {
			t.Errorf("%s lasts %d ms, with %v between two pictures", f.Path, f.DurationMS, longest)
		}
	}
}
