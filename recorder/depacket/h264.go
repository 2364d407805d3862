package depacket

import (
	"bytes"
	"encoding/binary"

	"github.com/roomtape/roomtape/media"
)

// Types of NAL units (ITU-T H.264 table 7-1) and of packets (RFC 6184 §5.2).
const (
	nalSlice      = 1
	nalPartitionA = 2
	nalPartitionC = 4
	nalIDR        = 5
	nalSEI        = 6
	nalSPS        = 7
	nalPPS        = 8
	nalSPSExt     = 13
	nalLast       = 23 // of those that are a packet by themselves
	nalSTAPA      = 24
	nalFUA        = 28
)

// h264 depacketizes H264 (RFC 6184) in the single NAL unit mode and the
// non-interleaved mode.
type h264 struct {
	video
	sets    h264Sets
	private []byte   // avcC of the last keyframe
	active  *h264SPS // of the last keyframe

	// Of the open access unit:
	pic      picture
	slices   int
	told     bool // whether others refer to it is known
	idr      bool
	intra    bool // all slices are
	recovery bool // what follows can be decoded from here on
	first    h264Slice
	between  bool // a slice is one of a B-frame
	invalid  bool
	// unknown: a parameter set is missing.
	unknown bool
	sps     bool // it has parameter sets
	pps     bool
	// fragment is where the NAL unit that is open begins in the data, with its
	// length; -1: none is open.
	fragment int

	// frameNum is that of the last picture that others refer to, -1 before.
	frameNum int
	poc      pictureOrder
	// inBand: the last keyframe came with its parameter sets.
	inBand bool
	// ended is set when a marker ended the access unit with timestamp at.
	ended bool
	at    uint32
	// scattered: the sender sets markers where no access unit ends. marked
	// tells whether the latest packet had one.
	scattered, marked bool
	head              []byte
}

// h264Slice is the beginning of a slice's header (ITU-T H.264 §7.3.3).
type h264Slice struct {
	firstMB, kind, pps, frameNum int
	// order is pic_order_cnt_lsb; -1: it is not known.
	order int
}

func newH264(cfg Config) *h264 {
	v := &h264{video: video{assembler: assembler{cfg: cfg}, chain: newChain()}, fragment: -1, frameNum: -1}
	for _, nal := range cfg.ParameterSets {
		v.sets.store(nal)
	}
	return v
}

// parseH264Payload tells whether a packet's payload can be right.
func parseH264Payload(b []byte) bool {
	if b[0]&0x80 != 0 { // forbidden_zero_bit
		return false
	}
	switch t := b[0] & 0x1f; t {
	case nalSTAPA:
		n := 0
		for b = b[1:]; len(b) > 0; n++ {
			if len(b) < 3 {
				return false
			}
			size := int(binary.BigEndian.Uint16(b))
			if size == 0 || len(b) < 2+size || !isNAL(b[2]) {
				return false
			}
			b = b[2+size:]
		}
		return n > 0
	case nalFUA:
		return len(b) > 2 && isNAL(b[1]&0x1f)
	default: // the interleaved mode is not negotiated
		return len(b) > 1 && isNAL(b[0])
	}
}

func isNAL(header byte) bool {
	t := header & 0x1f
	return header&0x80 == 0 && t > 0 && t <= nalLast
}

// Push implements Depacketizer.
func (v *h264) Push(p *media.Packet, lost int) {
	if !v.arrived(p, lost) {
		return
	}
	b := p.Payload
	if !parseH264Payload(b) {
		v.malformed(p)
		return
	}
	if v.cur.open && p.Timestamp != v.cur.timestamp {
		if v.slices == 0 && !v.cur.broken && v.gap == 0 && v.fragment < 0 {
			// Parameter sets with a timestamp of their own.
			v.cur.timestamp, v.cur.arrival, v.cur.capture = p.Timestamp, p.Arrival, 0
		} else {
			// With the next packet here, one without a marker is complete too.
			v.end(v.gap == 0)
		}
	}
	switch {
	case !v.cur.open:
		v.open(p)
	case v.gap > 0:
		v.cur.broken = true
	}
	switch b[0] & 0x1f {
	case nalFUA:
		v.fragmented(b)
	case nalSTAPA:
		v.whole()
		for b = b[1:]; len(b) > 0; {
			size := int(binary.BigEndian.Uint16(b))
			v.unit(b[2 : 2+size])
			b = b[2+size:]
		}
	default:
		v.whole()
		v.unit(b)
	}
	v.marked = p.Marker
	v.count(p)
	if v.marked && !v.scattered && v.slices > 0 {
		v.ended, v.at = true, v.cur.timestamp
		v.end(true)
	}
}

