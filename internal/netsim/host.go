package netsim

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/vnet"
)

// Host adds a host with an address of its own. It goes to peer.Config.Net or
// pion's SettingEngine.SetNet.
func (n *Net) Host() transport.Net { return n.host() }

// Move gives a host that Host made another address in place of the one it has:
// from now on nothing goes out by that, and what is sent to it is lost.
func (n *Net) Move(h transport.Net) {
	n.t.Helper()
	v := n.vnet()
	moving := h.(*host)
	moving.mu.Lock()
	defer moving.mu.Unlock()
	moving.now = v
}

func (n *Net) host() *host {
	n.t.Helper()
	v := n.vnet()
	return &host{Net: v, n: n, now: v}
}

func (n *Net) vnet() *vnet.Net {
	n.t.Helper()
	v, err := vnet.NewNet(&vnet.NetConfig{})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.router.AddNet(v); err != nil {
		n.t.Fatal(err)
	}
	return v
}

// host is a vnet host that treats what it sends as Config says. (vnet's own
// jitter sleeps with a lock held, which stops a bubble's clock.)
type host struct {
	*vnet.Net // as it was at first: resolves names
	n         *Net
	gone      atomic.Bool // nothing that it sends arrives any more

	mu  sync.Mutex
	now *vnet.Net // with its present address
}

func (h *host) net() *vnet.Net {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *host) Interfaces() ([]*transport.Interface, error) { return h.net().Interfaces() }

func (h *host) InterfaceByName(name string) (*transport.Interface, error) {
	return h.net().InterfaceByName(name)
}

func (h *host) ListenPacket(network, address string) (net.PacketConn, error) {
	v := h.net()
	c, err := v.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(transport.UDPConn); ok {
		return &conn{UDPConn: u, h: h, of: v}, nil
	}
	return c, nil
}

func (h *host) ListenUDP(network string, address *net.UDPAddr) (transport.UDPConn, error) {
	v := h.net()
	c, err := v.ListenUDP(network, address)
	if err != nil {
		return nil, err
	}
	return &conn{UDPConn: c, h: h, of: v}, nil
}

type conn struct {
	transport.UDPConn
	h  *host
	of *vnet.Net // whose address it is bound to
}

// dead tells whether the conn's address is none of the host's any more.
func (c *conn) dead() bool { return c.h.gone.Load() || c.h.net() != c.of }

func (c *conn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		size, from, err := c.UDPConn.ReadFrom(b)
		if err != nil || c.h.net() == c.of {
			return size, from, err
		}
	}
}

func (c *conn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.dead() {
		return len(b), nil
	}
	wait, ok := c.h.n.queued(len(b), to)
	if !ok {
		return len(b), nil
	}
	if wait > 0 {
		held := append([]byte(nil), b...)
		time.AfterFunc(wait, func() { _, _ = c.send(held, to) })
		return len(b), nil
	}
	return c.send(b, to)
}

func (c *conn) send(b []byte, to net.Addr) (int, error) {
	f := c.h.n.fate(b)
	if f.lost || len(b) == 0 {
		return len(b), nil
	}
	if f.corrupt {
		b = c.h.n.damaged(b)
	}
	if f.twice {
		if _, err := c.UDPConn.WriteTo(b, to); err != nil {
			return 0, err
		}
	}
	if f.late > 0 {
		held := append([]byte(nil), b...)
		time.AfterFunc(f.late, func() { _, _ = c.UDPConn.WriteTo(held, to) })
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, to)
}
