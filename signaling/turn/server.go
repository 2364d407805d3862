package turn

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
	"golang.org/x/time/rate"
)

// Config is what a server can be asked for. The zero value of a field stands for
// the default it names.
type Config struct {
	// Secret is what credentials are made with. Required.
	Secret string
	// Realm is told to clients, and part of what they hash (RFC 8489 §9.2).
	// Default "roomtape".
	Realm string
	// Public are the addresses by which peers reach the relay, one for IPv4,
	// one for IPv6, or both. Required. When it is one of this machine's
	// addresses, relaying uses that; else the system chooses.
	Public []netip.Addr
	// MinPort and MaxPort are the range of ports for allocations. Default
	// 49152 to 65535.
	MinPort, MaxPort uint16
	// Allow are networks to relay to although Denied says no.
	Allow []netip.Prefix
	// MaxAllocations is how many allocations there can be at once, MaxPerUser
	// how many of one name, MaxPerAddress how many of one client address (an
	// IPv6 /64), which may also have as many TCP connections. Defaults 4096,
	// 256 and 1024.
	MaxAllocations, MaxPerUser, MaxPerAddress int
	// Rate is how many requests a second one client address may send, on
	// average. What is relayed does not count. Default 200.
	Rate float64
	// MaxBitrate is how much one allocation may relay in each direction, in
	// bit/s of UDP payload, after a burst of a second's worth or 128 KiB; more is
	// lost, as on a link of that speed. Default: any amount.
	MaxBitrate int64
	// MaxAge is how long an allocation can be refreshed. It ends up to an hour
	// later. Default 168 h.
	MaxAge time.Duration
	// Logger is told what is refused, at most once in 10 s for each reason.
	// Default: none.
	Logger *slog.Logger

	idle time.Duration // other than idle, in tests
}

func orElse[T int | uint16 | float64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func (c Config) withDefaults() Config {
	if c.Realm == "" {
		c.Realm = "roomtape"
	}
	c.MinPort, c.MaxPort = orElse(c.MinPort, 49152), orElse(c.MaxPort, 65535)
	c.MaxAllocations = orElse(c.MaxAllocations, 4096)
	c.MaxPerUser = orElse(c.MaxPerUser, 256)
	c.MaxPerAddress = orElse(c.MaxPerAddress, 1024)
	c.Rate = orElse(c.Rate, 200)
	c.MaxAge = orElse(c.MaxAge, 168*time.Hour)
	c.idle = orElse(c.idle, idle)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Secret == "":
		return errors.New("turn: there is no secret")
	case len(c.Public) == 0:
		return errors.New("turn: there is no public address")
	case c.MinPort > c.MaxPort:
		return fmt.Errorf("turn: ports %d to %d are no range", c.MinPort, c.MaxPort)
	case c.MaxBitrate < 0:
		return fmt.Errorf("turn: a bitrate of %d is less than nothing", c.MaxBitrate)
	case len(c.Realm) > 127:
		return errors.New("turn: the realm is longer than 127 bytes")
	}
	return nil
}

// Server is a TURN server that runs from New to Close. It may be used by any
// goroutine.
type Server struct {
	cfg      Config
	allow    []netip.Prefix
	public   map[string]netip.Addr // by network, "udp4" or "udp6"
	local    map[string]string     // where relays are bound
	pion     *turn.Server
	log      *slog.Logger
	counters counters
	quotas   quotas // of allocations
	conns    quotas // of TCP connections
	requests *sources
	starts   *sources // of allocations and connections
	told     [refusals]atomic.Int64
	wg       sync.WaitGroup // the goroutines of streams, and the relays

	mu     sync.Mutex
	closed bool
}

