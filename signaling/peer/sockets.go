package peer

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
)

// receiveBuffer is what the kernel may hold for us per socket: over a second of
// 10 publishers when the machine is busy. The kernel may grant less.
const receiveBuffer = 4 << 20

// readEvery is how long packets are let gather in a socket, once they come
// often. Each of them crosses four goroutines, so waking those for three
// packets at a time saves more than anything else. Config.Prompt waits for
// promptEvery: who forwards makes people wait.
const (
	readEvery   = 20 * time.Millisecond
	promptEvery = 4 * time.Millisecond
)

// sockets is an ice.UDPMux with one socket for each local address, shared by
// all connections. A socket per address rather than one for all: a wildcard
// socket's answers may leave from another address than was asked, which ICE
// takes for a failure. Addresses that appear later get a socket when the next
// connection (or ICE restart) gathers its candidates.
type sockets struct {
	loopback bool
	every    time.Duration // readEvery or promptEvery
	times    arrivals
	log      logging.LeveledLogger

	mu     sync.Mutex
	muxes  map[netip.Addr]*ice.UDPMuxDefault
	closed bool
}

func newSockets(loopback bool, every time.Duration, log logging.LeveledLogger) *sockets {
	return &sockets{loopback: loopback, every: every, log: log, muxes: map[netip.Addr]*ice.UDPMuxDefault{}}
}

// GetListenAddresses implements ice.UDPMux.
func (s *sockets) GetListenAddresses() []net.Addr {
	interfaces, err := systemInterfaces()
	if err != nil {
		s.log.Warnf("listing local addresses: %v", err)
	}
	local := localAddresses(interfaces, s.loopback)
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []net.Addr
	for _, a := range local {
		m := s.muxes[a]
		if m == nil || m.IsClosed() {
			if m, err = s.open(a); err != nil {
				s.log.Warnf("opening a socket: %v", err)
				continue
			}
			s.muxes[a] = m
		}
		out = append(out, m.LocalAddr())
	}
	return out
}

// open is called locked.
func (s *sockets) open(a netip.Addr) (*ice.UDPMuxDefault, error) {
	if s.closed {
		return nil, ErrClosed
	}
	conn, err := listen(netip.AddrPortFrom(a, 0), s.every, &s.times)
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", a, err)
	}
	return ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn, Logger: s.log}), nil
}

// GetConn implements ice.UDPMux.
func (s *sockets) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("peer: %v is no UDP address", addr)
	}
	s.mu.Lock()
	m := s.muxes[u.AddrPort().Addr().Unmap()]
	s.mu.Unlock()
	if m == nil {
		return nil, fmt.Errorf("peer: no socket for %v", addr)
	}
	return m.GetConn(ufrag, addr)
}

// RemoveConnByUfrag implements ice.UDPMux.
func (s *sockets) RemoveConnByUfrag(ufrag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.muxes {
		m.RemoveConnByUfrag(ufrag)
	}
}

// Close implements ice.UDPMux.
func (s *sockets) Close() error {
	s.mu.Lock()
	s.closed = true
	muxes := s.muxes
	s.muxes = nil
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, m := range muxes {
		wg.Go(func() { _ = m.Close() }) // what it returns is always nil
	}
	wg.Wait()
	return nil
}