// open begins an access unit.
func (v *h264) open(p *media.Packet) {
	v.begin(p, true)
	v.pic = picture{droppable: true}
	v.slices, v.told, v.first = 0, false, h264Slice{}
	v.idr, v.intra, v.recovery, v.between = true, true, false, false
	v.invalid, v.unknown, v.sps, v.pps = false, false, false, false
	v.fragment = -1
}

// whole notes that a NAL unit begins: one that is open lacks its end.
func (v *h264) whole() {
	if v.fragment >= 0 {
		v.cur.broken = true
		v.fragment = -1
	}
}

// unit adds a whole NAL unit.
func (v *h264) unit(nal []byte) {
	if v.keep(nal) {
		v.head = binary.BigEndian.AppendUint32(v.head[:0], uint32(len(nal)))
		v.write(v.head)
		v.write(nal)
	}
}

// fragmented adds a part of a NAL unit (FU-A, RFC 6184 §5.8).
func (v *h264) fragmented(b []byte) {
	header, part := b[1], b[2:]
	if t := header & 0x1f; t >= nalSlice && t <= nalIDR {
		v.refers(b[0])
	}
	if header&0x80 != 0 { // S
		v.whole()
		v.fragment = len(v.cur.data)
		v.head = append(v.head[:0], 0, 0, 0, 0, b[0]&0xe0|header&0x1f)
		v.write(v.head)
	} else if v.fragment < 0 {
		v.cur.broken = true
	}
	v.write(part)
	if header&0x40 == 0 || v.fragment < 0 { // E
		return
	}
	at := v.fragment
	v.fragment = -1
	if v.cur.broken || v.cur.oversize {
		return
	}
	nal := v.cur.data[at+4:]
	if v.keep(nal) {
		binary.BigEndian.PutUint32(v.cur.data[at:], uint32(len(nal)))
	} else {
		v.cur.data = v.cur.data[:at]
	}
}

// keep notes what a NAL unit says, and tells whether it belongs in the file.
// Delimiters and filling say nothing; extensions, such as those for layers, are
// nothing to a decoder of what was negotiated.
func (v *h264) keep(nal []byte) bool {
	switch t := nal[0] & 0x1f; t {
	case nalSlice, nalPartitionA, nalIDR:
		v.slice(nal)
	case nalSPS:
		ok := v.sets.store(nal)
		v.sps = v.sps || ok
		return ok
	case nalPPS:
		ok := v.sets.store(nal)
		v.pps = v.pps || ok
		return ok
	case nalSEI:
		v.recovery = v.recovery || recoveryPoint(nal)
	case nalPartitionA + 1, nalPartitionC, nalSPSExt:
	default:
		return false
	}
	return true
}

// slice notes what a slice says.
func (v *h264) slice(nal []byte) {
	var s h264Slice
	known, ok := v.parseSlice(nal, &s)
	if !ok {
		v.invalid = true
	}
	if !known {
		v.unknown = true
	}
	if v.slices == 0 {
		v.first = s
		if s.firstMB != 0 {
			if v.ended && v.at == v.cur.timestamp {
				v.scattered = true
			}
			v.cur.broken = true // those before it were lost
		}
	}
	v.slices++
	v.idr = v.idr && nal[0]&0x1f == nalIDR
	v.intra = v.intra && (s.kind == 2 || s.kind == 4) // I, SI
	v.between = v.between || s.kind == 1
	v.refers(nal[0])
}

// refers notes what the header of a slice says of its picture: whether others
// refer to it.
func (v *h264) refers(header byte) {
	v.told = true
	if header&0x60 != 0 { // nal_ref_idc
		v.pic.droppable = false
	}
}

// parseSlice reads a slice's header as far as it is needed. known tells whether
// its parameter sets are, ok whether it can be right.
func (v *h264) parseSlice(nal []byte, s *h264Slice) (known, ok bool) {
	var buf [24]byte
	r := bits{b: unescape(buf[:0], nal[1:min(len(nal), len(buf)+1)])}
	s.firstMB, s.kind, s.pps = r.ue(), r.ue(), r.ue()
	if r.short || s.kind > 9 || s.pps >= maxPPS {
		return true, false
	}
	s.kind %= 5
	sps := v.sets.of(s.pps)
	if sps == nil {
		return false, true
	}
	if sps.planes {
		r.read(2) // colour_plane_id
	}
	s.frameNum = r.read(sps.frameNumBits)
	ok, s.order = !r.short, -1
	if sps.pocType == 0 {
		if sps.fields && r.flag() { // field_pic_flag
			r.read(1)
		}
		if nal[0]&0x1f == nalIDR {
			r.ue() // idr_pic_id
		}
		if lsb := r.read(sps.pocBits); !r.short {
			s.order = lsb
		}
	}
	return true, ok
}

