package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// StatusReplaced is the status with which a socket is closed when another joins
// under its id (RFC 6455 §7.4.2, private use).
const StatusReplaced websocket.StatusCode = 4001

// RejoinHeader is set to "same-id" when the server accepts a WebSocket: whose
// socket has died may join again under its id at once, whether or not the
// server has noticed. The protocol does not say that, and not all servers do.
const RejoinHeader = "Roomtape-Rejoin"

// MaxID is the length of the longest peer or room id, in bytes.
const MaxID = 128

// Config has the server's limits. The zero value of a field stands for the
// default it names.
type Config struct {
	// MaxRooms is how many rooms there can be at once. Default 1000.
	MaxRooms int
	// MaxPeers is how many peers one room can hold. Default 100.
	MaxPeers int
	// MaxSockets is how many WebSockets can be open at once, joined or not.
	// Default 10000.
	MaxSockets int
	// MaxMessage is the largest message that is read or relayed, in bytes.
	// Default message.MaxSize.
	MaxMessage int
	// Rate is how many messages a second one peer may send, on average.
	// Each started 4 KiB of a message counts as one. Default 100.
	Rate float64
	// Burst is how many messages a peer may send at once before Rate applies.
	// The default leaves room for an offer and 20 candidates to every peer of
	// a full room. Never less than the largest message counts for.
	Burst int
	// AddressSockets is how many WebSockets can be open at once from one
	// address, joined or not; AddressJoins how many a second may be opened or
	// try to join, and AddressMessages how many messages a second they may send
	// together, on average and counted as by Rate. An address is one of IPv4, or
	// a network of 64 bits of IPv6; behind a proxy it is the proxy's. The
	// defaults are 1000, 20 and 2000; less than 0: any number. Ten seconds'
	// worth may come at once, and room for the largest message.
	AddressSockets                int
	AddressJoins, AddressMessages float64
	// AddressCredentials is how many times a second one address may ask for TURN
	// credentials, in the same way. Default 10; less than 0: any number.
	AddressCredentials float64
	// Origins are patterns (as of path.Match, without regard to case) of the
	// hosts whose pages may connect, or of scheme and host when a pattern has
	// "://" in it. Pages of the server's own host always may, and so may
	// clients that are no browsers and send no Origin.
	Origins []string
	// JoinTimeout is how long a socket may take to join, which is the first
	// thing of use that it can say. Default 5 s.
	JoinTimeout time.Duration
	// TokenSecret is what tokens are signed with (package token); without it
	// nobody needs one. It should have token.GoodSecret bytes or more.
	TokenSecret []byte
	// Forward forwards the media of all rooms; nil: rooms are meshes, and no
	// media passes through the server. Shutdown closes it.
	Forward *unit.Unit
	// ResumeWithin is how long a client of a forwarded room whose socket has broken, but
	// not its connection, stays in the room for it to come back by another socket
	// as if nothing had happened. Default 10 s; less than 0: not at all. MaxKept is how
	// many such clients there can be at once, and a tenth of AddressSockets of one
	// address; those beyond leave at once. Default 1000.
	ResumeWithin time.Duration
	MaxKept      int
	// WriteTimeout is how long one message may take to be written to a peer's
	// connection before it is cut. Default 10 s.
	WriteTimeout time.Duration
	// PingInterval is how often a peer is asked whether it is still there,
	// and PingTimeout how long the answer may take. Default 15 s each.
	PingInterval, PingTimeout time.Duration
	// Relay gives credentials for TURN servers to whoever asks for /turn, for a
	// name that is a valid peer id, that are valid no longer than most, the time
	// that their token has left; 0 is no limit. Nil: there are none, and /turn is empty (204).
	// It may be called by several goroutines at once.
	Relay func(name string, most time.Duration) Relay
	// Recordings has the page list what /recordings/sessions.json gives: see
	// [Server.Authorize], by which those who answer there know who may ask.
	Recordings bool
	// Logger is told who joins, who leaves and what is refused. Default: none.
	Logger *slog.Logger
}

