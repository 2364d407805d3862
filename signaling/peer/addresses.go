package peer

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"
)

// addressesEvery is how often a factory looks whether the machine's addresses
// have changed. Looking costs some 50 µs.
const addressesEvery = time.Second

// addresses lists the addresses that there are now, in order.
func (f *Factory) addresses() []netip.Addr {
	interfaces, err := f.interfaces()
	if err != nil {
		f.log.Debug("listing local addresses", "err", err)
		return nil
	}
	out := localAddresses(interfaces, f.cfg.Loopback)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func (f *Factory) interfaces() ([]*transport.Interface, error) {
	if f.cfg.Net != nil {
		return f.cfg.Net.Interfaces()
	}
	return systemInterfaces()
}

// look finds out whether the addresses have changed, and tells who minds. A
// machine without any address has nowhere to go, so that is not told.
func (f *Factory) look(conns []*Conn) {
	now := f.addresses()
	if len(now) == 0 || slices.Equal(now, f.known) {
		return
	}
	gone := slices.DeleteFunc(f.known, func(a netip.Addr) bool { return slices.Contains(now, a) })
	f.known = now
	f.log.Info("local addresses have changed", "now", now, "gone", gone)
	if f.cfg.OnAddresses != nil {
		f.cfg.OnAddresses(slices.Clone(now))
	}
	for _, c := range conns {
		if c.opts.OnStranded != nil && c.stranded(gone) {
			c.opts.OnStranded()
		}
	}
}

// stranded tells whether a connection that worked can't go on by the way it
// went, or has no way any more.
func (c *Conn) stranded(gone []netip.Addr) bool {
	c.mu.Lock()
	up, state := c.up, c.state
	c.mu.Unlock()
	if !up || state == Closed {
		return false
	}
	if state != Connected {
		return true
	}
	pair, err := c.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil || pair.Local == nil {
		return false
	}
	base := pair.Local.Address
	if pair.Local.Typ != webrtc.ICECandidateTypeHost {
		base = pair.Local.RelatedAddress
	}
	a, err := netip.ParseAddr(base)
	if err != nil || a.IsUnspecified() {
		return len(gone) > 0 // a relay's socket is bound to no address
	}
	return slices.Contains(gone, a.Unmap())
}

// systemInterfaces lists the machine's interfaces as a transport.Net does.
func systemInterfaces() ([]*transport.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make([]*transport.Interface, 0, len(all))
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		t := transport.NewInterface(i)
		for _, a := range addrs {
			t.AddAddress(a)
		}
		out = append(out, t)
	}
	return out, nil
}

// localAddresses lists the addresses that a peer might reach us at.
func localAddresses(interfaces []*transport.Interface, loopback bool) []netip.Addr {
	var out []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 && !loopback {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has none
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			// Link-local IPv6 addresses need a zone, which candidates lack.
			if ip := p.Addr().Unmap(); !ip.IsLinkLocalUnicast() || ip.Is4() {
				out = append(out, ip)
			}
		}
	}
	return out
}