// New makes a server that serves UDP sockets and TCP listeners, at least one
// together. TLS is a listener of crypto/tls. The server closes them, also when New
// fails.
func New(cfg Config, sockets []net.PacketConn, listeners []net.Listener) (*Server, error) {
	s, err := newServer(cfg)
	if err != nil {
		for _, c := range sockets {
			_ = c.Close()
		}
		for _, l := range listeners {
			_ = l.Close()
		}
		return nil, err
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.Writer, quiet.DefaultLogLevel, quiet.ScopeLevels = io.Discard, logging.LogLevelDisabled, nil
	pc := turn.ServerConfig{
		Realm: s.cfg.Realm, LoggerFactory: quiet, InboundMTU: mtu,
		AuthHandler:  s.authenticate,
		QuotaHandler: s.mayAllocate,
		EventHandler: turn.EventHandler{OnAuth: s.authenticated},
	}
	for _, c := range sockets {
		u := newDatagrams(s, c)
		pc.PacketConnConfigs = append(pc.PacketConnConfigs, u.config(u))
	}
	var streams []*streams
	for _, l := range listeners {
		t := newStreams(s, l)
		streams = append(streams, t)
		pc.PacketConnConfigs = append(pc.PacketConnConfigs, t.config(t))
	}
	if s.pion, err = turn.NewServer(pc); err != nil {
		for _, c := range pc.PacketConnConfigs {
			_ = c.PacketConn.Close()
		}
		return nil, fmt.Errorf("turn: starting the server: %w", err)
	}
	for _, t := range streams {
		s.wg.Go(t.accept)
	}
	return s, nil
}

func newServer(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger,
		public: map[string]netip.Addr{}, local: map[string]string{},
		quotas: quotas{
			max: cfg.MaxAllocations, perUser: cfg.MaxPerUser, perAddress: cfg.MaxPerAddress,
			users: map[string]int{}, addresses: map[netip.Addr]int{},
		},
		// What has no allocation yet must find a place too.
		conns: quotas{
			max: 2 * cfg.MaxAllocations, perUser: 2 * cfg.MaxAllocations, perAddress: cfg.MaxPerAddress,
			users: map[string]int{}, addresses: map[netip.Addr]int{},
		},
		requests: newSources(rate.Limit(cfg.Rate), max(1, int(burstSeconds*cfg.Rate))),
		starts:   newSources(allocationRate, 2*cfg.MaxPerAddress),
	}
	for _, p := range cfg.Allow {
		s.allow = append(s.allow, p.Masked())
	}
	for _, a := range cfg.Public {
		a = a.Unmap()
		network, anywhere := "udp6", "::"
		if a.Is4() {
			network, anywhere = "udp4", "0.0.0.0"
		}
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "":
			return nil, fmt.Errorf("turn: %v is no public address", a)
		case s.public[network].IsValid():
			return nil, fmt.Errorf("turn: %v and %v are two public addresses of one kind", s.public[network], a)
		}
		s.public[network], s.local[network] = a, anywhere
		if c, err := net.ListenPacket(network, net.JoinHostPort(a.String(), "0")); err == nil {
			_ = c.Close()
			s.local[network] = a.String()
		}
	}
	return s, nil
}

// Close stops the server, ends all allocations and connections, and returns when
// all of that is gone.
func (s *Server) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	var err error
	if !was {
		err = s.pion.Close()
	}
	s.wg.Wait()
	return err
}

// Realm is the server's realm.
func (s *Server) Realm() string { return s.cfg.Realm }

// Credentials makes credentials for a name, for so long from now.
func (s *Server) Credentials(name string, ttl time.Duration) Credentials {
	return NewCredentials(s.cfg.Secret, name, time.Now().Add(ttl))
}

// UnreachableRelays tells which of the public addresses are such that nothing is
// relayed to them: two clients that both use this relay then can't reach each
// other by it.
func (s *Server) UnreachableRelays() []netip.Addr {
	var out []netip.Addr
	for _, network := range []string{"udp4", "udp6"} {
		if a, ok := s.public[network]; ok && !s.permits(a) {
			out = append(out, a)
		}
	}
	return out
}

// authenticate gives pion the key of a user, or none. It says who they are by
// name: what was allocated by older credentials stays theirs.
func (s *Server) authenticate(r *turn.RequestAttributes) (id string, key []byte, ok bool) {
	from := addrPort(r.SrcAddr)
	expires, name, err := ParseUsername(r.Username)
	if err != nil || r.Realm != s.cfg.Realm {
		s.refuse(malformed, from, "")
		return "", nil, false
	}
	// What there is goes on until MaxAge.
	if time.Now().Unix() >= expires && r.Method == methodAllocate {
		s.refuse(expired, from, name)
		return "", nil, false
	}
	return name, turn.GenerateAuthKey(r.Username, s.cfg.Realm, password(s.cfg.Secret, r.Username)), true
}

// authenticated is told how pion found a request's MESSAGE-INTEGRITY.
func (s *Server) authenticated(src, _ net.Addr, _, user, _, _ string, ok bool) {
	if !ok {
		_, name, _ := ParseUsername(user) // authenticate has accepted it
		s.refuse(forged, addrPort(src), name)
	}
}

// mayAllocate is asked before each allocation.
func (s *Server) mayAllocate(user, _ string, src net.Addr) bool {
	from := addrPort(src)
	why := s.quotas.full(user, from.Addr())
	if why == none && !s.starts.allow(from.Addr(), time.Now()) {
		why = tooFast
	}
	if why != none {
		s.refuse(why, from, user)
	}
	return why == none
}

// refuse counts, and says so from time to time.
func (s *Server) refuse(why refusal, from netip.AddrPort, user string) {
	n := s.counters.refused[why].Add(1)
	now := time.Now().UnixNano()
	last := s.told[why].Load()
	if last != 0 && now-last < int64(10*time.Second) || !s.told[why].CompareAndSwap(last, now) {
		return
	}
	s.log.Info("TURN: refused", "reason", why.String(), "remote", from.String(), "user", user, "so_far", n)
}

// add keeps the server from being closed before a relay is, unless it is already.
func (s *Server) add() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

func addrPort(a net.Addr) netip.AddrPort {
	var out netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		out = a.AddrPort()
	case *net.TCPAddr:
		out = a.AddrPort()
	}
	return netip.AddrPortFrom(out.Addr().Unmap(), out.Port())
}
