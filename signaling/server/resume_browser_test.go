//go:build integration

package server_test

import (
	"context"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// cutter is a listener whose connections can be broken below whoever uses them.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	c.conns = nil
}

// TestALostSocketIsNotNoticed has the sockets of two pages in a forwarded room die:
// they go on with the connections that they have, and hear of who comes then.
func TestALostSocketIsNotNoticed(t *testing.T) {
	u, err := unit.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	rooms := server.New(server.Config{Forward: u})
	ts := httptest.NewUnstartedServer(rooms)
	wires := &cutter{Listener: ts.Listener}
	ts.Listener = wires
	ts.Start()
	t.Cleanup(func() {
		if err := rooms.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		ts.Close()
	})
	h := &house{t: t, url: ts.URL, b: browser.Start(t)}
	alice, bob := h.open("r", "alice", "pattern"), h.open("r", "bob", "pattern")
	pages := map[*browser.Page]string{alice: "bob", bob: "alice"}
	for p, other := range pages {
		p.Eval(inLines, nil)
		sees(t, p, other)
		p.Eval(`globalThis.kept = roomtape.peers[0].connection;
			globalThis.lost = async (id) => (await inbound(id, 'video')).packetsLost ?? 0; true`, nil)
	}
	for range 2 {
		wires.cut()
		for p := range pages {
			p.Wait(`roomtape.state === 'reconnecting'`)
		}
		for p, other := range pages {
			p.Wait(`roomtape.state === 'joined'`)
			sees(t, p, other)
		}
	}
	h.open("r", "carol", "pattern")
	for p := range pages {
		sees(t, p, "carol")
		var same bool
		var lost, peers int
		p.Eval(`roomtape.peers.every((peer) => peer.connection === kept)`, &same)
		p.Eval(`lost('`+pages[p]+`')`, &lost)
		p.Eval(`roomtape.peers.length`, &peers)
		if !same || lost > 0 || peers != 2 {
			t.Errorf("the page that sees %s: same connection %v, %d packets lost, %d peers", pages[p], same, lost, peers)
		}
	}
	if n := rooms.Counts(); n.Resumed != 4 || n.Joins != 3 {
		t.Errorf("the server counts %+v", n)
	}
}
