package depacket

import (
	"encoding/binary"
	"time"

	"github.com/roomtape/roomtape/media"
)

// maxBlocks bounds how many frames one RED packet carries.
const maxBlocks = 32

// redBlock is one frame in a RED packet.
type redBlock struct {
	payloadType uint8
	offset      uint32 // how long before the packet's timestamp it begins
	data        []byte
}

// parseRED takes the payload of a RED packet (RFC 2198 §3) apart: the last block
// is the packet's own frame, those before repeat frames of earlier packets. ok
// is false when it can't be right.
func parseRED(b []byte, blocks *[maxBlocks]redBlock) (n int, ok bool) {
	var sizes [maxBlocks]int
	for len(b) > 0 && b[0]&0x80 != 0 { // F: another header follows
		if n == maxBlocks-1 || len(b) < 4 {
			return 0, false
		}
		v := binary.BigEndian.Uint32(b)
		blocks[n] = redBlock{payloadType: uint8(v>>24) & 0x7f, offset: v >> 10 & 0x3fff}
		sizes[n] = int(v & 0x3ff)
		n++
		b = b[4:]
	}
	if len(b) == 0 {
		return 0, false
	}
	blocks[n] = redBlock{payloadType: b[0] & 0x7f}
	b = b[1:]
	for i, size := range sizes[:n] {
		if size > len(b) {
			return 0, false
		}
		blocks[i].data, b = b[:size], b[size:]
	}
	blocks[n].data = b
	return n + 1, true
}

// red takes a RED packet: it gives the frame that is its own, and before it those
// that it repeats of packets that were lost right before it.
func (o *opus) red(p *media.Packet, lost int) {
	n, ok := parseRED(p.Payload, &o.blocks)
	if !ok {
		o.stats.Packets.Malformed++
		o.drop(1)
		p.Release()
		return
	}
	if lost > 0 && o.placed {
		o.recover(p, o.blocks[:n-1], lost)
	}
	own := &o.blocks[n-1]
	switch {
	case len(own.data) == 0:
		o.stats.Packets.Padding++
	case !o.carries(own.payloadType):
		o.stats.Packets.Foreign++
	default:
		p.Payload = own.data
		o.frame(p)
		return
	}
	p.Release()
}

// carries tells whether a block of this payload type is a frame.
func (o *opus) carries(pt uint8) bool {
	c, ok := o.cfg.Codecs[pt]
	return (ok && c == media.Opus || o.cfg.Codecs == nil) && !o.cfg.RED[pt]
}

// recover gives the frames of lost packets that p repeats. How many packets ago
// a block was sent is not told: one that begins after the frame given last was
// lost.
func (o *opus) recover(p *media.Packet, blocks []redBlock, lost int) {
	var usable [maxBlocks]*redBlock
	n := 0
	after := uint32(0) // how long before p the block taken before begins
	for i := len(blocks) - 1; i >= 0 && n < lost; i-- {
		b := &blocks[i]
		if b.offset <= after || int32(p.Timestamp-b.offset-o.latest) <= 0 || len(b.data) > o.cfg.MaxFrameSize || !o.carries(b.payloadType) {
			continue
		}
		if _, ok := media.OpusDuration(b.data); ok {
			after = b.offset
			usable[n] = b
			n++
		}
	}
	o.stats.Recovered += uint64(n)
	o.lost -= n
	for i := n - 1; i >= 0; i-- {
		b := usable[i]
		at := p.Timestamp - b.offset
		d, _ := media.OpusDuration(b.data)
		missing := o.lost
		if at == o.end { // it goes on from the frame before: those come later
			o.lost = 0
		} else {
			missing = 0
		}
		o.put(Frame{
			Data: append(o.buffer(), b.data...), Timestamp: at, Duration: d, Key: true,
			// Its own packet would have come that much earlier.
			Arrival: p.Arrival.Add(-time.Duration(b.offset) * time.Second / 48000), Recovered: true,
		})
		o.lost = missing
	}
}
