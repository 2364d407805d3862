package dump

import (
	"encoding/binary"

	"github.com/roomtape/roomtape/signaling"
)

// Types of RTCP packets (RFC 3550 §12.1).
const (
	rtcpSenderReport = 200
	rtcpDescription  = 202
	rtcpGoodbye      = 203

	itemName    = 1
	maxNameSize = 255
)

// control is what a compound RTCP packet says. Functions that are nil are not
// called.
type control struct {
	report func(ssrc uint32, r signaling.SenderReport)
	bye    func(ssrc uint32)
	// name's argument points into the packet.
	name func(ssrc uint32, name []byte)
}

// read goes through a compound packet (RFC 3550 §6.1) until its end or damage.
func (c control) read(b []byte) {
	for len(b) >= 4 && b[0]>>6 == 2 {
		size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			break
		}
		c.packet(b[:size])
		b = b[size:]
	}
}

func (c control) packet(b []byte) {
	count := int(b[0] & 0x1f)
	switch b[1] {
	case rtcpSenderReport:
		if len(b) >= 28 && c.report != nil {
			c.report(binary.BigEndian.Uint32(b[4:]), signaling.SenderReport{
				NTP: binary.BigEndian.Uint64(b[8:]), RTP: binary.BigEndian.Uint32(b[16:]),
			})
		}
	case rtcpGoodbye:
		for i := range count {
			if at := 4 + 4*i; at+4 <= len(b) && c.bye != nil {
				c.bye(binary.BigEndian.Uint32(b[at:]))
			}
		}
	case rtcpDescription:
		if c.name != nil {
			c.chunks(b[4:], count)
		}
	}
}

// chunks reads a source description (RFC 3550 §6.5).
func (c control) chunks(b []byte, count int) {
	for range count {
		if len(b) < 8 {
			return
		}
		ssrc := binary.BigEndian.Uint32(b)
		at := 4
		for at+2 <= len(b) && b[at] != 0 {
			end := at + 2 + int(b[at+1])
			if end > len(b) {
				return
			}
			if b[at] == itemName {
				c.name(ssrc, b[at+2:end])
			}
			at = end
		}
		at = min((at+4)&^3, len(b)) // a zero ends the list, then it is padded
		b = b[at:]
	}
}
