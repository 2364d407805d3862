//go:build integration && linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// floodTime is how long the flood lasts.
const floodTime = 6 * time.Second

// flood counts what floods a server, and what the server has taken of it.
type flood struct {
	url                            string // of the room
	dialled, let, joined, answered atomic.Int64
}

// connect opens a WebSocket and joins with it, under an id of its own.
func (f *flood) connect(ctx context.Context, room string) *websocket.Conn {
	n := f.dialled.Add(1)
	c, _, err := websocket.Dial(ctx, strings.TrimSuffix(f.url, "test")+room, nil)
	if err != nil {
		return nil
	}
	f.let.Add(1)
	c.SetReadLimit(-1)
	send(ctx, c, map[string]any{"type": "join", "peer_id": fmt.Sprintf("flood-%d", n), "room_id": room})
	if _, b, err := c.Read(ctx); err == nil && strings.Contains(string(b), "room_peers") {
		f.joined.Add(1)
	}
	return c
}

// join comes and goes, in ever new rooms and in the one that is recorded.
func (f *flood) join(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		room := "test"
		if n%3 > 0 {
			room = fmt.Sprintf("flood-%d", f.dialled.Load())
		}
		if c := f.connect(ctx, room); c != nil {
			_ = c.CloseNow()
		}
	}
}

// talk says as much as it can to the recorder and to somebody who is there.
func (f *flood) talk(ctx context.Context, message func(n int) []byte) {
	c := f.connect(ctx, "test")
	if c == nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	go func() {
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			if strings.Contains(string(b), "bad_message") || strings.Contains(string(b), "unknown_peer") {
				f.answered.Add(1)
			}
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		if c.Write(ctx, websocket.MessageText, message(n)) != nil {
			return
		}
	}
}

// hold opens connections that say nothing.
func (f *flood) hold(ctx context.Context, address string) {
	for range 200 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET /ws/test HTTP/1.1\r\n") // and nothing more
	}
	<-ctx.Done()
}

// TestFloodDoesNotDisturbARecording records two people, from beginning to end, while
// others flood the same server and room from the same machine.
func TestFloodDoesNotDisturbARecording(t *testing.T) {
	server := start(t, "serve", "--listen", "127.0.0.1:0", "--json", "--log-level", "error")
	serverPeak := watchPeak(t, server)
	var address struct {
		WebSocket string `json:"websocket"`
	}
	waitFor(t, "the server's address", 20*time.Second, func() bool {
		return json.Unmarshal(server.stdout.Bytes(), &address) == nil
	})
	url := address.WebSocket + "test"
	people := map[string]*synthetic.Peer{"alice": enter(t, url, "alice", "alice"), "bob": enter(t, url, "bob", "bob")}
	dir := t.TempDir()
	p := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "rec", "--participants", "[ab]*", url)
	peak := watchPeak(t, p)
	waitFor(t, "the recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) >= 2 })

	f := &flood{url: url}
	ctx, stop := context.WithTimeout(t.Context(), floodTime)
	defer stop()
	var wg sync.WaitGroup
	began := time.Now()
	for range 3 {
		wg.Go(func() { f.join(ctx) })
	}
	for _, to := range []string{"rec", "alice"} {
		wg.Go(func() {
			f.talk(ctx, func(n int) []byte {
				return fmt.Appendf(nil, `{"type":"ice_candidate","target":%q,"candidate":{"candidate":"candidate:%d 1 udp 1 127.0.0.1 %d typ host","sdpMid":"0","sdpMLineIndex":0}}`, to, n, 1+n%65000)
			})
		})
		wg.Go(func() {
			f.talk(ctx, func(n int) []byte {
				return fmt.Appendf(nil, `{"type":"offer","target":%q,"offer":{"type":"offer","sdp":"v=0 %d %s"}}`, to, n, strings.Repeat("x", 60000))
			})
		})
	}
	// These are answered, one by one.
	answered := []string{"no JSON", `{"type":"offer","target":"nobody","offer":{}}`}
	for _, text := range answered {
		wg.Go(func() { f.talk(ctx, func(int) []byte { return []byte(text) }) })
	}
	wg.Go(func() { f.hold(ctx, strings.TrimSuffix(strings.TrimPrefix(address.WebSocket, "ws://"), "/ws/")) })
	wg.Wait()
	took := time.Since(began).Seconds()
	t.Logf("in %.1f s: %d WebSockets dialled, %d let in, %d joined; %d messages taken of %d sockets that send as fast as they can",
		took, f.dialled.Load(), f.let.Load(), f.joined.Load(), f.answered.Load(), len(answered))

	// The limits: what may come at once, and by the second.
	if most := 200 + 20*(took+1); float64(f.let.Load()) > most {
		t.Errorf("%d WebSockets were let in, more than %.0f", f.let.Load(), most)
	}
	if f.dialled.Load() <= f.let.Load() {
		t.Error("nobody was refused: it was no flood")
	}
	if most := float64(len(answered)) * (100 + 25*100 + 100*(took+1)); float64(f.answered.Load()) > most {
		t.Errorf("%d messages were taken, more than %.0f", f.answered.Load(), most)
	}

	want := leave(t, filepath.Join(dir, "s"), people)
	for _, c := range []*child{p, server} {
		c.stop(t)
	}
	recorderMB, serverMB := peak()>>20, serverPeak()>>20
	t.Logf("at most %d MB of memory in the recorder, %d MB in the server", recorderMB, serverMB)
	if recorderMB > maxPeak>>20 || serverMB > maxPeak>>20 {
		t.Error("that is too much")
	}
	for id, n := range want {
		file := filepath.Join(dir, "s", id+".webm")
		got := frames(t, file)
		t.Logf("%s: %d pictures and %d packets of sound sent, %v recorded", id, n[0], n[1], got)
		if got[media.Video] != n[0] || got[media.Audio] != n[1] {
			t.Errorf("%s: %v, %v were sent", id, got, n)
		}
		plays(t, file)
	}
	accountsClose(t, readManifest(t, filepath.Join(dir, "s")))
	if t.Failed() {
		t.Logf("recorder:\n%.5000s", &p.stderr)
	}
}

// TestSilentSocketIsClosed holds a WebSocket that says nothing of use.
func TestSilentSocketIsClosed(t *testing.T) {
	url := openRoom(t)
	began := time.Now()
	c, resp, err := websocket.Dial(t.Context(), url, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	for _, say := range []string{"hello", `{"type":"offer","target":"x","offer":{}}`, `{"type":"weather"}`} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(say)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if _, _, err = c.Read(t.Context()); err != nil {
			break
		}
	}
	if took := time.Since(began); websocket.CloseStatus(err) != websocket.StatusPolicyViolation || took < 4*time.Second || took > 10*time.Second {
		t.Errorf("after %v: %v; want the socket closed after 5s", took, err)
	}
}
