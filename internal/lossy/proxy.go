package lossy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
)

// patience bounds how long the server behind a proxy may take to answer, and
// anybody to take a message.
const patience = 10 * time.Second

// Proxy is an http.Handler that stands before a room server and puts a relay
// between everybody in its rooms, mesh or SFU. In the relay participants have
// the names by which they join. Other requests than WebSockets go to the server
// as they are.
type Proxy struct {
	relay  *Relay
	server *url.URL
	web    *httputil.ReverseProxy
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	closed   bool
	sessions map[string]*websocket.Conn // to the server, by who has joined last
	wg       sync.WaitGroup
}

// NewProxy makes a proxy for the server at a ws:// or wss:// URL, to which the
// paths and queries of clients are added. The server may come and go: a client's
// socket ends with the one to the server, and without a server no client gets
// one. It panics when the URL is malformed. The caller must call Close.
func NewProxy(relay *Relay, server string) *Proxy {
	u, err := url.Parse(server)
	if err != nil {
		panic(err)
	}
	web := *u
	web.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	p := &Proxy{relay: relay, server: u, web: httputil.NewSingleHostReverseProxy(&web), sessions: map[string]*websocket.Conn{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		p.web.ServeHTTP(w, r)
		return
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		http.Error(w, "the proxy is closed", http.StatusServiceUnavailable)
		return
	}
	p.wg.Add(1)
	p.mu.Unlock()
	defer p.wg.Done()

	u := p.server.JoinPath(r.URL.Path)
	u.RawQuery = r.URL.RawQuery
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	server, _, err := websocket.Dial(ctx, u.String(), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = server.CloseNow() }()
	client, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // any page of a test
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = client.CloseNow() }()
	p.serve(client, server)
}

// Close ends the sockets of all clients and waits for what the proxy runs. It
// does not close the relay.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
}

// Say gives the server a message as if the participant had sent it, who has joined
// by that name. It tells whether there is one.
func (p *Proxy) Say(participant string, text []byte) bool {
	p.mu.Lock()
	server := p.sessions[participant]
	p.mu.Unlock()
	return server != nil && write(p.ctx, server, websocket.MessageText, text) == nil
}

// session is one client.
type session struct {
	proxy  *Proxy
	server *websocket.Conn
	id     atomic.Value // string: the peer_id it joined as
}

// serve passes messages on in both directions until either socket ends.
func (p *Proxy) serve(client, server *websocket.Conn) {
	// A little more than anybody should send, so that it is the ends that
	// complain of what is too large.
	client.SetReadLimit(message.MaxSize * 2)
	server.SetReadLimit(message.MaxSize * 2)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	s := &session{proxy: p, server: server}
	s.id.Store("")
	var wg sync.WaitGroup
	pass := func(from, to *websocket.Conn, change func([]byte) ([]byte, bool)) {
		err := passAll(ctx, from, to, change)
		var ended websocket.CloseError
		if errors.As(err, &ended) {
			_ = to.Close(ended.Code, ended.Reason)
		}
		cancel()
	}
	wg.Go(func() { pass(client, server, s.toServer) })
	wg.Go(func() { pass(server, client, s.toClient) })
	wg.Wait()
}

// passAll passes messages on until an error.
func passAll(ctx context.Context, from, to *websocket.Conn, change func([]byte) ([]byte, bool)) error {
	for {
		kind, b, err := from.Read(ctx)
		if err != nil {
			return err
		}
		ok := true
		if kind == websocket.MessageText {
			b, ok = change(b)
		}
		if !ok {
			continue
		}
		if err := write(ctx, to, kind, b); err != nil {
			return err
		}
	}
}

func write(ctx context.Context, to *websocket.Conn, kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return to.Write(ctx, kind, b)
}

// toServer changes what the client says: its addresses become those at which
// the other one, who is named as the target, reaches it by the relay.
func (s *session) toServer(b []byte) ([]byte, bool) {
	var m object
	if json.Unmarshal(b, &m) != nil {
		return b, true
	}
	if m.text("type") == string(message.Join) {
		s.id.Store(m.text("peer_id"))
		s.proxy.mu.Lock()
		s.proxy.sessions[m.text("peer_id")] = s.server
		s.proxy.mu.Unlock()
		return b, true
	}
	owner, user := s.id.Load().(string), m.text("target")
	return rewrite(b, m, func(a netip.AddrPort) (netip.AddrPort, bool) {
		a, err := s.proxy.relay.Via(owner, user, a)
		return a, err == nil
	})
}

// toClient changes what a server that forwards says of its own addresses, as
// toServer does with those of clients. In the relay it has the name message.SFU.
func (s *session) toClient(b []byte) ([]byte, bool) {
	var m object
	if json.Unmarshal(b, &m) != nil || m.text("from") != message.SFU {
		return b, true
	}
	user := s.id.Load().(string)
	return rewrite(b, m, func(a netip.AddrPort) (netip.AddrPort, bool) {
		a, err := s.proxy.relay.Via(message.SFU, user, a)
		return a, err == nil
	})
}
