package depacket

import "github.com/roomtape/roomtape/media"

// maxLayers is how many spatial layers a picture has at most, and how many
// frames a superframe holds at most.
const maxLayers = 8

// vp9 depacketizes VP9 (RFC 9628). A frame is a whole picture: when it has
// several spatial layers, they are put together as a superframe.
type vp9 struct {
	video
	pic    picture // of the open picture; its refs are those of all layers
	layers int     // layer frames begun in the open picture
	starts [maxLayers]int
	sid    uint8 // of the latest layer frame
	ended  bool  // the latest packet was the end of a layer frame
	topSID uint8 // of the picture before

	// Of the frames in the open picture, once it is complete:
	count   int
	ends    [maxLayers]int
	headers [maxLayers]vp9Header
	slots   vp9Slots // before it

	// sizes are those of the layers by the latest scalability structure.
	sizes [maxLayers]vp9Size
	// unlisted: a layer of the open picture has references that are not known.
	unlisted bool
	// group says what the pictures refer to that do not say it themselves.
	group vp9Group
}

type vp9Size struct{ width, height int }

func newVP9(cfg Config) *vp9 {
	return &vp9{video: video{assembler: assembler{cfg: cfg}, chain: newChain()}}
}

// vp9Descriptor is the VP9 payload descriptor (RFC 9628 §4.2).
type vp9Descriptor struct {
	picture
	begin, end bool // B, E: of a layer frame
	sid        uint8
	interLayer bool // D: it refers to the layer below
	flexible   bool // F: pictures say what they refer to
	hasSizes   bool // the scalability structure is there and has sizes
	sizes      [maxLayers]vp9Size
	group      []byte // its picture group, with the number of pictures; nil: none
}

// parseVP9Descriptor reads a payload's descriptor and gives its size. ok is
// false when the payload is cut short or has nothing after the descriptor.
func parseVP9Descriptor(b []byte, d *vp9Descriptor) (size int, ok bool) {
	*d = vp9Descriptor{}
	if len(b) < 2 {
		return 0, false
	}
	const i, p, l, f, v = 0x80, 0x40, 0x20, 0x10, 0x02
	flags := b[0]
	d.begin, d.end, d.flexible = flags&0x08 != 0, flags&0x04 != 0, flags&f != 0
	n := 1
	if flags&i != 0 {
		d.hasID, d.id, d.idMask = true, uint16(b[n]), 0x7f
		n++
		if d.id&0x80 != 0 { // M
			if len(b) <= n {
				return 0, false
			}
			d.id, d.idMask = (d.id&0x7f)<<8|uint16(b[n]), 0x7fff
			n++
		}
	}
	if flags&l != 0 {
		if len(b) <= n {
			return 0, false
		}
		d.hasTID = true
		d.tid, d.switchUp = b[n]>>5, b[n]&0x10 != 0
		d.sid, d.interLayer = b[n]>>1&7, b[n]&1 != 0
		n++
		if flags&f == 0 {
			if len(b) <= n {
				return 0, false
			}
			d.hasTL0, d.tl0 = true, b[n]
			n++
		}
	}
	if flags&(f|p) == f|p {
		for more := true; more; n++ {
			if len(b) <= n || d.refs == 3 {
				return 0, false
			}
			d.diffs[d.refs] = b[n] >> 1
			d.refs++
			more = b[n]&1 != 0
		}
	}
	if flags&v != 0 {
		size, ok := d.parseStructure(b[n:])
		if !ok {
			return 0, false
		}
		n += size
	}
	if !d.hasID {
		d.refs = 0 // distances from nowhere
	}
	return n, len(b) > n
}

// parseStructure reads the scalability structure (RFC 9628 §4.2.1) and gives its
// size in bytes.
func (d *vp9Descriptor) parseStructure(b []byte) (size int, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	layers, y, g := int(b[0]>>5)+1, b[0]&0x10 != 0, b[0]&0x08 != 0
	n := 1
	if y {
		if len(b) < n+4*layers {
			return 0, false
		}
		d.hasSizes = true
		for i := range layers {
			d.sizes[i] = vp9Size{int(b[n])<<8 | int(b[n+1]), int(b[n+2])<<8 | int(b[n+3])}
			n += 4
		}
	}
	if g {
		if len(b) <= n {
			return 0, false
		}
		first, pictures := n, int(b[n])
		n++
		for range pictures {
			if len(b) <= n {
				return 0, false
			}
			n += 1 + int(b[n]>>2&3) // R: references of this picture
		}
		if len(b) < n {
			return 0, false
		}
		d.group = b[first:n]
	}
	return n, true
}

// Push implements Depacketizer.
func (v *vp9) Push(p *media.Packet, lost int) {
	if !v.arrived(p, lost) {
		return
	}
	var d vp9Descriptor
	size, ok := parseVP9Descriptor(p.Payload, &d)
	if !ok {
		v.malformed(p)
		return
	}
	if v.cur.open && v.isNext(p, &d) {
		// With the next packet here, a picture without a marker is complete too.
		v.close(v.gap == 0)
	}
	switch {
	case !v.cur.open:
		v.open(p, &d)
	case v.gap > 0 || d.begin != v.ended:
		v.cur.broken = true
	case d.begin:
		v.beginLayer(&d)
	}
	if d.hasSizes {
		v.sizes = d.sizes
	}
	if d.group != nil {
		v.group.set(d.group, v.pic.id)
	}
	v.ended = d.end
	marker := p.Marker
	v.add(p, p.Payload[size:])
	if marker {
		v.close(true)
	}
}

