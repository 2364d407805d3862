package turn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pion/turn/v5"
	"golang.org/x/time/rate"
)

// generator opens the sockets of the allocations of one listener.
type generator struct {
	server *Server
	// listener knows whose request pion is at work on: its goroutine is the
	// one that opens sockets.
	listener *listener
}

// Validate has nothing to find fault with.
func (g *generator) Validate() error { return nil }

// AllocateListener refuses: only UDP is relayed.
func (g *generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errOnlyUDP
}

// AllocateConn refuses: only UDP is relayed.
func (g *generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) {
	return nil, errOnlyUDP
}

var (
	errOnlyUDP = errors.New("only UDP is relayed")
	errNoPort  = errors.New("none is even")
	errClosed  = errors.New("the TURN server is closed")
)

// AllocatePacketConn opens a socket for an allocation, which counts until it is
// closed.
func (g *generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	s := g.server
	public, ok := s.public[c.Network]
	if !ok {
		return nil, nil, fmt.Errorf("there is no public address for %s", c.Network)
	}
	// Without a realm, pion is only looking for an even port.
	counts := c.Realm != ""
	from := g.listener.reading
	if counts {
		if why := s.quotas.take(c.UserID, from.Addr()); why != none {
			s.refuse(why, from, c.UserID)
			return nil, nil, errors.New("quota reached")
		}
	}
	socket, err := s.open(c.Network, c.RequestedPort, !counts)
	if err != nil {
		if counts {
			s.quotas.release(c.UserID, from.Addr())
		}
		s.refuse(noPort, from, c.UserID)
		return nil, nil, err
	}
	r := &relay{
		UDPConn: socket, server: s, listener: g.listener, user: c.UserID, from: from, counts: counts,
		toPeers: newPace(s.cfg.MaxBitrate), fromPeers: newPace(s.cfg.MaxBitrate),
	}
	if !s.add() {
		_ = socket.Close()
		if counts {
			s.quotas.release(c.UserID, from.Addr())
		}
		return nil, nil, errClosed
	}
	if counts {
		s.counters.allocations.Add(1)
		g.listener.allocated(r, time.Now())
	}
	port := socket.LocalAddr().(*net.UDPAddr).Port // it is one
	return r, &net.UDPAddr{IP: public.AsSlice(), Port: port}, nil
}

// open opens a socket on a port of the range, or on the one that is asked for. An
// even one is one with the next free too (RFC 8656 §7.1).
func (s *Server) open(network string, want int, even bool) (*net.UDPConn, error) {
	first, n := int(s.cfg.MinPort), int(s.cfg.MaxPort)-int(s.cfg.MinPort)+1
	if want != 0 {
		if want < first || want >= first+n {
			return nil, fmt.Errorf("port %d is not in the range", want)
		}
		return s.bind(network, want)
	}
	start := rand.IntN(n)
	last := errNoPort
	for i := range min(n, portTries) {
		port := first + (start+i)%n
		if even && (port%2 != 0 || port == int(s.cfg.MaxPort)) {
			continue
		}
		c, err := s.bind(network, port)
		if err == nil && even {
			var next *net.UDPConn
			if next, err = s.bind(network, port+1); err == nil {
				_ = next.Close()
			} else {
				_ = c.Close()
			}
		}
		if err == nil {
			return c, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no port of the range is free: %w", last)
}

func (s *Server) bind(network string, port int) (*net.UDPConn, error) {
	c, err := net.ListenPacket(network, net.JoinHostPort(s.local[network], strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil // it is one
}

// relay is the socket of an allocation.
type relay struct {
	*net.UDPConn
	server   *Server
	listener *listener
	user     string
	from     netip.AddrPort
	counts   bool // rather than being a search for a port
	once     sync.Once

	toPeers, fromPeers *rate.Limiter
}

func (r *relay) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.UDPConn.ReadFrom(b)
		if err == nil && !r.fromPeers.AllowN(time.Now(), n) {
			r.server.counters.overFromPeers.Add(1)
			continue
		}
		if err == nil {
			r.server.counters.bytesFromPeers.Add(uint64(n))
			r.server.counters.packetsFromPeers.Add(1)
		}
		return n, from, err
	}
}

func (r *relay) WriteTo(b []byte, to net.Addr) (int, error) {
	if !r.toPeers.AllowN(time.Now(), len(b)) {
		r.server.counters.overToPeers.Add(1)
		return len(b), nil // lost, as on any network
	}
	n, err := r.UDPConn.WriteTo(b, to)
	if err == nil {
		r.server.counters.bytesToPeers.Add(uint64(n))
		r.server.counters.packetsToPeers.Add(1)
	}
	return n, err
}

// Close is how pion ends an allocation. It gives no error, on which pion would
// leave others open.
func (r *relay) Close() error {
	r.once.Do(func() {
		_ = r.UDPConn.Close()
		if r.counts {
			r.server.quotas.release(r.user, r.from.Addr())
			r.listener.released(r)
		}
		r.server.wg.Done()
	})
	return nil
}
