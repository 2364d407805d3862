package dump

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// linkType is what a capture's frames begin with (draft-ietf-opsawg-pcaplinktype).
type linkType uint16

const (
	linkNull     linkType = 0 // BSD loopback, host byte order
	linkEthernet linkType = 1
	linkRawBSD   linkType = 12
	linkRawOpen  linkType = 14
	linkPPP      linkType = 9
	linkRaw      linkType = 101
	linkLoop     linkType = 108 // OpenBSD loopback, network byte order
	linkCooked   linkType = 113 // Linux "any"
	linkIPv4     linkType = 228
	linkIPv6     linkType = 229
	linkCooked2  linkType = 276
)

func (l linkType) known() bool {
	switch l {
	case linkNull, linkEthernet, linkRawBSD, linkRawOpen, linkPPP, linkRaw, linkLoop, linkCooked, linkIPv4, linkIPv6, linkCooked2:
		return true
	}
	return false
}

func (l linkType) String() string { return fmt.Sprintf("%d", uint16(l)) }

const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	etherQinQ2 = 0x9100
	etherPPPoE = 0x8864
	maxTags    = 8
)

// network finds the UDP datagram in frames. The zero network is ready for use.
type network struct {
	fragments fragments
	relays    relays
}

// decode reads a frame into d: its addresses and payload, or what else it is.
func (n *network) decode(link linkType, b []byte, d *datagram) {
	ip, other := unlink(link, b)
	if other != "" {
		d.other = other
		return
	}
	n.ip(ip, d, 0)
}

// unlink gives the IP packet in a frame, or what else it is.
func unlink(link linkType, b []byte) (ip []byte, other string) {
	switch link {
	case linkRaw, linkRawBSD, linkRawOpen, linkIPv4, linkIPv6:
		return b, ""
	case linkNull, linkLoop:
		if len(b) < 4 {
			return nil, otherShort
		}
		return b[4:], "" // the IP version is in the packet as well
	case linkPPP:
		return unPPP(b)
	case linkEthernet:
		if len(b) < 14 {
			return nil, otherShort
		}
		return unEther(binary.BigEndian.Uint16(b[12:]), b[14:])
	case linkCooked:
		if len(b) < 16 {
			return nil, otherShort
		}
		return unEther(binary.BigEndian.Uint16(b[14:]), b[16:])
	case linkCooked2:
		if len(b) < 20 {
			return nil, otherShort
		}
		return unEther(binary.BigEndian.Uint16(b), b[20:])
	}
	return nil, "link type " + link.String()
}

const (
	otherShort = "cut frames"
	otherNotIP = "not IP"
)

func unPPP(b []byte) ([]byte, string) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b = b[2:]
	}
	if len(b) < 2 {
		return nil, otherShort
	}
	switch binary.BigEndian.Uint16(b) {
	case 0x21, 0x57:
		return b[2:], ""
	}
	return nil, otherNotIP
}

// unEther passes over VLAN tags and PPPoE.
func unEther(kind uint16, b []byte) ([]byte, string) {
	for range maxTags {
		switch kind {
		case etherIPv4, etherIPv6:
			return b, ""
		case etherVLAN, etherQinQ, etherQinQ2:
			if len(b) < 4 {
				return nil, otherShort
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case etherPPPoE:
			if len(b) < 6 {
				return nil, otherShort
			}
			return unPPP(b[6:])
		default:
			return nil, otherNotIP
		}
	}
	return nil, otherNotIP
}

// IP protocol numbers.
const (
	protoHop      = 0
	protoICMP     = 1
	protoIPIP     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoICMPv6   = 58
	protoDest     = 60

	// maxNested is how many IP headers and IPv6 extension headers a packet may
	// have.
	maxNested = 8
)

func (n *network) ip(b []byte, d *datagram, depth int) {
	if depth > maxNested || len(b) < 20 {
		d.other = otherShort
		return
	}
	switch b[0] >> 4 {
	case 4:
		n.ip4(b, d, depth)
	case 6:
		n.ip6(b, d, depth)
	default:
		d.other = otherNotIP
	}
}

func (n *network) ip4(b []byte, d *datagram, depth int) {
	head := 4 * int(b[0]&0xf)
	if head < 20 || len(b) < head {
		d.other = otherShort
		return
	}
	// A frame may be padded; a total of 0 is left to segmentation offload.
	if total := int(binary.BigEndian.Uint16(b[2:])); total >= head && total < len(b) {
		b = b[:total]
	}
	from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	payload := b[head:]
	if flags := binary.BigEndian.Uint16(b[6:]); flags&0x3fff != 0 {
		key := fragmentKey{from, to, uint32(binary.BigEndian.Uint16(b[4:])), b[9]}
		payload = n.fragments.add(key, 8*int(flags&0x1fff), flags&0x2000 != 0, payload)
		if payload == nil {
			d.other = otherFragment
			return
		}
	}
	n.transport(b[9], from, to, payload, d, depth)
}

func (n *network) ip6(b []byte, d *datagram, depth int) {
	if len(b) < 40 {
		d.other = otherShort
		return
	}
	if total := 40 + int(binary.BigEndian.Uint16(b[4:])); total > 40 && total < len(b) {
		b = b[:total]
	}
	from, to := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	proto, payload := b[6], b[40:]
	for range maxNested {
		size := 8
		switch proto {
		case protoHop, protoRouting, protoDest:
			if len(payload) >= 2 {
				size = 8 + 8*int(payload[1])
			}
		case protoAH:
			if len(payload) >= 2 {
				size = 8 + 4*int(payload[1])
			}
		case protoFragment:
			if len(payload) < 8 {
				d.other = otherShort
				return
			}
			where := binary.BigEndian.Uint16(payload[2:])
			key := fragmentKey{from, to, binary.BigEndian.Uint32(payload[4:]), payload[0]}
			proto = payload[0]
			payload = payload[8:]
			if where&0xfff9 != 0 {
				payload = n.fragments.add(key, int(where&0xfff8), where&1 != 0, payload)
				if payload == nil {
					d.other = otherFragment
					return
				}
			}
			continue
		default:
			n.transport(proto, from, to, payload, d, depth)
			return
		}
		if len(payload) < size {
			d.other = otherShort
			return
		}
		proto, payload = payload[0], payload[size:]
	}
	d.other = otherNotIP
}

func (n *network) transport(proto uint8, from, to netip.Addr, b []byte, d *datagram, depth int) {
	switch proto {
	case protoUDP:
		if len(b) < 8 {
			d.other = otherShort
			return
		}
		d.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(b))
		d.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:]))
		b, size := b[8:], int(binary.BigEndian.Uint16(b[4:]))-8
		if size > len(b) {
			d.other = otherShort
			return
		}
		if size >= 0 { // else it is left to segmentation offload
			b = b[:size]
		}
		d.data = b
		n.relays.unwrap(d)
	case protoIPIP, protoIPv6:
		n.ip(b, d, depth+1)
	case protoICMP, protoICMPv6:
		d.other = "ICMP"
	case protoTCP:
		d.other = "TCP"
	default:
		d.other = fmt.Sprintf("IP protocol %d", proto)
	}
}
