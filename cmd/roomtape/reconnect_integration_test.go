//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

// manifestIn reads the manifest of a session's folder.
func manifestIn(t *testing.T, dir string) recorder.Manifest {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, recorder.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m recorder.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// gaps describes all gaps in a manifest.
func gaps(m recorder.Manifest) []string {
	var all []string
	for _, f := range m.Files {
		for _, tr := range f.Tracks {
			for _, g := range tr.Gaps {
				all = append(all, fmt.Sprintf("%s %s: at %d ms, %d ms, %d packets, %s", f.Path, tr.Kind, g.AtMS, g.DurationMS, g.Packets, g.Reason))
			}
		}
	}
	return all
}

// TestServerRestartIsNotNoticed restarts the room server twice under a Chromium
// and a peer that does not even come back. One file each, with everything that
// was sent; nobody is in the room twice.
func TestServerRestartIsNotNoticed(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	rooms, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	addr, url, dir := rooms.addr.String(), rooms.url("ws")+"/ws/test", t.TempDir()
	alice := page(t, browser.Start(t), url, "alice")
	enter(t, url, "bob", "bob")
	p := start(t, "record", "--out", dir, "--session", "s", url)
	session := filepath.Join(dir, "s")
	waitFor(t, "two files", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
	alice.Eval(`globalThis.kept = roomtape.peers.find((p) => p.id.startsWith('recorder')).connection; true`, nil)
	for n := range 2 {
		after(t, 2*time.Second)
		if err := rooms.stop(); err != nil {
			t.Error(err)
		}
		after(t, 3*time.Second)
		if rooms, err = startRooms(serveOptions{listen: addr}, log); err != nil {
			t.Fatal(err)
		}
		alice.Wait(`roomtape.state === 'joined'`)
		waitFor(t, "the recorder to come back", 30*time.Second, func() bool {
			return strings.Count(p.stderr.String(), "joined the room again") == n+1
		})
	}
	after(t, 3*time.Second)
	alice.Wait(`roomtape.peers.length === 1 && roomtape.recorders.length === 1 && kept === roomtape.peers[0].connection && kept.connectionState === 'connected'`)
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
	if err := rooms.stop(); err != nil {
		t.Error(err)
	}
	m := manifestIn(t, session)
	if len(m.Files) != 2 || len(m.Participants) != 2 || len(m.Unrecorded) != 0 {
		t.Errorf("%d files, participants %+v, unrecorded %+v", len(m.Files), m.Participants, m.Unrecorded)
	}
	for _, g := range gaps(m) {
		if strings.Contains(g, "loss") {
			t.Error(g)
		}
	}
	for _, f := range m.Files {
		frames(t, filepath.Join(session, f.Path))
		for _, tr := range f.Tracks {
			t.Logf("%s %s: %+v", f.Path, tr.Kind, tr.Packets)
			if tr.Packets.Lost > 0 {
				t.Errorf("%s %s: %d packets lost", f.Path, tr.Kind, tr.Packets.Lost)
			}
		}
		if f.DurationMS < 12000 {
			t.Errorf("%s lasts %d ms", f.Path, f.DurationMS)
		}
	}
}

// namespace makes a network namespace that a pair of veth interfaces connects
// with this one, and gives its name and what the addresses begin with: ours ends
// in 1, the other's in 2.
func namespace(t *testing.T) (name, prefix string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("network namespaces can be made only by root, on Linux")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skipf("no ip(8): %v", err)
	}
	name = fmt.Sprintf("rt%d", os.Getpid()%100000)
	prefix = fmt.Sprintf("10.213.%d.", os.Getpid()%250)
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ip(t, "link", "add", name+"a", "type", "veth", "peer", "name", "out", "netns", name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name+"a").Run() }) // gone with the namespace
	ip(t, "addr", "add", prefix+"1/24", "dev", name+"a")
	ip(t, "link", "set", name+"a", "up")
	ip(t, "-n", name, "addr", "add", prefix+"2/24", "dev", "out")
	ip(t, "-n", name, "link", "set", "lo", "up")
	ip(t, "-n", name, "link", "set", "out", "up")
	ip(t, "-n", name, "route", "add", "default", "via", prefix+"1")
	return name, prefix
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// TestRecorderChangesItsAddress records a Chromium from a network namespace whose
// only address changes, at once and after a while without any. The recording
// goes on in the same file, with a gap for the time between.
func TestRecorderChangesItsAddress(t *testing.T) {
	name, prefix := namespace(t)
	rooms, err := startRooms(serveOptions{listen: ":0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rooms.stop() })
	port := rooms.addr.String()[strings.LastIndex(rooms.addr.String(), ":"):]
	alice := browser.Start(t).Open("http://127.0.0.1" + port + "/?room=test&name=alice&source=camera&join=1")
	alice.Wait(`roomtape.state === 'joined'`)

	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &child{Cmd: exec.CommandContext(t.Context(), "ip", "netns", "exec", name, path, "record",
		"--out", dir, "--session", "s", "--log-level", "debug", "ws://"+prefix+"1"+port+"/ws/test")}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	session := filepath.Join(dir, "s")
	packets := func() (n int64) {
		for _, f := range manifestIn(t, session).Files {
			for _, tr := range f.Tracks {
				n += tr.Packets.Received
			}
		}
		return n
	}
	fail := func() {
		if t.Failed() {
			var lines []string
			for l := range strings.Lines(p.stderr.String()) {
				if !strings.Contains(l, "pion=") {
					lines = append(lines, l)
				}
			}
			t.Logf("%s", strings.Join(lines, ""))
		}
	}
	defer fail()
	waitFor(t, "a file", 20*time.Second, func() bool { return len(recordings(t, dir)) == 1 })
	route := func() { ip(t, "-n", name, "route", "replace", "default", "via", prefix+"1") }
	for n, change := range []func(){
		func() {
			ip(t, "-n", name, "addr", "add", prefix+"3/24", "dev", "out")
			ip(t, "-n", name, "addr", "del", prefix+"2/24", "dev", "out")
			ip(t, "-n", name, "addr", "replace", prefix+"3/24", "dev", "out") // a secondary one goes with the first
			route()
		},
		func() {
			ip(t, "-n", name, "addr", "del", prefix+"3/24", "dev", "out")
			after(t, 7*time.Second)
			ip(t, "-n", name, "addr", "add", prefix+"4/24", "dev", "out")
			route()
		},
	} {
		after(t, 3*time.Second)
		change()
		start := time.Now()
		waitFor(t, "the connection to be restored", 20*time.Second, func() bool {
			return strings.Count(p.stderr.String(), "connection restored") == n+1
		})
		t.Logf("restored %v after the change", time.Since(start).Round(10*time.Millisecond))
		before := packets()
		waitFor(t, "media", 10*time.Second, func() bool { return packets() > before+100 })
	}
	after(t, 2*time.Second)
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
	m := manifestIn(t, session)
	for _, g := range gaps(m) {
		t.Log(g)
	}
	if len(m.Files) != 1 || len(m.Participants) != 1 {
		t.Fatalf("files %+v, participants %+v", m.Files, m.Participants)
	}
	frames(t, filepath.Join(session, m.Files[0].Path))
	if len(m.Files[0].Tracks) != 2 {
		t.Errorf("%d tracks", len(m.Files[0].Tracks))
	}
	for _, tr := range m.Files[0].Tracks {
		// What a second took away, and some of what came before the end of the
		// outage, may have been sent again.
		var missing int64
		for _, g := range tr.Gaps {
			if g.Reason == recorder.GapLoss {
				missing += g.DurationMS
			}
		}
		if missing < 2000 || missing > 14000 {
			t.Errorf("%s: %d ms are missing", tr.Kind, missing)
		}
	}
}

// TestWrongTURNPassword: a coturn that refuses us is named at once, not after
// minutes without media.
func TestWrongTURNPassword(t *testing.T) {
	t.Parallel()
	port := coturn(t, "--lt-cred-mech", "--user", "rec:right", "--allow-loopback-peers")
	url := openRoom(t)
	enter(t, url, "alice", "alice")
	for _, tt := range []struct {
		password string
		code     int
		duration string
	}{{"right", 0, "5s"}, {"wrong", exitNoMedia, "1m"}} {
		p := start(t, "record", "--out", t.TempDir(), "--duration", tt.duration, "--ice-policy", "relay",
			"--ice-server", "turn:rec:"+tt.password+"@127.0.0.1:"+port, url)
		if code := p.exit(t); code != tt.code {
			t.Errorf("password %s: exit code %d\n%s", tt.password, code, &p.stderr)
		}
		last := strings.TrimSpace(p.stderr.String())
		last = last[strings.LastIndex(last, "\n")+1:]
		t.Log(last)
		if tt.code != 0 && (!strings.Contains(last, "TURN server 127.0.0.1:"+port) || !strings.Contains(last, "user and password")) {
			t.Errorf("the last line does not tell why: %s", &p.stderr)
		}
		if strings.Contains(p.stderr.String(), "rec:"+tt.password) {
			t.Error("the password is told")
		}
	}
}

// TestServerThatIsGoneForGood: recording goes on as long as media comes, then
// ends with exit code 6 when nobody has been there for --until-empty. What was
// recorded is final.
func TestServerThatIsGoneForGood(t *testing.T) {
	t.Parallel()
	rooms, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	url, dir := rooms.url("ws")+"/ws/test", t.TempDir()
	alice := enter(t, url, "alice", "alice")
	p := start(t, "record", "--out", dir, "--session", "s", "--until-empty", "2s", url)
	waitFor(t, "a file", 20*time.Second, func() bool { return len(recordings(t, dir)) == 1 })
	if err := rooms.stop(); err != nil {
		t.Error(err)
	}
	after(t, 6*time.Second) // much longer than the room may be empty
	if p.ProcessState != nil || strings.Contains(p.stderr.String(), "lost") {
		t.Fatalf("the recorder has given up while media came\n%s", &p.stderr)
	}
	left := time.Now()
	if err := alice.Close(); err != nil {
		t.Error(err)
	}
	if code := p.exit(t); code != exitLost {
		t.Errorf("exit code %d, want %d\n%s", code, exitLost, &p.stderr)
	}
	if d := time.Since(left); d > 15*time.Second {
		t.Errorf("it took %v to end", d)
	}
	m := manifestIn(t, filepath.Join(dir, "s"))
	if m.State != recorder.StateIncomplete || !strings.Contains(m.Reason, "lost") || len(m.Files) != 1 {
		t.Fatalf("state %s, reason %q, %d files", m.State, m.Reason, len(m.Files))
	}
	file := filepath.Join(dir, "s", m.Files[0].Path)
	whole(t, file)
	if n := frames(t, file)[media.Audio]; n < 300 {
		t.Errorf("%d audio frames, want those of over 6 s", n)
	}
}
