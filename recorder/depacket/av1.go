package depacket

import (
	"bytes"

	"github.com/roomtape/roomtape/media"
)

// maxSequence is how long a sequence header may be, in bytes.
const maxSequence = 1024

// av1 depacketizes AV1 (AOMedia "RTP Payload Format For AV1", v1.0). A frame is
// a temporal unit with all its layers.
//
// Without a dependency descriptor the payload tells little of what refers to
// what: that a frame is kept for no other, and the temporal layer it is in.
type av1 struct {
	video
	// The sequence header that is known, as an OBU with its size.
	sequence av1Sequence
	obu      []byte
	private  []byte // av1C of the last key frame
	changed  bool   // the sequence header, since

	// Of the open temporal unit:
	pic     picture
	frames  int // frame headers
	shown   bool
	invalid bool
	unknown bool // the sequence header is missing
	headed  bool // it has a sequence header
	tiles   bool // the latest frame header waits for tiles
	width   int
	height  int
	spatial bool // it has spatial layers
	part    []byte
	parting bool   // part is the beginning of an OBU
	header  []byte // of the latest OBU, with its size
}

func newAV1(cfg Config) *av1 {
	return &av1{video: video{assembler: assembler{cfg: cfg}, chain: newChain()}}
}

// The aggregation header (RTP payload format §4.4).
const (
	av1Continues = 0x80 // Z
	av1Continued = 0x40 // Y
)

// parseAV1Payload tells whether a packet's payload can be right.
func parseAV1Payload(b []byte) bool {
	count := int(b[0] >> 4 & 3)
	n := 0
	rest := b[1:]
	for len(rest) > 0 {
		_, after, ok := av1Element(rest, count > 0 && n == count-1)
		if !ok {
			return false
		}
		rest = after
		n++
	}
	return n > 0 && (count == 0 || n == count)
}

// av1Element takes the first OBU element of b; the last one may have no length.
func av1Element(b []byte, last bool) (element, rest []byte, ok bool) {
	if last {
		return b, nil, true
	}
	size, n := leb128(b)
	if n == 0 || size == 0 || size > len(b)-n {
		return nil, nil, false
	}
	return b[n : n+size], b[n+size:], true
}

