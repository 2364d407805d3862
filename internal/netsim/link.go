package netsim

import (
	"net"
	"net/netip"
	"time"

	"github.com/pion/transport/v4"
)

// linkQueue is how much time's worth of packets waits before a slow link that
// Limit made; what comes when it is full is lost.
const linkQueue = 300 * time.Millisecond

// link is a slow way to a host. It is guarded by Net.mu.
type link struct {
	rate  float64 // bytes a second
	loss  float64
	queue time.Duration
	free  time.Time // when all that waits has gone through
	count LinkCount
}

// LinkCount is what came to a link, and what of that was lost before it, in bytes
// with headers.
type LinkCount struct{ Offered, Lost int }

// Limit lets what is sent to a host go through a link of so many bit/s, before
// which packets queue, and on which they are lost with the given probability
// beside Config's. 0 bit/s takes the limit away.
func (n *Net) Limit(h transport.Net, bitsPerSecond int, loss float64) {
	n.t.Helper()
	n.LimitQueue(h, bitsPerSecond, loss, linkQueue)
}

// LimitQueue is Limit with a queue of so much time.
func (n *Net) LimitQueue(h transport.Net, bitsPerSecond int, loss float64, queue time.Duration) {
	n.t.Helper()
	for _, a := range n.addresses(h) {
		n.mu.Lock()
		if n.links == nil {
			n.links = map[netip.Addr]*link{}
		}
		if bitsPerSecond == 0 {
			delete(n.links, a)
		} else {
			n.links[a] = &link{rate: float64(bitsPerSecond) / 8, loss: loss, queue: queue}
		}
		n.mu.Unlock()
	}
}

// LinkCount gives what came to a host's link so far.
func (n *Net) LinkCount(h transport.Net) (c LinkCount) {
	n.t.Helper()
	for _, a := range n.addresses(h) {
		n.mu.Lock()
		if l := n.links[a]; l != nil {
			c.Offered += l.count.Offered
			c.Lost += l.count.Lost
		}
		n.mu.Unlock()
	}
	return c
}

func (n *Net) addresses(h transport.Net) (out []netip.Addr) {
	n.t.Helper()
	interfaces, err := h.Interfaces()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			n.t.Fatal(err)
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err == nil {
				out = append(out, prefix.Addr())
			}
		}
	}
	return out
}

// queued gives how long a packet waits before the link to its destination, and
// whether it gets through.
func (n *Net) queued(size int, to net.Addr) (wait time.Duration, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, udp := to.(*net.UDPAddr)
	if !udp || len(n.links) == 0 {
		return 0, true
	}
	ip, _ := netip.AddrFromSlice(u.IP)
	l := n.links[ip.Unmap()]
	if l == nil {
		return 0, true
	}
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	wait = l.free.Sub(now)
	const headers = 28 // of IPv4 and UDP
	l.count.Offered += size + headers
	if wait > l.queue || n.rand.Float64() < l.loss {
		l.count.Lost += size + headers
		return 0, false
	}
	l.free = l.free.Add(time.Duration(float64(size+headers) / l.rate * float64(time.Second)))
	return l.free.Sub(now), true
}
