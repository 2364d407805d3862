//go:build integration && linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// maxPeak is how much memory record may ever have taken, in bytes, whatever is
// done to it.
const maxPeak = 100 << 20

// hundred is a message of 100 MB.
var hundred = sync.OnceValue(func() []byte { return []byte(`{"type":"` + strings.Repeat("x", 100<<20) + `"}`) })

// watchPeak follows a process to its end, and returns a function that gives the
// most memory that it has had resident, in bytes.
func watchPeak(t *testing.T, p *child) func() int64 {
	t.Helper()
	var peak int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
			_, rest, ok := strings.Cut(string(b), "VmHWM:")
			if err != nil || !ok { // it has ended
				return
			}
			kB, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if n, err := strconv.ParseInt(kB, 10, 64); err == nil {
				peak = max(peak, n<<10)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() int64 { <-done; return peak }
}

// lines are what a process has said on stderr. None may hold what a terminal
// obeys.
func (p *child) lines(t *testing.T) []string {
	t.Helper()
	l := strings.Split(strings.TrimSuffix(p.stderr.String(), "\n"), "\n")
	for _, line := range l {
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the line %q is not printable", line)
		}
	}
	return l
}

// TestServersThatAreNoRoom: each kind of server that lets nobody into a room is
// exit code 3 and one line.
func TestServersThatAreNoRoom(t *testing.T) {
	raw := func(f func(net.Conn)) func(t *testing.T) string {
		return func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					f(c)
				}
			}()
			return "ws://" + l.Addr().String() + "/r"
		}
	}
	web := func(f http.HandlerFunc) func(t *testing.T) string {
		return func(t *testing.T) string {
			s := httptest.NewServer(f)
			t.Cleanup(s.Close)
			return "ws" + strings.TrimPrefix(s.URL, "http") + "/r"
		}
	}
	socket := func(say ...string) func(t *testing.T) string {
		return web(func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			for _, s := range say {
				_ = c.Write(r.Context(), websocket.MessageText, []byte(s)) // the other end may have gone
			}
			_, _, _ = c.Read(r.Context())
			_, _, _ = c.Read(r.Context())
		})
	}
	for name, server := range map[string]func(*testing.T) string{
		"nobody listens":        func(*testing.T) string { return "ws://127.0.0.1:1/r" },
		"no such host":          func(*testing.T) string { return "ws://nosuchhost.invalid/r" },
		"TLS to none":           func(t *testing.T) string { return "wss" + strings.TrimPrefix(openRoom(t), "ws") },
		"web page":              web(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }),
		"not found":             web(http.NotFound),
		"redirects for ever":    web(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/r", http.StatusFound) }),
		"endless header":        raw(func(c net.Conn) { go func() { _, _ = io.Copy(c, endless("X-Y: z\r\n")); _ = c.Close() }() }),
		"random bytes":          raw(func(c net.Conn) { b := make([]byte, 10000); fill(b); _, _ = c.Write(b); _ = c.Close() }),
		"greets like SSH":       raw(func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\x1b[31m\r\n") }),
		"closes":                raw(func(c net.Conn) { _ = c.Close() }),
		"never answers":         raw(func(net.Conn) {}),
		"never answers joins":   socket(),
		"no JSON":               socket("hello \x1b[31mred\n"),
		"no object":             socket("[1,2,3]"),
		"no type":               socket(`{"peers":[]}`),
		"bad types":             socket(`{"type":"room_peers","peers":{"a":1}}`),
		"refuses":               socket(`{"type":"error","code":"full","message":"the room is \u001b[31m full"}`),
		"100 MB":                func(t *testing.T) string { return socket(string(hundred()))(t) },
		"answers and says more": socket(strings.Repeat(`{"type":"weather"}`, 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "out")
			url := server(t)
			began := time.Now()
			p := start(t, "record", "--out", dir, "--join-timeout", "1500ms", url)
			peak := watchPeak(t, p)
			if code := p.exit(t); code != exitJoin {
				t.Errorf("exit code %d, want %d", code, exitJoin)
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
			if l := p.lines(t); len(l) != 1 || !strings.HasPrefix(l[0], "roomtape: cannot join the room: ") || len(l[0]) > 500 {
				t.Errorf("it says %q", l)
			}
			if n := peak(); n > maxPeak {
				t.Errorf("it took %d MB of memory", n>>20)
			}
			if p.stdout.Len() > 0 || len(recordings(t, dir)) > 0 {
				t.Errorf("stdout %q, files %q", &p.stdout, recordings(t, dir))
			}
		})
	}
}

// endless says the same for ever.
type endless string

func (e endless) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		n += copy(b[n:], e)
	}
	return n, nil
}

