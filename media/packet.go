package media

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// MaxPacketSize is the largest RTP packet, in bytes, that is recorded: all that
// fits into a UDP datagram on any link a peer is likely to have.
const MaxPacketSize = 9216

// Errors of Packet.Unmarshal. They are values, so that untrusted input costs no
// allocation.
var (
	ErrShortPacket = errors.New("media: RTP packet is cut short")
	ErrVersion     = errors.New("media: not an RTP packet: version is not 2")
	ErrPadding     = errors.New("media: RTP padding is longer than the payload")
	ErrLongPacket  = errors.New("media: RTP packet is longer than MaxPacketSize")
)

// Packet is one RTP packet (RFC 3550 §5.1) with the time it arrived.
//
// A packet from NewPacket has one owner at a time, who calls Release or hands
// it on; after that neither the packet nor its Payload may be touched.
type Packet struct {
	// Arrival is when the packet entered the program, stamped once. In a
	// replay it is the time in the dump.
	Arrival time.Time

	SSRC           uint32
	Timestamp      uint32
	SequenceNumber uint16
	PayloadType    uint8
	Marker         bool
	// Recovered is set when the packet came as a retransmission (RFC 4588), and
	// by the jitter buffer when packets that follow it came before it: its
	// arrival does not tell when it was sent.
	Recovered bool

	// Payload is what follows the header, without padding; it is empty in a
	// packet that is nothing but padding. It points into the packet's buffer.
	Payload []byte

	extensions []byte
	profile    uint16
	buf        []byte
	head       int // size of the header in buf
}

var packets = sync.Pool{New: func() any { return &Packet{buf: make([]byte, 0, 1500)} }}

// NewPacket copies b, a whole RTP packet, and reads its header. The caller owns
// the packet that is returned, and still owns b. It is safe for concurrent use.
func NewPacket(b []byte, arrival time.Time) (*Packet, error) {
	if len(b) > MaxPacketSize {
		return nil, ErrLongPacket
	}
	p := packets.Get().(*Packet)
	buf := append(p.buf[:0], b...)
	*p = Packet{Arrival: arrival}
	if err := p.Unmarshal(buf); err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}

// Release gives the packet's memory back. The caller must own it.
func (p *Packet) Release() {
	buf := p.buf
	*p = Packet{buf: buf[:0]}
	packets.Put(p)
}

// Unmarshal reads the RTP packet b into p, leaving Arrival and Recovered as
// they are. It keeps b: Payload and what Extension returns point into it. Input
// that is no RTP packet gives one of the errors above and leaves p unspecified.
func (p *Packet) Unmarshal(b []byte) error {
	p.buf = b
	if len(b) < 12 {
		return ErrShortPacket
	}
	if b[0]>>6 != 2 {
		return ErrVersion
	}
	p.Marker = b[1]&0x80 != 0
	p.PayloadType = b[1] & 0x7f
	p.SequenceNumber = binary.BigEndian.Uint16(b[2:])
	p.Timestamp = binary.BigEndian.Uint32(b[4:])
	p.SSRC = binary.BigEndian.Uint32(b[8:])

	n := 12 + 4*int(b[0]&0x0f)
	p.extensions, p.profile = nil, 0
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return ErrShortPacket
		}
		p.profile = binary.BigEndian.Uint16(b[n:])
		size := 4 * int(binary.BigEndian.Uint16(b[n+2:]))
		n += 4
		if len(b) < n+size {
			return ErrShortPacket
		}
		p.extensions = b[n : n+size]
		n += size
	}
	if len(b) < n {
		return ErrShortPacket
	}
	p.head = n
	end := len(b)
	if b[0]&0x20 != 0 {
		pad := int(b[end-1])
		if pad == 0 || end-pad < n {
			return ErrPadding
		}
		end -= pad
	}
	p.Payload = b[n:end:end]
	return nil
}

// Append appends the packet as it is on the wire (RFC 3550 §5.1) and returns the
// longer slice: a header with what the fields say, and with the contributing
// sources and extensions that it came with, and Payload. Padding is left out.
func (p *Packet) Append(dst []byte) []byte {
	at := len(dst)
	if p.head != 0 {
		dst = append(dst, p.buf[:p.head]...)
		dst[at] &^= 0x20
	} else {
		dst = append(dst, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	dst[at+1] = p.PayloadType & 0x7f
	if p.Marker {
		dst[at+1] |= 0x80
	}
	binary.BigEndian.PutUint16(dst[at+2:], p.SequenceNumber)
	binary.BigEndian.PutUint32(dst[at+4:], p.Timestamp)
	binary.BigEndian.PutUint32(dst[at+8:], p.SSRC)
	return append(dst, p.Payload...)
}

// Extension gives the data of the header extension element with the given id,
// in the one-byte or two-byte form (RFC 8285 §4.2, §4.3), or nil when it is
// absent. It points into the packet's buffer.
func (p *Packet) Extension(id uint8) []byte {
	ext := p.extensions
	switch {
	case p.profile == 0xbede:
		for len(ext) > 0 {
			if ext[0] == 0 { // padding between elements
				ext = ext[1:]
				continue
			}
			got, size := ext[0]>>4, int(ext[0]&0x0f)+1
			if got == 15 || len(ext) < 1+size {
				return nil
			}
			if got == id {
				return ext[1 : 1+size]
			}
			ext = ext[1+size:]
		}
	case p.profile&0xfff0 == 0x1000:
		for len(ext) > 0 {
			if ext[0] == 0 {
				ext = ext[1:]
				continue
			}
			if len(ext) < 2 || len(ext) < 2+int(ext[1]) {
				return nil
			}
			if ext[0] == id {
				return ext[2 : 2+int(ext[1])]
			}
			ext = ext[2+int(ext[1]):]
		}
	}
	return nil
}
