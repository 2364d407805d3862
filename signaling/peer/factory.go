package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

// Factory makes the connections of one room. It may be used by any goroutine.
type Factory struct {
	cfg         Config
	codecs      []media.Codec
	certificate webrtc.Certificate
	sockets     *sockets // nil when Config.Net is set
	log         *slog.Logger

	mu     sync.Mutex
	conns  []*Conn
	closed bool
	stop   chan struct{}
	done   chan struct{} // closed when the reporting goroutine has ended

	// Which TURN servers are known not to work, whether any ever did, and
	// whether that there is none has been told.
	relays            map[string]bool
	relayed, hopeless bool

	known []netip.Addr // ours, of which the reporting goroutine knows
}

// NewFactory makes a factory. It opens no socket before the first connection
// gathers its candidates.
func NewFactory(cfg Config) (*Factory, error) {
	codecs, err := cfg.codecs()
	if err != nil {
		return nil, err
	}
	// One certificate for all connections: making one costs more than the
	// rest of a connection's set-up.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("peer: making a key: %w", err)
	}
	certificate, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return nil, fmt.Errorf("peer: making a certificate: %w", err)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Factory{
		cfg: cfg, codecs: codecs, certificate: *certificate, log: log,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if cfg.Net == nil {
		every := readEvery
		if cfg.Prompt {
			every = promptEvery
		}
		f.sockets = newSockets(cfg.Loopback, every, loggers{to: log}.NewLogger("ice"))
	}
	f.known = f.addresses()
	go f.report()
	return f, nil
}

// Close closes the factory and all its connections, and waits until what they
// ran has ended, for about a second at most.
func (f *Factory) Close() error {
	f.mu.Lock()
	conns := f.conns
	f.conns = nil
	if !f.closed {
		f.closed = true
		close(f.stop)
	}
	f.mu.Unlock()

	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() { _ = c.Close() })
	}
	wg.Wait()
	<-f.done
	if f.sockets != nil {
		return f.sockets.Close()
	}
	return nil
}

// report is the one clock of all connections.
func (f *Factory) report() {
	defer close(f.done)
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	var conns []*Conn
	looked := time.Now()
	for {
		var now time.Time
		select {
		case <-f.stop:
			return
		case now = <-t.C:
		}
		f.mu.Lock()
		conns = append(conns[:0], f.conns...)
		f.mu.Unlock()
		for _, c := range conns {
			c.mu.Lock()
			c.kick()
			c.mu.Unlock()
		}
		if now.Sub(looked) >= addressesEvery {
			looked = now
			f.look(conns)
		}
		clear(conns)
	}
}

// arrival gives the time at which the packet with this key, just decrypted,
// arrived, if that was less than limit ago.
func (f *Factory) arrival(key uint64, limit time.Duration) time.Time {
	now := time.Now()
	if f.sockets == nil {
		return now
	}
	return f.sockets.times.of(key, now, limit)
}

func (f *Factory) forget(c *Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = slices.DeleteFunc(f.conns, func(o *Conn) bool { return o == c })
}

// api gives a pion API for one connection: what is received goes through its
// SettingEngine, which therefore can't be shared.
func (f *Factory) api(c *Conn) (*webrtc.API, error) {
	engine, err := newMediaEngine(f.codecs, f.cfg.Forwarding)
	if err != nil {
		return nil, err
	}
	var s webrtc.SettingEngine
	s.LoggerFactory = loggers{
		to:    f.log.With("participant", c.opts.Participant, "connection", c.opts.Connection),
		relay: f.relayFailed,
	}
	s.BufferFactory = c.buffer
	s.SetFireOnTrackBeforeFirstRTP(true) // else a goroutine per track waits for it
	s.SetSRTPReplayProtectionWindow(replayWindow)
	s.SetSCTPMaxMessageSize(MaxMessage)
	s.SetDTLSRetransmissionInterval(handshakeRetry)
	s.SetDTLSConnectContextMaker(c.handshake)
	s.SetICETimeouts(disconnectedAfter, failedAfter, keepAlive)
	s.SetICEMaxBindingRequests(maxChecks)
	s.SetIncludeLoopbackCandidate(f.cfg.Loopback)
	s.DisableActiveTCP(f.cfg.RelayOnly)
	if f.cfg.RelayOnly {
		s.SetRelayAcceptanceMinWait(0) // no better path will come
	}
	if f.cfg.Net != nil {
		s.SetNet(f.cfg.Net)
		s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	} else {
		s.SetICEMulticastDNSMode(ice.MulticastDNSModeQueryOnly)
		s.SetICEUDPMux(f.sockets)
	}
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(engine),
		webrtc.WithSettingEngine(s),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}),
	), nil
}

// Connect makes a connection, which does nothing before Offer or Answer.
func (f *Factory) Connect(o Options) (*Conn, error) {
	c := newConn(f, o)
	api, err := f.api(c)
	if err != nil {
		return nil, err
	}
	cfg := webrtc.Configuration{
		Certificates: []webrtc.Certificate{f.certificate},
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
	}
	f.relaysOf(&cfg)

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	c.api = api
	if c.pc, err = api.NewPeerConnection(cfg); err != nil {
		return nil, fmt.Errorf("peer: making a connection: %w", err)
	}
	if f.cfg.Publish != nil {
		c.feed = newFeed(c, f.cfg.Publish)
	}
	c.watch()
	f.conns = append(f.conns, c)
	return c, nil
}

// relaysOf puts the STUN and TURN servers into a configuration, with credentials
// of now.
func (f *Factory) relaysOf(cfg *webrtc.Configuration) {
	for _, s := range f.cfg.ICEServers {
		cfg.ICEServers = append(cfg.ICEServers, s.pion())
	}
	if f.cfg.RelayOnly {
		cfg.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
}
