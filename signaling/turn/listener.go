package turn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/turn/v5"
)

// Types of STUN messages (RFC 8489 §5, RFC 8656 §17): a method and a class.
const (
	methodAllocate          = 0x003
	refreshRequest          = 0x0004
	sendIndication          = 0x0016
	createPermission        = 0x0008
	channelBind             = 0x0009
	allocateSuccess         = 0x0103
	refreshSuccess          = 0x0104
	classMask               = 0x0110
	attrChannel             = 0x000c
	attrLifetime            = 0x000d
	headerLen               = 20
	cookie           uint32 = 0x2112a442
)

// expiryMargin is how long before its end nothing can be added to an allocation:
// pion must not be at work on a permission when it takes the allocation away.
const expiryMargin = time.Second / 2

// listener is what the kinds of listeners have in common: to pion, each is one
// packet socket, read by one goroutine, which also answers.
type listener struct {
	server *Server
	// What pion is at work on: who sent it, and the channel that it is about.
	reading netip.AddrPort
	channel uint16
	// holds is told when a client has an allocation, and when it has none any
	// more. May be nil.
	holds func(from netip.AddrPort, allocated bool)

	clientsMu sync.Mutex
	clients   map[netip.AddrPort]*client // those with an allocation
}

// client is one that has an allocation.
type client struct {
	relay         *relay
	born, expires time.Time
	told          bool                    // when it expires
	peers         map[netip.Addr]struct{} // to which it may send, or might have
	channels      map[uint16]struct{}
}

func (l *listener) config(c net.PacketConn) turn.PacketConnConfig {
	return turn.PacketConnConfig{
		PacketConn:            c,
		RelayAddressGenerator: &generator{server: l.server, listener: l},
		PermissionHandler:     l.mayReach,
	}
}

// messageType gives the type of a STUN message, and whether it is one.
func messageType(b []byte) (uint16, bool) {
	if len(b) < headerLen || b[0]&0xc0 != 0 || binary.BigEndian.Uint32(b[4:]) != cookie {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// admits tells whether a packet is for pion: what clients send, and no faster
// than they may.
func (l *listener) admits(b []byte, from netip.AddrPort, now time.Time) bool {
	l.reading, l.channel = from, 0
	if len(b) >= 4 && b[0]&0xc0 == 0x40 {
		return true // channel data
	}
	t, ok := messageType(b)
	switch {
	case !ok:
		return false
	case t == sendIndication:
		return true
	case t&classMask != 0:
		return false // neither a request nor anything that a server gets
	}
	if !l.server.requests.allow(from.Addr(), now) {
		l.server.refuse(tooFast, from, "")
		return false
	}
	if t == channelBind {
		if v := attribute(b, attrChannel); len(v) == 4 {
			l.channel = binary.BigEndian.Uint16(v)
		}
	}
	if t != refreshRequest && t != createPermission && t != channelBind {
		return true
	}
	l.clientsMu.Lock()
	defer l.clientsMu.Unlock()
	c := l.clients[from]
	switch {
	case c == nil:
		return true
	case t == refreshRequest:
		return now.Sub(c.born) < l.server.cfg.MaxAge
	default:
		return c.expires.Sub(now) > expiryMargin
	}
}

// answered looks at what pion sends, for how long an allocation lives.
func (l *listener) answered(b []byte, to netip.AddrPort, now time.Time) {
	t, ok := messageType(b)
	if !ok || t != allocateSuccess && t != refreshSuccess {
		return
	}
	v := attribute(b, attrLifetime)
	if len(v) != 4 {
		return
	}
	l.clientsMu.Lock()
	defer l.clientsMu.Unlock()
	// A repeated answer to the request to allocate is as old as the first.
	if c := l.clients[to]; c != nil && (t == refreshSuccess || !c.told) {
		c.told = true
		c.expires = now.Add(time.Duration(binary.BigEndian.Uint32(v)) * time.Second)
	}
}

// attribute gives the value of a message's first attribute of a type, or nil.
func attribute(b []byte, kind uint16) []byte {
	for rest := b[headerLen:]; len(rest) >= 4; {
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if len(rest) < 4+n {
			return nil
		}
		if binary.BigEndian.Uint16(rest) == kind {
			return rest[4 : 4+n]
		}
		rest = rest[min(len(rest), 4+(n+3)&^3):]
	}
	return nil
}

// mayReach is asked before each permission and channel.
func (l *listener) mayReach(src net.Addr, ip net.IP) bool {
	from := addrPort(src)
	peer, ok := netip.AddrFromSlice(ip)
	peer = peer.Unmap()
	why := none
	if !ok || !l.server.permits(peer) {
		why = deniedPeer
	} else {
		l.clientsMu.Lock()
		if c := l.clients[from]; c != nil {
			switch {
			case !room(c.peers, peer), l.channel != 0 && !room(c.channels, l.channel):
				why = tooManyPeers
			default:
				c.peers[peer] = struct{}{}
				if l.channel != 0 {
					c.channels[l.channel] = struct{}{}
				}
			}
		}
		l.clientsMu.Unlock()
	}
	if why != none {
		l.server.refuse(why, from, "")
	}
	return why == none
}

// room tells whether a set has a key, or a place for it.
func room[K comparable](set map[K]struct{}, k K) bool {
	_, known := set[k]
	return known || len(set) < maxPeers
}

// allocated and released follow the allocations.
func (l *listener) allocated(r *relay, now time.Time) {
	l.clientsMu.Lock()
	l.clients[r.from] = &client{relay: r, born: now, peers: map[netip.Addr]struct{}{}, channels: map[uint16]struct{}{}}
	l.clientsMu.Unlock()
	if l.holds != nil {
		l.holds(r.from, true)
	}
}

func (l *listener) released(r *relay) {
	l.clientsMu.Lock()
	c := l.clients[r.from]
	last := c != nil && c.relay == r
	if last {
		delete(l.clients, r.from)
	}
	l.clientsMu.Unlock()
	if last && l.holds != nil {
		l.holds(r.from, false)
	}
}

// end takes away what a client has allocated, when its connection is gone. It
// is called by the goroutine that reads, when pion is at work on nothing.
func (l *listener) end(from netip.AddrPort) {
	l.clientsMu.Lock()
	c := l.clients[from]
	l.clientsMu.Unlock()
	if c != nil {
		_ = c.relay.Close()
	}
}

// datagrams is a UDP socket for pion.
type datagrams struct {
	net.PacketConn
	listener
}

func newDatagrams(s *Server, c net.PacketConn) *datagrams {
	if c, ok := c.(interface{ SetReadBuffer(n int) error }); ok {
		_ = c.SetReadBuffer(buffer) // the system may not let us
	}
	return &datagrams{PacketConn: c, listener: listener{server: s, clients: map[netip.AddrPort]*client{}}}
}

func (d *datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				time.Sleep(time.Millisecond) // what the system tells of packets that were sent
				continue
			}
			return n, from, err
		}
		if d.admits(b[:n], addrPort(from), time.Now()) {
			return n, from, nil
		}
	}
}

func (d *datagrams) WriteTo(b []byte, to net.Addr) (int, error) {
	d.answered(b, addrPort(to), time.Now())
	return d.PacketConn.WriteTo(b, to)
}