// recoveryPoint tells whether a SEI NAL unit says that all that follows can be
// decoded without what came before (ITU-T H.264 §D.1.8): the sender of a stream
// may have no other kind of keyframe.
func recoveryPoint(nal []byte) bool {
	for b := nal[1:]; len(b) > 2; {
		var kind, size int
		for _, field := range [...]*int{&kind, &size} {
			for {
				if len(b) == 0 {
					return false
				}
				c := b[0]
				b = b[1:]
				*field += int(c)
				if c != 0xff {
					break
				}
			}
		}
		if size > len(b) {
			return false
		}
		if kind == 6 {
			return size > 0 && b[0]&0x80 != 0 // recovery_frame_cnt is 0
		}
		b = b[size:]
	}
	return false
}

// end ends the open access unit; whole tells whether its last packet is here.
func (v *h264) end(whole bool) {
	c := &v.cur
	c.broken = c.broken || !whole || v.fragment >= 0
	v.fragment = -1
	v.pic.droppable = v.pic.droppable && v.told
	var f Frame
	valid := !v.invalid && v.slices > 0
	if usable := !c.broken && !c.oversize && valid; usable {
		v.describe(&f)
	}
	v.inBand = v.inBand || v.sps
	if v.sps || v.pps {
		v.pic.droppable = false // what it says holds for others
		v.links.known = false
	}
	v.pic.key = f.Key
	if f.Key {
		v.pic.droppable = false
		v.lead()
	}
	f.Droppable = v.pic.droppable
	f.Private = v.private
	if c.broken && f.Droppable {
		// What else was lost with it, the next number will tell.
		v.gap += c.gap
		c.gap = 0
	}
	v.finish(f, &v.pic, valid)
}

// describe fills f by what the complete access unit says.
func (v *h264) describe(f *Frame) {
	c := &v.cur
	sps := v.sets.of(v.first.pps)
	key := v.idr || v.intra && v.recovery
	// With packets lost right before it, the parameter sets may be among them.
	stale := c.gap > 0 && v.inBand && !(v.sps && v.pps)
	if v.unknown || sps == nil || key && stale || !key && sps != v.active {
		v.starve()
		return
	}
	mask := 1<<sps.frameNumBits - 1
	switch {
	case key:
		f.Key = true
		f.Width, f.Height = sps.width, sps.height
		if v.sets.changed || sps != v.active {
			v.configure(sps)
		}
		v.active, v.inBand = sps, v.sps
	case c.gap > 0 && c.gap < mask && c.gap <= v.frameNum && !sps.fields && v.first.frameNum == (v.frameNum+1)&mask:
		// No picture is missing that others refer to: each would have had a
		// number, and a packet at least. Nor is a keyframe, after which the
		// numbers would not have come so far again.
		c.gap = 0
	}
	v.order(f)
	if !v.pic.droppable {
		v.frameNum = v.first.frameNum
	}
}

// configure makes the decoder configuration anew.
func (v *h264) configure(sps *h264SPS) {
	v.sets.changed = false
	if b := v.sets.config(sps); !bytes.Equal(b, v.private) {
		v.private = b
	}
}

// lead puts the parameter sets in front of a keyframe that came without.
func (v *h264) lead() {
	if v.sps && v.pps {
		return
	}
	out := v.buffer()
	v.sets.each(v.active, func(nal []byte) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(nal)))
		out = append(out, nal...)
	})
	out = append(out, v.cur.data...)
	v.Recycle(v.cur.data)
	v.cur.data = out
}

// Restart implements Depacketizer.
func (v *h264) Restart() {
	v.close()
	v.restart()
	v.frameNum = -1
	v.ended = false
	v.poc = pictureOrder{}
}

// Flush implements Depacketizer. Without its marker, the last access unit can't
// be known to be complete.
func (v *h264) Flush() {
	v.close()
	v.chain = newChain()
	v.gap = 0
	v.frameNum = -1
	v.ended = false
}

func (v *h264) close() {
	switch {
	case !v.cur.open:
	case v.slices == 0: // no picture
		v.cur.open = false
		v.stats.Packets.Incomplete += uint64(v.cur.packets)
	default:
		v.end(v.marked && v.gap == 0)
	}
}