func orElse[T int | float64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func (c Config) withDefaults() Config {
	c.MaxRooms = orElse(c.MaxRooms, 1000)
	c.MaxPeers = orElse(c.MaxPeers, 100)
	c.MaxSockets = orElse(c.MaxSockets, 10000)
	c.MaxMessage = orElse(c.MaxMessage, message.MaxSize)
	c.Rate = orElse(c.Rate, 100)
	c.AddressSockets = orNoLimit(c.AddressSockets, 1000)
	c.AddressJoins = orNoLimit(c.AddressJoins, 20)
	c.AddressMessages = orNoLimit(c.AddressMessages, 2000)
	c.AddressCredentials = orNoLimit(c.AddressCredentials, 10)
	c.Burst = max(orElse(c.Burst, 100+25*c.MaxPeers), cost(c.MaxMessage))
	c.JoinTimeout = orElse(c.JoinTimeout, 5*time.Second)
	if c.ResumeWithin == 0 {
		c.ResumeWithin = 10 * time.Second
	}
	c.MaxKept = orElse(c.MaxKept, 1000)
	c.WriteTimeout = orElse(c.WriteTimeout, 10*time.Second)
	c.PingInterval = orElse(c.PingInterval, 15*time.Second)
	c.PingTimeout = orElse(c.PingTimeout, 15*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// orNoLimit is orElse with "less than 0" for any number.
func orNoLimit[T int | float64](v, def T) T {
	if v < 0 {
		return math.MaxInt32
	}
	return orElse(v, def)
}

// cost is what a message of n bytes counts for in Config.Rate.
func cost(n int) int { return 1 + n/4096 }

// Server is a room server. It is an http.Handler, safe for concurrent use.
type Server struct {
	cfg  Config
	page http.Handler

	counts counts
	wg     sync.WaitGroup // one for each socket

	mu       sync.Mutex // guards what follows, and the room and id of sockets
	stopping bool
	sockets  map[*socket]struct{}
	rooms    map[string]*room
	kept     int // peers without a socket

	addresses addresses
}

// New makes a server without rooms; they come and go with their peers. It
// panics when a pattern in cfg.Origins is malformed: check those that users
// write with CheckOrigins.
func New(cfg Config) *Server {
	if err := CheckOrigins(cfg.Origins); err != nil {
		panic(err)
	}
	return &Server{
		cfg:     cfg.withDefaults(),
		page:    newPage(cfg),
		sockets: make(map[*socket]struct{}),
		rooms:   make(map[string]*room),
	}
}

// CheckOrigins tells whether the patterns can be used as Config.Origins.
func CheckOrigins(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("origin pattern %q: %w", p, err)
		}
	}
	return nil
}

// ServeHTTP takes in WebSockets on every path, and serves the page at /, with
// its parts below /page/, /healthz and /turn.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isUpgrade(r):
		s.serveSocket(w, r)
	case r.URL.Path == "/turn":
		s.serveRelay(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/healthz":
		s.serveHealth(w)
	case strings.HasPrefix(r.URL.Path, "/ws/"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this address is for WebSockets; the page is at /", http.StatusUpgradeRequired)
	default:
		s.page.ServeHTTP(w, r)
	}
}

func isUpgrade(r *http.Request) bool {
	for _, v := range r.Header.Values("Upgrade") {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "websocket") {
				return true
			}
		}
	}
	return false
}

func (s *Server) serveHealth(w http.ResponseWriter) {
	health := struct {
		Status string `json:"status"`
		Rooms  int    `json:"rooms"`
		Peers  int    `json:"peers"`
	}{Status: "ok"}
	s.mu.Lock()
	health.Rooms = len(s.rooms)
	for _, rm := range s.rooms {
		health.Peers += len(rm.peers)
	}
	stopping := s.stopping
	s.mu.Unlock()

	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if stopping {
		health.Status = "stopping"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(health) // an error here is the client gone
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	so := newSocket(s, roomOfPath(r.URL))
	so.token = TokenOf(r)
	var refused string
	if so.address, refused = s.addresses.enter(addressOf(r.RemoteAddr), s.cfg, time.Now()); refused != "" {
		s.counts.refused(RefusedSocket)
		w.Header().Set("Retry-After", "5")
		http.Error(w, refused, http.StatusTooManyRequests)
		return
	}
	defer s.addresses.leave(so.address)
	if refused = s.admit(so); refused != "" {
		s.counts.refused(RefusedSocket)
		w.Header().Set("Retry-After", "5")
		http.Error(w, refused, http.StatusServiceUnavailable)
		return
	}
	defer s.dismiss(so)

	w.Header().Set(RejoinHeader, "same-id")
	h := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(h, r, &websocket.AcceptOptions{OriginPatterns: s.cfg.Origins})
	if err != nil {
		s.counts.refused(RefusedSocket)
		s.cfg.Logger.Info("WebSocket refused", "remote", r.RemoteAddr, "reason", err)
		return
	}
	so.log = s.cfg.Logger.With("remote", r.RemoteAddr)
	so.run(conn, h.conn)
}

// roomOfPath gives the last element of a path, or "".
func roomOfPath(u *url.URL) string {
	p := strings.TrimRight(u.EscapedPath(), "/")
	name, err := url.PathUnescape(p[strings.LastIndexByte(p, '/')+1:])
	if err != nil {
		return ""
	}
	return name
}

// admit counts a socket in, or says why not.
func (s *Server) admit(so *socket) (refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return "the server is stopping"
	}
	if len(s.sockets) >= s.cfg.MaxSockets {
		return "the server has no place for another connection"
	}
	s.sockets[so] = struct{}{}
	s.wg.Add(1)
	return ""
}

func (s *Server) dismiss(so *socket) {
	s.mu.Lock()
	delete(s.sockets, so)
	s.mu.Unlock()
	so.cut()
	s.wg.Done()
}

// Shutdown refuses new sockets, closes those there are with status 1001, and
// returns when the last goroutine of the last of them has ended. When ctx is
// done before, it cuts the connections that are left and returns ctx's error.
//
// http.Server.Shutdown does not know about WebSockets: call both.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.cfg.Forward != nil {
		defer func() { _ = s.cfg.Forward.Close() }() // of sockets and connections that are closed anyway
	}
	s.mu.Lock()
	s.stopping = true
	for so := range s.sockets {
		so.out.end(websocket.StatusGoingAway, "the server is stopping")
	}
	for _, rm := range s.rooms {
		for _, so := range slices.Clone(rm.peers) {
			if so.keeping != nil {
				s.part(so, "")
			}
		}
		if len(rm.peers) == 0 {
			delete(s.rooms, rm.id)
		}
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for so := range s.sockets {
		so.cut()
	}
	s.mu.Unlock()
	<-done
	return fmt.Errorf("closing the rooms' sockets: %w", ctx.Err())
}
