package mesh

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling"
)

// TestTokenGoesIntoTheHandshakeOnly checks where a token is sent, that it is asked for
// anew each time, and that nothing tells it.
func TestTokenGoesIntoTheHandshakeOnly(t *testing.T) {
	joins := make(chan string, 4)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		_, b, err := c.Read(r.Context())
		if err != nil {
			t.Errorf("read: %v", err)
			return
		}
		joins <- r.Header.Get("Authorization") + " " + r.URL.RawQuery + " " + string(b)
		say(r.Context(), c, `{"type":"error","code":"forbidden","message":"no"}`)
		_ = c.Close(4003, "no")
	}))
	t.Cleanup(s.Close)
	tokens := []string{"first", "second"}
	cfg := Config{
		URL: "ws" + strings.TrimPrefix(s.URL, "http") + "/r?token=secret", PeerID: "p", Needs: []string{"record"},
		Header: http.Header{"X-Own": {"1"}},
		Token: func() (string, error) {
			now := tokens[0]
			tokens = tokens[1:]
			return now, nil
		},
	}
	for _, want := range []string{"first", "second"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := Dial(ctx, cfg)
		cancel()
		if !errors.Is(err, signaling.ErrJoin) || !strings.Contains(err.Error(), "forbidden no") {
			t.Fatalf("%v, want the server's refusal", err)
		}
		if strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a token: %v", err)
		}
		if got := <-joins; got != "Bearer "+want+` token=secret {"type":"join","peer_id":"p","room_id":"r","needs":["record"],"resume":""}` {
			t.Errorf("the server got %s", got)
		}
	}
	if len(cfg.Header) != 1 {
		t.Errorf("the caller's header has become %v", cfg.Header)
	}
	unreadable := errors.New("no such file")
	cfg.Token = func() (string, error) { return "", unreadable }
	if _, err := Dial(t.Context(), cfg); !errors.Is(err, unreadable) || !errors.Is(err, signaling.ErrJoin) {
		t.Errorf("%v, want why there is no token", err)
	}
}