// isNext tells whether the packet belongs to the picture after the open one.
func (v *vp9) isNext(p *media.Packet, d *vp9Descriptor) bool {
	return p.Timestamp != v.cur.timestamp || d.id != v.pic.id ||
		d.begin && d.sid <= v.sid
}

// open begins a picture.
func (v *vp9) open(p *media.Packet, d *vp9Descriptor) {
	start := d.begin
	if d.sid > 0 && (v.gap > 0 || d.interLayer) {
		start = false // the layer below was lost
	}
	v.begin(p, start)
	v.pic = d.picture
	v.sid = d.sid
	v.unlisted = d.refs == 0 && !v.group.list(&v.pic, d.flexible)
	v.layers = 1
	v.starts[0] = 0
}

// beginLayer begins one more layer frame of the open picture.
func (v *vp9) beginLayer(d *vp9Descriptor) {
	v.sid = d.sid
	v.starts[v.layers] = len(v.cur.data)
	v.layers++
	v.pic.switchUp = v.pic.switchUp && d.switchUp
	// The picture can be decoded when all layers can.
	// What a group says holds for all layers.
	v.unlisted = v.unlisted || d.refs == 0 && !d.interLayer && d.flexible
	for _, diff := range d.diffs[:d.refs] {
		v.pic.diffs[v.pic.refs] = diff
		v.pic.refs++
	}
}

// close ends the open picture; whole tells whether its last packet is here.
func (v *vp9) close(whole bool) {
	v.cur.broken = v.cur.broken || !whole
	v.topSID = v.sid
	var f Frame
	valid := true
	usable := !v.cur.broken && !v.cur.oversize
	if usable {
		valid = v.describe(&f)
	}
	if v.unlisted {
		v.pic.refs = 0
	}
	v.pic.key = f.Key
	v.pic.droppable = f.Droppable
	if usable && valid && v.layers > 1 {
		v.join()
	}
	if v.finish(f, &v.pic, valid) {
		v.refresh()
	}
}

// describe reads the headers of all frames in the open picture and fills f by
// them. It tells whether they can be right.
func (v *vp9) describe(f *Frame) bool {
	data := v.cur.data
	if v.layers == 1 {
		v.count = superframe(data, &v.ends)
	} else {
		v.count = copy(v.ends[:], v.starts[1:v.layers]) + 1
		v.ends[v.count-1] = len(data)
	}
	f.Hidden, f.Droppable = true, true
	begin := 0
	for i, end := range v.ends[:v.count] {
		h := &v.headers[i]
		if !parseVP9Header(data[begin:end], h) {
			return false
		}
		begin = end
		f.Key = f.Key || i == 0 && h.key
		f.Hidden = f.Hidden && !h.shown
		f.Droppable = f.Droppable && h.droppable
		if f.Key && h.width > 0 { // of the layer on top
			f.Width, f.Height = h.width, h.height
		}
	}
	if s := v.sizes[v.sid]; f.Key && v.layers > 1 && s.width > f.Width && s.height > 0 {
		// The top layer's header took its size from a reference.
		f.Width, f.Height = s.width, s.height
	}
	return true
}

// join makes one superframe of the layers: all but the top are hidden where that
// changes nothing else, and the index follows.
func (v *vp9) join() {
	data, out := v.cur.data, v.buffer()
	slots := v.slots
	top := v.count - 1
	for i, end := range v.ends[:v.count] {
		layer := data[v.starts[i]:end]
		v.starts[i] = len(out)
		h := &v.headers[i]
		size := slots.apply(h)
		hidden := false
		if i < top && h.shown && v.headers[i+1].canFollowHidden(size) {
			out, hidden = hideVP9(out, layer, h, size.width)
		}
		if !hidden {
			out = append(out, layer...)
		}
	}
	v.Recycle(data)
	v.cur.data = appendSuperframeIndex(out, v.starts[:v.count])
}

// refresh notes what a decoder keeps of the picture that was given.
func (v *vp9) refresh() {
	for i := range v.headers[:v.count] {
		v.slots.apply(&v.headers[i])
	}
}

// vp9Slots are the sizes of the eight frames that a decoder keeps as references.
type vp9Slots [8]vp9Size

// apply notes that a frame was decoded, and gives its size.
func (s *vp9Slots) apply(h *vp9Header) vp9Size {
	size := vp9Size{h.width, h.height}
	if size.width == 0 {
		size = s[h.sizeFrom]
	}
	for i := range s {
		if h.refresh>>i&1 != 0 {
			s[i] = size
		}
	}
	return size
}

// Restart implements Depacketizer.
func (v *vp9) Restart() {
	if v.cur.open {
		v.close(false)
	}
	v.restart()
	v.sizes = [maxLayers]vp9Size{}
	v.group = vp9Group{}
}

// Flush implements Depacketizer. A picture whose marker has not come is complete
// when the layer on top of the picture before has ended.
func (v *vp9) Flush() {
	if v.cur.open {
		v.close(v.gap == 0 && v.ended && v.sid >= v.topSID)
	}
	v.chain = newChain()
	v.gap = 0
}
