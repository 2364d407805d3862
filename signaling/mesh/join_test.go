package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// patience bounds every wait in these tests that should end by itself.
const patience = 20 * time.Second

// listen serves WebSockets with f, and returns the URL of a room there.
func listen(t *testing.T, f func(ctx context.Context, c *websocket.Conn)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(message.MaxSize)
		f(r.Context(), c)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/room"
}

// say writes text as it is.
func say(ctx context.Context, c *websocket.Conn, text string) {
	_ = c.Write(ctx, websocket.MessageText, []byte(text)) // the other end may be gone
}

// drain reads until the other end closes.
func drain(ctx context.Context, c *websocket.Conn) {
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return
		}
	}
}

func TestDialTellsWhyItCannotJoin(t *testing.T) {
	plain := func(f http.HandlerFunc) func(*testing.T) string {
		return func(t *testing.T) string {
			s := httptest.NewServer(f)
			t.Cleanup(s.Close)
			return "ws" + strings.TrimPrefix(s.URL, "http") + "/room"
		}
	}
	socket := func(f func(context.Context, *websocket.Conn)) func(*testing.T) string {
		return func(t *testing.T) string { return listen(t, f) }
	}
	raw := func(answer string) func(*testing.T) string {
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
					_, _ = io.WriteString(c, answer)
					_ = c.Close()
				}
			}()
			return "ws://" + l.Addr().String() + "/room"
		}
	}
	const brief = 100 * time.Millisecond
	for _, c := range []struct {
		name   string
		server func(*testing.T) string
		within time.Duration
		want   string // in the error, with HOST for the address
	}{
		{"nobody listens", func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
			return "ws://" + l.Addr().String() + "/room"
		}, patience, "cannot join the room: dial HOST: connection refused"},
		{"password", func(t *testing.T) string { return "ws://me:secret@127.0.0.1:1/room" }, patience, "dial ws://me:xxxxx@127.0.0.1:1/room: connection refused"},
		{"HTTP 200", plain(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }), patience, "dial HOST: the server answers HTTP 200 OK, not with a WebSocket"},
		{"HTTP 401", plain(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }), patience, "HTTP 401 Unauthorized"},
		{"redirects in a circle", plain(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/room", http.StatusFound) }),
			patience, "dial HOST: the server redirects more than 10 times"},
		{"no HTTP", raw("SSH-2.0-\x1b[31m\x00" + strings.Repeat("x", 9000) + "\r\n"), patience, "malformed HTTP"},
		{"silence after accept", raw(""), patience, "dial HOST: "},
		{"HTTP never answers", plain(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), brief, "no answer in time"},
		{"never answers the join", socket(drain), brief, "HOST: the server did not answer in time"},
		{"closes at once", socket(func(ctx context.Context, c *websocket.Conn) { _, _ = readMessage(ctx, c) }), patience, "without a word"},
		{"closes with a reason", socket(func(_ context.Context, c *websocket.Conn) {
			_ = c.Close(websocket.StatusPolicyViolation, "no \x1b[31m entry")
		}), patience, `the server closed the connection with 1008 "no \x1b[31m entry"`},
		{"no JSON", socket(func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, "hello\x1b[31m\n"+strings.Repeat("x", 100000))
			drain(ctx, c)
		}), patience, `does not speak the room protocol: message ignored: "hello\x1b[31m\nxx`},
		{"wrong types", socket(func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"type":"room_peers","peers":7}`)
			drain(ctx, c)
		}), patience, "does not speak the room protocol"},
		{"message over the limit", socket(func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, strings.Repeat(" ", 3*message.MaxSize))
			drain(ctx, c)
		}), patience, "3145728 bytes, more than 1048576"},
		{"refuses", socket(func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"type":"error","code":"room_full","message":"the room\nis full"}`)
			drain(ctx, c)
		}), patience, `the server refuses: "room_full the room\nis full"`},
		{"talks about other things", socket(func(ctx context.Context, c *websocket.Conn) {
			for range maxBeforePeers {
				say(ctx, c, `{"type":"weather"}`)
			}
			drain(ctx, c)
		}), patience, "no room_peers among its first 256 messages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.server(t)
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			room, err := Dial(ctx, Config{URL: url})
			if err == nil {
				_ = room.Close()
				t.Fatal("joined")
			}
			if !errors.Is(err, signaling.ErrJoin) || errors.Is(err, ErrURL) {
				t.Errorf("error %v does not wrap ErrJoin, or wraps ErrURL", err)
			}
			s := strings.ReplaceAll(err.Error(), url, "HOST")
			if !strings.Contains(s, c.want) {
				t.Errorf("error %q does not say %q", s, c.want)
			}
			if len(s) > 600 || strings.ContainsAny(s, "\n\r\x00\x1b") || strings.Contains(s, "secret") {
				t.Errorf("error %q is not one short, printable line", s)
			}
			if c.within == brief && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v does not wrap DeadlineExceeded", err)
			}
		})
	}
}

func TestDialTellsAMistakeInItsConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want error
	}{
		{Config{URL: "http://host/room"}, ErrURL},
		{Config{URL: "ws://host/"}, ErrURL},
		{Config{}, ErrURL},
		{Config{URL: "ws://host/room", PeerID: "a\nb"}, ErrPeerID},
		{Config{URL: "ws://host/room", PeerID: strings.Repeat("x", MaxPeerID+1)}, ErrPeerID},
	} {
		if _, err := Dial(t.Context(), c.cfg); !errors.Is(err, c.want) || errors.Is(err, signaling.ErrJoin) {
			t.Errorf("Dial(%+v): error %v does not wrap %q alone", c.cfg, err, c.want)
		}
	}
}

// wait returns the next event of one of the kinds.
func wait(t *testing.T, r signaling.Room, kinds ...signaling.EventKind) signaling.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e, err := r.Next(ctx, time.Time{})
		if err != nil {
			t.Fatalf("waiting for an event: %v", err)
		}
		if e.Packet != nil {
			e.Packet.Release()
		}
		for _, k := range kinds {
			if e.Kind == k {
				return e
			}
		}
	}
}

func TestGarbageInTheRoomIsSurvived(t *testing.T) {
	url := listen(t, func(ctx context.Context, c *websocket.Conn) {
		say(ctx, c, `{"type":"peer_joined","peer_id":"early"}`)
		say(ctx, c, `{"type":"room_peers","peers":["old"],"who":"cares"}`)
		for _, s := range []string{
			"", "null", "[]", "{}", "\xff", `{"type":7}`, `{"type":"offer"}`, `{"type":"offer","from":7}`,
			`{"type":"offer","from":"g","offer":{"type":"offer","sdp":"garbage"}}`,
			`{"type":"offer","from":"g","offer":{"type":"answer","sdp":"v=0"}}`,
			`{"type":"answer","from":"old","answer":{"type":"answer","sdp":"garbage"}}`,
			`{"type":"ice_candidate","from":"old","candidate":{"candidate":"garbage"}}`,
			`{"type":"ice_candidate","from":"old","candidate":null}`,
			`{"type":"error","code":"c","message":"m"}`, `{"type":"weather"}`,
			`{"type":"peer_joined","peer_id":""}`,
			`{"type":"peer_joined","peer_id":"` + strings.Repeat("x", 10000) + `"}`,
			strings.Repeat(" ", 4*message.MaxSize),
		} {
			say(ctx, c, s)
		}
		_ = c.Write(ctx, websocket.MessageBinary, []byte{0, 1, 2})
		say(ctx, c, `{"type":"peer_joined","peer_id":"last"}`)
		drain(ctx, c)
	})
	r, err := Dial(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for _, id := range []string{"old", "early", "g", "last"} {
		if e := wait(t, r, signaling.Joined, signaling.Left); e.Kind != signaling.Joined || e.Participant != id {
			t.Fatalf("event %+v, want %s to have joined", e, id)
		}
	}
}

func TestDyingSocketIsReplacedUnderAFreshID(t *testing.T) {
	joins := make(chan string, 10)
	url := listen(t, func(ctx context.Context, c *websocket.Conn) {
		m, err := readMessage(ctx, c)
		if err != nil {
			return
		}
		joins <- m.PeerID
		say(ctx, c, `{"type":"room_peers","peers":["rec","`+m.PeerID+`"]}`)
		if m.PeerID == "rec-2" {
			say(ctx, c, `{"type":"peer_joined","peer_id":"p"}`)
			drain(ctx, c)
		}
	})
	r, err := Dial(t.Context(), Config{URL: url, PeerID: "rec"})
	if err != nil {
		t.Fatal(err)
	}
	if e := wait(t, r, signaling.Joined); e.Participant != "p" {
		t.Errorf("event %+v", e)
	}
	for _, want := range []string{"rec", "rec-2"} {
		if id := <-joins; id != want {
			t.Errorf("joined as %q, want %q", id, want)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(t.Context(), time.Time{}); err != io.EOF {
		t.Errorf("error %v, want io.EOF", err)
	}
}

func TestRoomThatCannotBeRestoredIsLost(t *testing.T) {
	var joined bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if joined {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		joined = true
		if c, err := websocket.Accept(w, r, nil); err == nil {
			_, _ = readMessage(r.Context(), c)
			say(r.Context(), c, `{"type":"room_peers","peers":[]}`)
			_ = c.CloseNow()
		}
	}))
	defer s.Close()
	r, err := Dial(t.Context(), Config{URL: "ws" + strings.TrimPrefix(s.URL, "http") + "/room", GiveUp: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Next(t.Context(), time.Time{})
	if !errors.Is(err, signaling.ErrLost) || !strings.Contains(fmt.Sprint(err), "without a word") {
		t.Errorf("error %v does not wrap ErrLost with the reason", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseDoesNotWaitForAServerThatIsStuck(t *testing.T) {
	stuck := make(chan struct{})
	url := listen(t, func(ctx context.Context, c *websocket.Conn) {
		say(ctx, c, `{"type":"room_peers","peers":[]}`)
		<-stuck
	})
	defer close(stuck)
	r, err := Dial(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 1500*time.Millisecond {
		t.Errorf("Close took %v", d)
	}
}
