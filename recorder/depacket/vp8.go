package depacket

import "github.com/roomtape/roomtape/media"

// vp8 depacketizes VP8 (RFC 7741).
type vp8 struct {
	video
	pic picture // of the open frame
}

func newVP8(cfg Config) *vp8 {
	return &vp8{video: video{assembler: assembler{cfg: cfg}, chain: newChain()}}
}

// vp8Descriptor is the VP8 payload descriptor (RFC 7741 §4.2).
type vp8Descriptor struct {
	picture
	start bool // S is set and PID is 0: the first packet of a frame
}

// parseVP8Descriptor reads a payload's descriptor and gives its size. ok is
// false when the payload is cut short or has nothing after the descriptor.
func parseVP8Descriptor(b []byte, d *vp8Descriptor) (size int, ok bool) {
	*d = vp8Descriptor{}
	if len(b) < 2 {
		return 0, false
	}
	d.start = b[0]&0x17 == 0x10 // S, PID
	d.droppable = b[0]&0x20 != 0
	n := 1
	if b[0]&0x80 != 0 { // X
		x := b[1]
		n = 2
		if x&0x80 != 0 { // I
			if len(b) <= n {
				return 0, false
			}
			d.hasID, d.id, d.idMask = true, uint16(b[n]), 0x7f
			n++
			if b[n-1]&0x80 != 0 { // M
				if len(b) <= n {
					return 0, false
				}
				d.id, d.idMask = (d.id&0x7f)<<8|uint16(b[n]), 0x7fff
				n++
			}
		}
		if x&0x40 != 0 { // L
			if len(b) <= n {
				return 0, false
			}
			d.hasTL0, d.tl0 = x&0x20 != 0, b[n] // TL0PICIDX means nothing without a TID
			n++
		}
		if x&0x30 != 0 { // T or K
			if len(b) <= n {
				return 0, false
			}
			if x&0x20 != 0 {
				d.hasTID, d.tid = true, b[n]>>6
				d.baseOnly = b[n]&0x20 != 0
			}
			n++
		}
	}
	return n, len(b) > n
}

// Push implements Depacketizer.
func (v *vp8) Push(p *media.Packet, lost int) {
	if !v.arrived(p, lost) {
		return
	}
	var d vp8Descriptor
	size, ok := parseVP8Descriptor(p.Payload, &d)
	if !ok {
		v.malformed(p)
		return
	}
	if v.cur.open && (p.Timestamp != v.cur.timestamp || d.start || d.id != v.pic.id) {
		// With the next packet here, a frame without a marker is complete too.
		v.end(v.gap == 0)
	}
	if !v.cur.open {
		v.begin(p, d.start)
		v.pic = d.picture
	} else if v.gap > 0 {
		v.cur.broken = true
	}
	marker := p.Marker
	v.add(p, p.Payload[size:])
	if marker {
		v.end(true)
	}
}

// Breaks implements Foreseer.
func (v *vp8) Breaks(p *media.Packet, lost int) bool {
	var d vp8Descriptor
	size, ok := parseVP8Descriptor(p.Payload, &d)
	if !ok || v.chain.starving {
		return true
	}
	c := v.chain
	gap := v.gap + lost
	if v.cur.open {
		c.next(&v.pic, v.cur.gap, false)
		if p.Timestamp == v.cur.timestamp && !d.start {
			return c.starving
		}
	}
	d.key = d.start && p.Payload[size]&1 == 0
	c.next(&d.picture, gap, d.start)
	return c.starving
}

// end ends the open frame; whole tells whether its last packet is here.
func (v *vp8) end(whole bool) {
	v.cur.broken = v.cur.broken || !whole
	var f Frame
	valid := v.cur.broken || v.cur.oversize || parseVP8Header(v.cur.data, &f)
	v.pic.key = f.Key
	f.Droppable = v.pic.droppable && !f.Key
	v.finish(f, &v.pic, valid)
}

// parseVP8Header reads what a frame's header says (RFC 6386 §9.1) into f, and
// tells whether it can be right.
func parseVP8Header(b []byte, f *Frame) bool {
	if len(b) < 3 {
		return false
	}
	tag := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	f.Key = tag&1 == 0
	f.Hidden = tag>>4&1 == 0
	if tag>>1&7 > 3 { // version
		return false
	}
	size := 3
	if f.Key {
		size = 10
		if len(b) < size || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
			return false
		}
		f.Width = int(b[6]) | int(b[7]&0x3f)<<8
		f.Height = int(b[8]) | int(b[9]&0x3f)<<8
		if f.Width == 0 || f.Height == 0 {
			return false
		}
	}
	// The first partition must be there, and not be empty.
	first := int(tag >> 5)
	return first > 0 && size+first <= len(b)
}

// Restart implements Depacketizer.
func (v *vp8) Restart() {
	v.close()
	v.restart()
}

// Flush implements Depacketizer. Without its marker, the last frame can't be
// known to be complete.
func (v *vp8) Flush() {
	v.close()
	v.chain = newChain()
	v.gap = 0
}

func (v *vp8) close() {
	if v.cur.open {
		v.end(false)
	}
}
