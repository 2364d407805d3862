//go:build integration && linux

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// credulous is a room server that checks nothing: every id is welcome, and
// every message goes to its target, or to everybody.
type credulous struct {
	mu    sync.Mutex
	peers map[string]*websocket.Conn
	order []string
}

func (s *credulous) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	var join struct {
		PeerID string `json:"peer_id"`
	}
	_, b, err := c.Read(r.Context())
	if err != nil || json.Unmarshal(b, &join) != nil {
		return
	}
	s.mu.Lock()
	send(r.Context(), c, map[string]any{"type": "room_peers", "peers": append([]string{}, s.order...)})
	for _, other := range s.peers {
		send(r.Context(), other, map[string]any{"type": "peer_joined", "peer_id": join.PeerID})
	}
	s.peers[join.PeerID] = c
	s.order = append(s.order, join.PeerID)
	s.mu.Unlock()
	for {
		_, b, err := c.Read(r.Context())
		if err != nil {
			break
		}
		var m map[string]any
		if json.Unmarshal(b, &m) != nil {
			continue
		}
		target, _ := m["target"].(string)
		m["from"] = join.PeerID
		s.mu.Lock()
		if to := s.peers[target]; to != nil {
			send(r.Context(), to, m)
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, join.PeerID)
	for _, other := range s.peers {
		send(r.Context(), other, map[string]any{"type": "peer_left", "peer_id": join.PeerID})
	}
}

// say sends text as it is to one peer.
func (s *credulous) say(t *testing.T, id string, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.peers[id].Write(t.Context(), websocket.MessageText, text); err != nil {
		t.Error(err)
	}
}

// TestNamesOfAllKinds records participants whose ids try to be something else,
// in the room of a server that does not check them.
func TestNamesOfAllKinds(t *testing.T) {
	t.Parallel()
	rooms := &credulous{peers: map[string]*websocket.Conn{}}
	web := httptest.NewServer(rooms)
	t.Cleanup(web.Close)
	url, top := "ws"+strings.TrimPrefix(web.URL, "http")+"/test", t.TempDir()
	dir := filepath.Join(top, "a", "b", "c")
	good := []string{
		"alice", "Alice", "../../x", "..", "/etc/passwd", `a\b`, "a/b", "a%2Fb", "-rf", ".hidden", "CON", "nul.webm",
		"a:b", " ", "manifest.json", "été", "e\u0301te\u0301", "\u202egnp.exe", strings.Repeat("é", 64), "🎥",
	}
	bad := []string{"", strings.Repeat("x", 10_000), "x\x1b[31m", "x\x00", "x\ny", "\u009b31m"}
	people := map[string]*synthetic.Peer{}
	clip, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range slices.Concat(good, bad) {
		p, err := synthetic.Join(t.Context(), synthetic.Config{URL: url, Room: "test", PeerID: id, Clip: clip, Reserved: true, Loopback: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		people[id] = p
	}
	p := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "rec", url)
	peak := watchPeak(t, p)
	waitFor(t, "the recordings", 30*time.Second, func() bool { return len(recordings(t, dir)) >= len(good) })
	for _, text := range []string{
		"\xff\xfe", `{"type":"peer_joined","peer_id":"` + "\xff\xc0" + `"}`, `{"type":"room_peers","peers":["` + "\xed\xa0\x80" + `"]}`,
		`{"type":"offer","from":"x\u001b[31m","offer":{"type":"offer","sdp":"v=0"}}`,
		`{"type":"error","code":"\u001b[31m","message":"\u001b]0;title\u0007"}`,
	} {
		rooms.say(t, "rec", []byte(text))
	}
	rooms.say(t, "rec", hundred())
	before, _ := people["alice"].Sent()
	waitFor(t, "some more", 20*time.Second, func() bool { v, _ := people["alice"].Sent(); return v > before+30 })
	sent := map[string][2]int64{}
	for _, id := range good {
		people[id].Stop()
		video, audio := people[id].Sent()
		sent[id] = [2]int64{video, audio}
	}
	// What was sent is there when all of it has had time to arrive.
	stopped := time.Now()
	waitFor(t, "what is on its way", 5*time.Second, func() bool { return time.Since(stopped) > 500*time.Millisecond })
	p.stop(t)
	if n := peak(); n > maxPeak {
		t.Errorf("it took %d MB of memory", n>>20)
	}
	p.lines(t)
	m := readManifest(t, filepath.Join(dir, "s"))
	whose := map[string]string{}
	for _, f := range m.Files {
		if !slices.Contains(good, f.Participant) {
			t.Errorf("%q is recorded as %q", f.Participant, f.Path)
			continue
		}
		if strings.ContainsAny(f.Path, `/\`) {
			t.Errorf("%q is no plain name", f.Path)
		}
		if other, ok := whose[f.Path]; ok {
			t.Errorf("%q and %q have one file", other, f.Participant)
		}
		whose[f.Path] = f.Participant
		got := frames(t, filepath.Join(dir, "s", f.Path))
		if n := sent[f.Participant]; got[media.Video] != n[0] || got[media.Audio] != n[1] {
			t.Errorf("%q: %v in the file, %v were sent", f.Participant, got, n)
		}
	}
	if len(m.Files) != len(good) {
		t.Errorf("%d files of %d participants", len(m.Files), len(good))
	}
	if all := recordings(t, top); len(all) != len(m.Files) {
		t.Errorf("there are other files: %q", all)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() || e.Name() != "manifest.json" && e.Name() != "stats.jsonl" && filepath.Ext(e.Name()) != ".webm" {
			t.Errorf("there is %q", e.Name())
		}
	}
	if t.Failed() {
		t.Logf("stderr:\n%s", &p.stderr)
	}
}
