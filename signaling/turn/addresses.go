package turn

import (
	"net/netip"
	"slices"
)

// denied are the networks that nothing is relayed to: what is not reached over
// the internet from everywhere (the IANA special-purpose registries, RFC 6890),
// or may lead to it.
var denied = prefixes(
	"0.0.0.0/8",       // unspecified, this network
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // carrier-grade NAT
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, and what clouds tell their machines
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays, which are no more
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"::/8",            // unspecified, loopback, IPv4 in several notations
	"64:ff9b::/96",    // NAT64
	"64:ff9b:1::/48",  // NAT64 of one's own
	"100::/64",        // discard
	"2001::/23",       // protocol assignments, Teredo among them
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4
	"3fff::/20",       // documentation
	"5f00::/16",       // segment routing
	"fc00::/7",        // unique local
	"fe80::/10",       // link-local
	"fec0::/10",       // site-local, as was
	"ff00::/8",        // multicast
)

func prefixes(texts ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		p[i] = netip.MustParsePrefix(t)
	}
	return p
}

// Denied tells whether nothing is relayed to an address unless its network is
// allowed. An IPv4 address in IPv6 notation is that IPv4 address.
func Denied(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsValid() || a.Zone() != "" || within(denied, a)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// permits tells whether clients may send to an address.
func (s *Server) permits(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && (within(s.allow, a) || !Denied(a))
}

// source is what limits by address count: an IPv4 address, or the /64 of an IPv6
// address, within which a client has as many as it likes.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
