package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
)

// house is a server on a network of pipes. Tests run it in a synctest bubble,
// in fake time; the bubble fails when a goroutine is left at its end.
type house struct {
	t      *testing.T
	server *Server
	http   *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	client *http.Client
}

func inHouse(t *testing.T, cfg Config, test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, server: New(cfg), conns: make(chan net.Conn), closed: make(chan struct{})}
		h.http = &http.Server{Handler: h.server}
		h.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				a, b := net.Pipe()
				h.conns <- b
				return a, nil
			}}}
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.http.Serve(h) })
		test(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = h.server.Shutdown(ctx)
		_ = h.http.Close()
		wg.Wait()
	})
}

func (h *house) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}
func (h *house) Close() error   { h.once.Do(func() { close(h.closed) }); return nil }
func (h *house) Addr() net.Addr { return &net.TCPAddr{} }

// client is a peer's end of a socket.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

func (h *house) dial(path string) *client {
	h.t.Helper()
	conn, _, err := websocket.Dial(h.t.Context(), "ws://house"+path, &websocket.DialOptions{HTTPClient: h.client})
	if err != nil {
		h.t.Fatal(err)
	}
	conn.SetReadLimit(8 << 20)
	c := &client{t: h.t, conn: conn}
	h.t.Cleanup(func() { _ = conn.CloseNow() })
	return c
}

// join dials, joins and checks who is said to be there.
func (h *house) join(room, id string, there ...string) *client {
	h.t.Helper()
	c := h.dial("/ws/elsewhere")
	c.send(`{"type":"join","peer_id":%q,"room_id":%q}`, id, room)
	if there == nil {
		there = []string{}
	}
	c.wantMessage(message.Message{Type: message.RoomPeers, Peers: there})
	return c
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

func (c *client) want(wire string) {
	c.t.Helper()
	if got := c.read(); got != wire {
		c.t.Fatalf("got  %s\nwant %s", got, wire)
	}
}

func (c *client) wantMessage(want message.Message) {
	c.t.Helper()
	got, err := message.Parse([]byte(c.read()))
	if err != nil {
		c.t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		c.t.Fatalf("got %+v, want %+v", got, want)
	}
}

func (c *client) wantError(code string) message.Message {
	c.t.Helper()
	m, err := message.Parse([]byte(c.read()))
	if err != nil {
		c.t.Fatal(err)
	}
	if m.Type != message.Error || m.Code != code || m.Text == "" {
		c.t.Fatalf("got %+v, want an error with code %q and a text", m, code)
	}
	return m
}

func (c *client) wantClose(status websocket.StatusCode) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	if got := websocket.CloseStatus(err); got != status {
		c.t.Fatalf("read %q, %v; want the socket closed with status %d", b, err, status)
	}
	var ce websocket.CloseError
	if errors.As(err, &ce) && ce.Reason == "" {
		c.t.Error("the socket was closed without a reason")
	}
}

func (c *client) leave() { _ = c.conn.Close(websocket.StatusNormalClosure, "bye") }

// wantSilence checks that nothing has been sent to the client: what it asks for
// is answered by the next message it reads.
func (c *client) wantSilence() {
	c.t.Helper()
	c.send(`{"type":"join","peer_id":"again"}`)
	c.wantError(message.CodeAlreadyJoined)
}