// leb128 reads a number (AV1 bitstream specification §4.10.5) and gives its size
// in bytes, 0 when it can't be right.
func leb128(b []byte) (v, size int) {
	for i := 0; i < 8 && i < len(b); i++ {
		v |= int(b[i]&0x7f) << (7 * i)
		if v > 1<<30 {
			return 0, 0
		}
		if b[i]&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}

func appendLEB128(b []byte, v int) []byte {
	for v > 0x7f {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// Push implements Depacketizer.
func (v *av1) Push(p *media.Packet, lost int) {
	if !v.arrived(p, lost) {
		return
	}
	if !parseAV1Payload(p.Payload) {
		v.malformed(p)
		return
	}
	if v.cur.open && p.Timestamp != v.cur.timestamp {
		// With the next packet here, one without a marker is complete too.
		v.end(v.gap == 0)
	}
	switch {
	case !v.cur.open:
		v.open(p)
	case v.gap > 0:
		v.cur.broken = true
	}
	v.elements(p.Payload)
	marker := p.Marker
	v.count(p)
	if marker {
		v.end(true)
	}
}

// open begins a temporal unit.
func (v *av1) open(p *media.Packet) {
	v.begin(p, true)
	v.pic = picture{droppable: true}
	v.frames, v.width, v.height = 0, 0, 0
	v.shown, v.invalid, v.unknown, v.headed, v.tiles, v.spatial = false, false, false, false, false, false
	v.part, v.parting = v.part[:0], false
}

// elements adds the OBU elements of a payload.
func (v *av1) elements(b []byte) {
	first, continued, count := b[0]&av1Continues != 0, b[0]&av1Continued != 0, int(b[0]>>4&3)
	if first != v.parting {
		v.cur.broken = true // the rest of an OBU is missing, or its beginning
		v.part, v.parting = v.part[:0], false
	}
	b = b[1:]
	for n := 1; len(b) > 0; n++ {
		element, rest, _ := av1Element(b, n == count)
		b = rest
		partly := len(rest) == 0 && continued
		switch {
		case v.cur.broken:
			// Nothing will come of it, but its layer says whether that matters.
			if !first {
				v.layer(element)
			}
			v.parting = partly
		case first || partly:
			if len(v.part)+len(element) > v.cfg.MaxFrameSize {
				v.cur.oversize = true
			} else {
				v.part = append(v.part, element...)
			}
			if v.parting = partly; !partly {
				v.unit(v.part)
				v.part = v.part[:0]
			}
		default:
			v.unit(element)
		}
		first = false
	}
}

// layer notes the layer of an OBU, if it says.
func (v *av1) layer(obu []byte) {
	if len(obu) < 2 || obu[0]&4 == 0 {
		return
	}
	switch obu[0] >> 3 & 15 {
	case obuFrame, obuFrameHeader, obuTileGroup, obuRedundant:
		v.pic.hasTID, v.pic.tid = true, obu[1]>>5
		v.spatial = v.spatial || obu[1]>>3&3 > 0
	}
}

// unit adds a whole OBU, with its size.
func (v *av1) unit(obu []byte) {
	head := 1 + int(obu[0]>>2&1)
	if obu[0]&0x80 != 0 || len(obu) < head { // obu_forbidden_bit
		v.invalid = true
		return
	}
	payload := obu[head:]
	if obu[0]&2 != 0 { // obu_has_size_field
		size, n := leb128(payload)
		if n == 0 || size > len(payload)-n {
			v.invalid = true
			return
		}
		payload = payload[n : n+size]
	}
	v.header = append(v.header[:0], obu[:head]...)
	v.header[0] |= 2
	v.header = appendLEB128(v.header, len(payload))
	if v.keep(obu[0]>>3&15, payload) {
		v.layer(obu)
		v.write(v.header)
		v.write(payload)
	}
}

// keep notes what an OBU says, and tells whether it belongs in the file.
// Delimiters, padding and tile lists do not, and what is not known neither.
func (v *av1) keep(kind byte, payload []byte) bool {
	switch kind {
	case obuSequence:
		v.keepSequence(payload)
	case obuFrame, obuFrameHeader:
		v.frame(payload, kind == obuFrameHeader)
	case obuTileGroup:
		v.tiles = false
	case obuMetadata, obuRedundant:
	default:
		return false
	}
	return true
}

// keepSequence keeps a sequence header; v.header has what comes before it.
func (v *av1) keepSequence(payload []byte) {
	v.headed = true
	size := len(v.header) + len(payload)
	if size == len(v.obu) && bytes.Equal(v.obu[len(v.header):], payload) {
		return
	}
	var s av1Sequence
	if size > maxSequence || !parseAV1Sequence(payload, &s) {
		v.invalid = true
		return
	}
	v.sequence = s
	v.obu = append(append(v.obu[:0], v.header...), payload...)
	v.changed = true
}

// frame notes what a frame header says.
func (v *av1) frame(payload []byte, alone bool) {
	if len(v.obu) == 0 {
		v.unknown = true
		v.frames++
		return
	}
	var f av1Frame
	if v.tiles || !parseAV1Frame(payload, &v.sequence, &f) {
		v.invalid = true
	}
	v.tiles = alone && !f.existing
	if v.frames == 0 {
		v.pic.key = f.key
		v.width, v.height = f.width, f.height
	}
	v.frames++
	v.shown = v.shown || f.shown
	v.pic.droppable = v.pic.droppable && f.droppable
}

// end ends the open temporal unit; whole tells whether its last packet is here.
func (v *av1) end(whole bool) {
	c := &v.cur
	c.broken = c.broken || !whole || v.parting
	v.part, v.parting = v.part[:0], false
	valid := !v.invalid && !v.tiles && v.frames > 0
	usable := !c.broken && !c.oversize && valid
	key := v.pic.key
	v.pic.key = false
	if v.frames == 0 || v.headed || key {
		v.pic.droppable = false
	}
	if v.headed { // what it says holds for all layers
		v.pic.hasTID = false
		v.links.known = false
	}
	var f Frame
	switch {
	case v.unknown || usable && v.headed && v.changed && !key:
		// Nobody can decode it without the sequence header, nor what follows.
		v.starve()
		v.pic.droppable = false
	case usable && key:
		v.pic.key, f.Key = true, true
		f.Width, f.Height = v.sequence.width, v.sequence.height
		if v.width > 0 && !v.spatial {
			f.Width, f.Height = v.width, v.height
		}
		if v.changed {
			v.changed = false
			v.private = v.sequence.config(v.obu)
		}
		if !v.headed {
			v.lead()
		}
	}
	f.Hidden = !v.shown
	f.Droppable = v.pic.droppable
	f.Private = v.private
	v.finish(f, &v.pic, valid)
}

// lead puts the sequence header in front of a key frame that came without.
func (v *av1) lead() {
	out := append(v.buffer(), v.obu...)
	out = append(out, v.cur.data...)
	v.Recycle(v.cur.data)
	v.cur.data = out
}

// Restart implements Depacketizer.
func (v *av1) Restart() {
	v.close()
	v.restart()
}

// Flush implements Depacketizer. Without its marker, the last temporal unit
// can't be known to be complete.
func (v *av1) Flush() {
	v.close()
	v.chain = newChain()
	v.gap = 0
}

func (v *av1) close() {
	if v.cur.open {
		v.end(false)
	}
}
