package lossy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPorts bounds the sockets of a relay.
	maxPorts = 8192
	// maxPacket is the largest packet that passes whole.
	maxPacket = 4096
	// idleAfter is how long a port that nobody uses stays. A connection in use
	// sends every few seconds, if only to say so (RFC 7675).
	idleAfter = 2 * time.Minute
	// socketBuffer is what the kernel may hold for a port.
	socketBuffer = 1 << 20
)

// ErrAddress is returned for addresses that the relay does not stand for.
var ErrAddress = errors.New("lossy: no IPv4 loopback address")

// ErrClosed is returned by what is used after Close.
var ErrClosed = errors.New("lossy: the relay is closed")

// Relay forwards UDP packets between participants, who are told apart by names.
// It may be used by any goroutine.
type Relay struct {
	seed uint64
	due  *schedule
	wg   sync.WaitGroup
	quit chan struct{}

	mu     sync.RWMutex
	rules  []rule
	links  map[[2]string]*link
	ports  map[place]*port
	closed bool
}

// rule is a call of Set.
type rule struct {
	from, to string
	odds     Odds
}

// place is what a port is for: the address of one participant as another one
// reaches it.
type place struct {
	owner, user string
	addr        netip.AddrPort
}

// port is a socket of the relay. What its user sends to it goes to its owner.
type port struct {
	place
	conn *net.UDPConn
	link *link // from the user to the owner
	used atomic.Int64
	dead atomic.Bool
}

// NewRelay makes a relay that is a perfect network, until Set makes it worse.
// The caller must call Close.
func NewRelay(seed uint64) *Relay {
	r := &Relay{
		seed: seed, due: newSchedule(), quit: make(chan struct{}),
		links: map[[2]string]*link{}, ports: map[place]*port{},
	}
	r.wg.Go(r.due.run)
	r.wg.Go(r.tidy)
	return r
}

// Set sets the odds of every direction whose participants match two patterns,
// as path.Match has them; "*" is everybody. It holds for those too who come
// later, and takes the place of earlier calls as far as they overlap. It panics
// on a malformed pattern.
func (r *Relay) Set(from, to string, o Odds) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := rule{from, to, o}
	for i := 0; i < len(r.rules); i++ {
		if old := r.rules[i]; old.from == from && old.to == to {
			r.rules = append(r.rules[:i], r.rules[i+1:]...)
			i--
		}
	}
	r.rules = append(r.rules, n)
	for _, l := range r.links {
		if n.matches(l.from, l.to) {
			l.set(o)
		}
	}
}

func (r rule) matches(from, to string) bool { return match(r.from, from) && match(r.to, to) }

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	if err != nil {
		panic(fmt.Sprintf("lossy: pattern %q: %v", pattern, err))
	}
	return ok || pattern == "*"
}

// Counts sums what has passed in every direction that matches two patterns, as
// in Set, from the start on.
func (r *Relay) Counts(from, to string) Counts {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var sum Counts
	for _, l := range r.links {
		if match(from, l.from) && match(to, l.to) {
			l.mu.Lock()
			sum.add(l.counts)
			l.mu.Unlock()
		}
	}
	return sum
}

// Ports is how many sockets are open.
func (r *Relay) Ports() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.ports)
}

// Via gives the address on loopback at which user reaches owner's address addr
// through the relay; the same one each time, as long as it is in use. The error
// is ErrAddress when addr is not an IPv4 loopback address.
func (r *Relay) Via(owner, user string, addr netip.AddrPort) (netip.AddrPort, error) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if !usable(addr) {
		return netip.AddrPort{}, fmt.Errorf("%w: %v", ErrAddress, addr)
	}
	p, err := r.port(place{owner, user, addr})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return p.conn.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

func usable(a netip.AddrPort) bool { return a.Addr().Is4() && a.Addr().IsLoopback() && a.Port() != 0 }

// port gives the port for a place; it opens one if there is none.
func (r *Relay) port(at place) (*port, error) {
	r.mu.RLock()
	p := r.ports[at]
	r.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.ports[at]; p != nil {
		return p, nil
	}
	if r.closed {
		return nil, ErrClosed
	}
	if len(r.ports) == maxPorts {
		return nil, fmt.Errorf("lossy: more than %d ports", maxPorts)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("lossy: opening a port: %w", err)
	}
	// The kernel may grant less.
	_ = conn.SetReadBuffer(socketBuffer)
	_ = conn.SetWriteBuffer(socketBuffer)
	p = &port{place: at, conn: conn, link: r.link(at.user, at.owner)}
	p.used.Store(time.Now().UnixNano())
	r.ports[at] = p
	r.wg.Go(func() { r.forward(p) })
	return p, nil
}

// link is called locked.
func (r *Relay) link(from, to string) *link {
	key := [2]string{from, to}
	l := r.links[key]
	if l == nil {
		var o Odds
		for _, rule := range r.rules {
			if rule.matches(from, to) {
				o = rule.odds
			}
		}
		l = newLink(r.seed, from, to, o)
		r.links[key] = l
	}
	return l
}

// forward passes on what comes to a port, until it is closed.
func (r *Relay) forward(p *port) {
	var out *port // for the address that the last packet came from
	for {
		b := buffers.Get().(*buffer)
		n, src, err := p.conn.ReadFromUDPAddrPort(b.room[:])
		if err != nil {
			buffers.Put(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of what was sent
		}
		now := time.Now()
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if !usable(src) {
			buffers.Put(b)
			continue
		}
		if out == nil || out.addr != src || out.dead.Load() {
			if out, err = r.port(place{p.user, p.owner, src}); err != nil {
				buffers.Put(b)
				out = nil
				continue
			}
		}
		p.used.Store(now.UnixNano())
		out.used.Store(now.UnixNano())
		b.packet, b.from, b.to = b.room[:n], out.conn, p
		delays, copies := p.link.fate(b.packet, now)
		if copies == 2 {
			again := buffers.Get().(*buffer)
			again.packet, again.from, again.to = append(again.room[:0], b.packet...), b.from, b.to
			r.send(again, now, delays[1])
		}
		if copies == 0 {
			b.free()
			continue
		}
		r.send(b, now, delays[0])
	}
}

// send takes b over.
func (r *Relay) send(b *buffer, now time.Time, delay time.Duration) {
	if delay <= 0 {
		b.send()
		return
	}
	r.due.add(b, now.Add(delay))
}

// tidy closes ports that nobody uses.
func (r *Relay) tidy() {
	tick := time.NewTicker(idleAfter / 8)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case now := <-tick.C:
			r.closeIdle(now.Add(-idleAfter))
		}
	}
}

// closeIdle closes the ports that were not used since a time.
func (r *Relay) closeIdle(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, p := range r.ports {
		if p.used.Load() < since.UnixNano() {
			p.close()
			delete(r.ports, at)
		}
	}
}

func (p *port) close() {
	p.dead.Store(true)
	_ = p.conn.Close()
}

// Close closes all ports and waits for what the relay runs. What is still on its
// way is lost.
func (r *Relay) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.quit)
		r.due.close()
	}
	for _, p := range r.ports {
		p.close()
	}
	clear(r.ports)
	r.mu.Unlock()
	r.wg.Wait()
}
