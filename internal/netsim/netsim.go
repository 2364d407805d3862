// Package netsim plays a whole call in fake time: pion on a virtual network
// inside a testing/synctest bubble, with loss, delay, duplicates and reordering.
// A call of a minute takes a fraction of a second.
//
//	netsim.Run(t, netsim.Config{Loss: 0.05, Delay: 40 * time.Millisecond}, func(n *netsim.Net) {
//		f, _ := peer.NewFactory(peer.Config{Net: n.Host()})
//		p := n.Publisher(netsim.PublisherConfig{})
//		…
//	})
//
// In the bubble there are no real sockets: signaling goes over net.Pipe, or by
// calling the other side.
package netsim

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"
	"github.com/pion/transport/v4/vnet"
)

// Config is what the network is like. The zero Config is a perfect one.
type Config struct {
	// Seed makes another run of the same odds.
	Seed uint64
	// Loss is the probability that a packet of media (RTP, RTCP) is lost.
	// What sets the connection up is not lost, unless LoseAll is set.
	Loss    float64
	LoseAll bool
	// Delay is the time from each host to each other.
	Delay time.Duration
	// Duplicate and Reorder are the probabilities that a packet of media comes
	// twice, and that it comes Late later than it should.
	Duplicate, Reorder float64
	// Late is 30 ms when it is 0.
	Late time.Duration
}

// Net is a network. Its methods may be called by any goroutine of the bubble.
type Net struct {
	t      *testing.T
	router *vnet.Router

	mu      sync.Mutex
	cfg     Config
	rand    *rand.Rand
	down    bool
	links   map[netip.Addr]*link // by the address they lead to
	cleanup []func()
}

// Run makes a network in a bubble, calls f there, and takes everything down
// that n made. All goroutines that f started must end before it returns, or
// soon after what it made is closed; else the test fails.
func Run(t *testing.T, cfg Config, f func(n *Net)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Late == 0 {
			cfg.Late = 30 * time.Millisecond
		}
		router, err := vnet.NewRouter(&vnet.RouterConfig{
			CIDR: "10.0.0.0/16", MinDelay: cfg.Delay, LoggerFactory: Quiet(),
		})
		if err != nil {
			t.Fatal(err)
		}
		n := &Net{t: t, router: router, cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 1))}
		if err := router.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			for len(n.cleanup) > 0 {
				last := n.cleanup[len(n.cleanup)-1]
				n.cleanup = n.cleanup[:len(n.cleanup)-1]
				last()
			}
			synctest.Wait()
			if err := router.Stop(); err != nil {
				t.Error(err)
			}
		}()
		f(n)
	})
}

// Quiet gives loggers for pion that say nothing.
func Quiet() logging.LoggerFactory {
	f := logging.NewDefaultLoggerFactory()
	f.Writer = io.Discard
	f.DefaultLogLevel = logging.LogLevelDisabled
	return f
}

// Logger gives a logger that says nothing.
func Logger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// T is the test of the bubble.
func (n *Net) T() *testing.T { return n.t }

// SetLoss changes Config.Loss from now on.
func (n *Net) SetLoss(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg.Loss = p
}

// SetDown cuts all hosts off from each other, or lets them come back.
func (n *Net) SetDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

// Cleanup calls f when the run ends, the last first.
func (n *Net) Cleanup(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cleanup = append(n.cleanup, f)
}

// fate is what becomes of a packet.
type fate uint8

const (
	arrives fate = iota
	lost
	twice
	late
)

func (n *Net) fate(b []byte) fate {
	n.mu.Lock()
	defer n.mu.Unlock()
	media := len(b) > 0 && b[0]>>6 == 2 // RFC 7983
	switch {
	case n.down:
		return lost
	case !media && !n.cfg.LoseAll:
		return arrives
	case n.rand.Float64() < n.cfg.Loss:
		return lost
	case !media:
		return arrives
	case n.rand.Float64() < n.cfg.Duplicate:
		return twice
	case n.rand.Float64() < n.cfg.Reorder:
		return late
	}
	return arrives
}
