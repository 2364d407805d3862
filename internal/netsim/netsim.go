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
	"encoding/binary"
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
	// Jitter delays each packet of media by a time of its own, up to this, so
	// that many overtake each other.
	Jitter time.Duration
	// Corrupt is the probability that up to three bits of a packet are flipped,
	// whatever it carries. (UDP's checksum would drop most of those.)
	Corrupt float64
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
	// delivered has the sequence numbers of the RTP packets that the network
	// has not lost, by source.
	delivered map[uint32]map[uint16]bool
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
		n := &Net{
			t: t, router: router, cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 1)),
			delivered: map[uint32]map[uint16]bool{},
		}
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

// Change changes what the network is like from now on.
func (n *Net) Change(change func(*Config)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.cfg)
}

// SetLoss changes Config.Loss from now on.
func (n *Net) SetLoss(p float64) { n.Change(func(cfg *Config) { cfg.Loss = p }) }

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
type fate struct {
	lost, twice, corrupt bool
	late                 time.Duration
}

func (n *Net) fate(b []byte) (f fate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	media := len(b) > 12 && b[0]>>6 == 2 // RFC 7983
	f.lost = n.down || (media || n.cfg.LoseAll) && n.chance(n.cfg.Loss)
	f.corrupt = n.chance(n.cfg.Corrupt)
	if f.lost || !media {
		return f
	}
	f.twice = n.chance(n.cfg.Duplicate)
	if n.chance(n.cfg.Reorder) {
		f.late = n.cfg.Late
	}
	if n.cfg.Jitter > 0 {
		f.late += time.Duration(n.rand.Int64N(int64(n.cfg.Jitter)))
	}
	if rtp := b[1]&0x7f < 64 || b[1]&0x7f >= 96; rtp && !f.corrupt { // RFC 5761 §4
		ssrc := binary.BigEndian.Uint32(b[8:])
		if n.delivered[ssrc] == nil {
			n.delivered[ssrc] = map[uint16]bool{}
		}
		n.delivered[ssrc][binary.BigEndian.Uint16(b[2:])] = true
	}
	return f
}

// chance is called locked.
func (n *Net) chance(p float64) bool { return p > 0 && n.rand.Float64() < p }

// damaged gives b with some bits flipped.
func (n *Net) damaged(b []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	b = append([]byte(nil), b...)
	first := n.rand.IntN(8 * len(b))
	for i := range 1 + n.rand.IntN(3) { // not the same one twice
		bit := (first + i*13) % (8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
	}
	// DTLS application data of epoch 0 ends pion's connection, so the sockets of
	// package peer, which are not in use here, discard it.
	if len(b) > 4 && b[0] == 23 && b[3] == 0 && b[4] == 0 {
		b[4] = 1
	}
	return b
}