func fill(b []byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
}

// TestGarbageInTheRoomHarmsNobodyElse records people in a room with others who
// send garbage on every way there is.
func TestGarbageInTheRoomHarmsNobodyElse(t *testing.T) {
	url, dir := openRoom(t), t.TempDir()
	people := map[string]*synthetic.Peer{"alice": enter(t, url, "alice", "alice"), "bob": enter(t, url, "bob", "bob")}
	for _, name := range []string{"alice", "bob"} {
		c, err := readClip(name)
		if err != nil {
			t.Fatal(err)
		}
		g, err := synthetic.Join(t.Context(), synthetic.Config{
			URL: url, Room: "test", PeerID: "garbage-" + name, Clip: c, Reserved: true, Loopback: true, Garbage: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() })
	}
	p := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "rec", url)
	peak := watchPeak(t, p)
	waitFor(t, "the recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) >= 2 })

	ctx := t.Context()
	for n, say := range garbageMessages() {
		c, _, err := websocket.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadLimit(-1)
		t.Cleanup(func() { _ = c.CloseNow() })
		go func() {
			for {
				if _, _, err := c.Read(ctx); err != nil {
					return
				}
			}
		}()
		send(ctx, c, map[string]any{"type": "join", "peer_id": fmt.Sprintf("bad-%d", n), "room_id": "test"})
		for _, s := range say {
			_ = c.Write(ctx, websocket.MessageText, s) // the server may have had enough
		}
	}
	throwAtPorts(t, p)
	before, _ := people["alice"].Sent()
	waitFor(t, "a second more", 20*time.Second, func() bool { v, _ := people["alice"].Sent(); return v > before+30 })

	want := leave(t, filepath.Join(dir, "s"), people)
	p.stop(t)
	if n := peak(); n > maxPeak {
		t.Errorf("it took %d MB of memory", n>>20)
	}
	p.lines(t)
	for id, n := range want {
		file := filepath.Join(dir, "s", id+".webm")
		got := frames(t, file)
		if got[media.Video] != n[0] || got[media.Audio] != n[1] {
			t.Errorf("%s: %v, %v were sent", id, got, n)
		}
		plays(t, file)
	}
	for _, f := range recordings(t, dir) {
		if got := frames(t, f); len(got) == 0 {
			t.Errorf("%s has no frame", f)
		}
	}
	accountsClose(t, readManifest(t, filepath.Join(dir, "s")))
	if t.Failed() {
		t.Logf("stderr:\n%s", &p.stderr)
	}
}

// accountsClose checks that a manifest tells of every packet.
func accountsClose(t *testing.T, m recorder.Manifest) {
	t.Helper()
	check := func(what string, n recorder.PacketCounts) {
		sum := n.Written + n.Late + n.Duplicate
		for _, d := range n.Discarded {
			sum += d
		}
		if sum != n.Received {
			t.Errorf("%s: %d packets received, %d accounted for: %+v", what, n.Received, sum, n)
		}
	}
	for _, f := range m.Files {
		for _, track := range f.Tracks {
			check(f.Path+" "+track.Kind, track.Packets)
		}
	}
	for _, u := range m.Unrecorded {
		check(u.Participant+" "+u.Kind, u.Packets)
	}
}

func send(ctx context.Context, c *websocket.Conn, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_ = c.Write(ctx, websocket.MessageText, b) // the other end may have gone
}

