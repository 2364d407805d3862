package dump

import (
	"encoding/binary"
	"net/netip"
)

// What packets come in that pass a TURN relay.
const (
	viaChannel    = "TURN channel data"
	viaIndication = "TURN indications"
)

// STUN's messages and attributes (RFC 8489 §5, RFC 8656 §17, §18).
const (
	stunHeader        = 20
	turnBind          = 0x0009 // a ChannelBind request
	turnSend          = 0x0016 // indications
	turnData          = 0x0017
	attrChannel       = 0x000c
	attrPeer          = 0x0012 // XOR-PEER-ADDRESS
	attrData          = 0x0013
	maxTURNChannels   = 4096
	familyIP4         = 1
	familyIP6         = 2
	channelDataHeader = 4
)

// relays knows the channels of TURN relays. The zero value is ready for use.
type relays struct {
	channels map[turnChannel]netip.AddrPort
}

// turnChannel is a channel between a client and a server (RFC 8656 §12).
type turnChannel struct {
	client, server netip.AddrPort
	number         uint16
}

// unwrap makes a datagram that carries another one through a relay the one that
// is carried: of Send and Data indications (RFC 8656 §11) and ChannelData (§12.4),
// if it is of a kind that media has. Its way is between client and peer then; the
// peer of a channel whose binding is not in the dump is the server.
func (t *relays) unwrap(d *datagram) {
	b := d.data
	switch classify(b) {
	case isTURN:
		inner := b[channelDataHeader : channelDataHeader+int(binary.BigEndian.Uint16(b[2:]))]
		if classify(inner) == isElse {
			return
		}
		number := binary.BigEndian.Uint16(b)
		if peer, ok := t.channels[turnChannel{d.from, d.to, number}]; ok {
			d.to = peer
		} else if peer, ok := t.channels[turnChannel{d.to, d.from, number}]; ok {
			d.from = peer
		}
		d.data, d.via = inner, viaChannel
	case isSTUN:
		if binary.BigEndian.Uint32(b[4:]) == stunCookie {
			t.message(d)
		}
	}
}

func (t *relays) message(d *datagram) {
	kind := binary.BigEndian.Uint16(d.data)
	if kind != turnBind && kind != turnSend && kind != turnData {
		return
	}
	var peer netip.AddrPort
	var inner []byte
	var number uint16
	for rest := d.data[stunHeader:]; len(rest) >= 4; {
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if size > len(rest)-4 {
			break
		}
		value := rest[4 : 4+size]
		switch attribute := binary.BigEndian.Uint16(rest); {
		case attribute == attrPeer:
			peer = xorAddress(value, d.data[4:stunHeader])
		case attribute == attrData:
			inner = value
		case attribute == attrChannel && size == 4:
			number = binary.BigEndian.Uint16(value)
		}
		rest = rest[min(4+(size+3)&^3, len(rest)):]
	}
	if !peer.IsValid() {
		return
	}
	if kind == turnBind {
		k := turnChannel{d.from, d.to, number}
		if _, ok := t.channels[k]; ok || len(t.channels) < maxTURNChannels {
			if t.channels == nil {
				t.channels = map[turnChannel]netip.AddrPort{}
			}
			t.channels[k] = peer
		}
		return
	}
	if classify(inner) == isElse {
		return
	}
	if kind == turnSend {
		d.to = peer
	} else {
		d.from = peer
	}
	d.data, d.via = inner, viaIndication
}

// xorAddress reads XOR-PEER-ADDRESS (RFC 8489 §14.2); key is the cookie and the
// transaction's id.
func xorAddress(b, key []byte) netip.AddrPort {
	if len(b) < 4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(b[2:]) ^ stunCookie>>16
	address := make([]byte, 0, 16)
	for i, c := range b[4:min(len(b), 20)] {
		address = append(address, c^key[i])
	}
	if len(address) == 4 && b[1] == familyIP4 || len(address) == 16 && b[1] == familyIP6 {
		ip, _ := netip.AddrFromSlice(address)
		return netip.AddrPortFrom(ip, port)
	}
	return netip.AddrPort{}
}