// garbageMessages are what each of several bad peers sends to the recorder,
// through the server.
func garbageMessages() [][][]byte {
	to := func(typ, member string, v any) []byte {
		b, err := json.Marshal(map[string]any{"type": typ, "target": "rec", member: v})
		if err != nil {
			panic(err)
		}
		return b
	}
	sdp := func(s string) any { return map[string]any{"type": "offer", "sdp": s} }
	noise := make([]byte, 5000)
	fill(noise)
	const head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
	video := "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n"
	var floods [][]byte
	for i := range 300 {
		floods = append(floods, to("ice_candidate", "candidate", map[string]any{
			"candidate": fmt.Sprintf("candidate:%d 1 udp 1 127.0.0.1 %d typ host", i, 1+i), "sdpMid": "0", "sdpMLineIndex": 0}))
	}
	return [][][]byte{
		{hundred()},
		{[]byte("\xff\xfe"), []byte("null"), []byte(`{"type":"offer"}`), []byte(`{"type":7,"target":"rec"}`)},
		{to("offer", "offer", nil), to("offer", "offer", 7), to("offer", "offer", []int{1}), to("offer", "offer", sdp(""))},
		{to("offer", "offer", sdp(string(noise)))},
		{to("offer", "offer", sdp(head+strings.Repeat(video, 60)))},
		{to("offer", "offer", sdp(head+video))},
		{to("offer", "offer", sdp(head+video+"a=ice-ufrag:x\r\na=ice-pwd:yyyyyyyyyyyyyyyyyyyyyyyy\r\na=fingerprint:sha-256 00\r\na=setup:actpass\r\n"))},
		{to("offer", "offer", sdp(head+strings.Repeat("a=x\x1b[31m\r\n", 50000)))},
		{to("answer", "answer", map[string]any{"type": "answer", "sdp": "nobody asked"})},
		{to("ice_candidate", "candidate", map[string]any{"candidate": string(noise), "sdpMid": "\x1b[31m"}),
			to("ice_candidate", "candidate", nil), to("ice_candidate", "candidate", "x"),
			to("ice_candidate", "candidate", map[string]any{"candidate": strings.Repeat("x", 900000)})},
		floods,
	}
}

// throwAtPorts sends garbage to each UDP port that a process has.
func throwAtPorts(t *testing.T, p *child) {
	t.Helper()
	ports := portsOf(t, p.Process.Pid)
	if len(ports) == 0 {
		t.Fatal("the recorder has no UDP port")
	}
	for _, port := range ports {
		c, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 3000 {
			b := make([]byte, rand.IntN(1400))
			fill(b)
			if len(b) > 20 {
				switch i % 5 {
				case 0: // STUN (RFC 8489 §5)
					b[0], b[1] = 0, 1
					binary.BigEndian.PutUint16(b[2:], uint16((len(b)-20)&^3))
					binary.BigEndian.PutUint32(b[4:], 0x2112a442)
				case 1: // DTLS
					b[0], b[1], b[2] = 22, 0xfe, 0xfd
				case 2: // RTP
					b[0], b[1] = 0x80, 96
				case 3: // RTCP
					b[0], b[1] = 0x80, 200
				}
			}
			_, _ = c.Write(b) // refused when the port has just been closed
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // it is no test of the buffer's size
			}
		}
	}
}

// portsOf lists the UDP ports of a process.
func portsOf(t *testing.T, pid int) []int {
	t.Helper()
	inodes := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			inodes[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	var ports []int
	for _, table := range []string{"udp", "udp6"} {
		f, err := os.Open("/proc/net/" + table)
		if err != nil {
			continue // no IPv6
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			field := strings.Fields(s.Text())
			if len(field) < 10 || !inodes[field[9]] {
				continue
			}
			_, hex, _ := strings.Cut(field[1], ":")
			if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
				ports = append(ports, int(port))
			}
		}
		_ = f.Close()
	}
	return ports
}

// leave has people leave, waits until their files have ended, and tells how many
// pictures and packets of sound each of them has sent.
func leave(t *testing.T, session string, people map[string]*synthetic.Peer) map[string][2]int64 {
	t.Helper()
	sent := map[string][2]int64{}
	for id, person := range people {
		person.Stop()
		video, audio := person.Sent()
		sent[id] = [2]int64{video, audio}
		if err := person.Close(); err != nil {
			t.Error(err)
		}
	}
	waitFor(t, "the end of their files", 20*time.Second, func() bool {
		ended := 0
		for _, f := range readManifest(t, session).Participants {
			if sent[f.ID] != [2]int64{} && f.LeftMS != nil {
				ended++
			}
		}
		return ended == len(people)
	})
	return sent
}
