package depacket

// picture is what the payload descriptor says about a frame's place among the
// others. What a descriptor does not say is left zero.
type picture struct {
	key bool
	// droppable: nothing refers to it.
	droppable bool
	// leading: it refers to what was before the keyframe that decoding began
	// with, and nothing that is presented after that refers to it.
	leading bool

	hasID  bool
	id     uint16 // PictureID
	idMask uint16 // 0x7f or 0x7fff

	hasTID bool
	tid    uint8 // temporal layer
	hasTL0 bool
	tl0    uint8 // TL0PICIDX: counts the pictures of the base layer
	// baseOnly: it refers to pictures of the base layer only (VP8's Y bit).
	baseOnly bool
	// switchUp: nothing after it refers to what came before it in layers
	// above its own (VP9's U bit).
	switchUp bool

	// links is what the dependency descriptor says, nil when there is none.
	links *links

	// refs has the PictureIDs it refers to (VP9's flexible mode); with refs
	// = 0 they are not known.
	refs  int
	diffs [maxRefs]uint8 // distance back
}

// maxRefs is how many references one picture can have: three for each spatial
// layer (RFC 9628 §4.2).
const maxRefs = 24

// describe adds what the dependency descriptors say.
func (p *picture) describe(l *links) {
	if !l.numbered {
		return
	}
	p.links = l
	if l.known {
		p.droppable = p.droppable || l.droppable
		if !p.hasTID {
			p.hasTID, p.tid = true, l.temporal
		}
	}
}

// base tells whether pictures of every layer may refer to it.
func (p *picture) base() bool { return !p.hasTID || p.tid == 0 }

// chain follows which pictures can be decoded after a loss.
//
// As long as nothing is lost, everything can: what a middle box leaves out on
// purpose is its own affair. After a loss only what is sure counts. Temporal
// layers are the first way to be sure: a picture refers to its own layer and
// those below, never above. The second is an explicit list of references. The
// third, the dependency descriptor, has both such a list and chains: what a
// chain lacks only a keyframe can mend, and nothing else needs one.
type chain struct {
	// alive: the base layer can be decoded.
	alive bool
	// unsynced has a bit for each temporal layer that may refer to something
	// lost.
	unsynced uint8
	// starving: nothing more can be decoded until a keyframe comes.
	starving bool

	started bool
	last    picture
	// given has, for the pictures of the last 128 ids, those that were given.
	given [128]struct {
		id uint16
		ok bool
	}
	frames frameHistory
}

func newChain() chain { return chain{starving: true} }

// next takes the next picture in order. gap is how many packets were lost right
// before it, complete tells whether it has all of its own. ok tells whether it
// can be decoded; missed is how many pictures are known to be lost whole.
func (c *chain) next(p *picture, gap int, complete bool) (ok bool, missed int) {
	if gap > 0 && c.started {
		missed = c.bridge(p, gap)
	}
	if p.links != nil {
		c.frames.advance(p.links)
	}
	switch {
	case !complete, p.leading:
	case p.key:
		ok = true
		c.alive, c.unsynced = true, 0
	default:
		ok = c.decodable(p)
	}
	intact, chained := c.chained(p)
	if ok {
		c.accept(p)
	} else {
		c.damage(p)
	}
	if chained {
		c.starving = !intact || !ok && p.base() && !p.droppable
	}
	c.remember(p, ok)
	return ok, missed
}

// bridge decides what a loss between the last picture and this one broke.
func (c *chain) bridge(p *picture, gap int) (missed int) {
	if missed, broken, known := c.frames.bridge(p.links, gap); known {
		c.alive = c.alive && !broken
		return missed
	}
	l := &c.last
	delta := int((p.id - l.id) & p.idMask)
	// Each lost picture had a packet, and the id has not gone round.
	known := l.hasID && p.hasID && l.idMask == p.idMask &&
		delta > 0 && delta-1 <= gap && gap < int(p.idMask)
	if known {
		missed = delta - 1
		tl0 := l.tl0
		if p.base() {
			tl0++
		}
		switch layered := l.hasTL0 && p.hasTL0; {
		case missed == 0 && !layered, missed == 0 && p.tl0 == tl0:
			return 0 // only padding was lost
		case layered && p.tl0 == tl0:
			c.unsynced |= 0xfe // pictures above the base layer
			return missed
		}
	}
	c.alive = false
	// With a list of references, the next picture that is refused will tell;
	// earlier, the number of a base picture that is missing.
	if p.refs == 0 || l.hasTL0 && p.hasTL0 {
		c.starving = true
	}
	return missed
}

// decodable tells whether a complete picture can be decoded.
func (c *chain) decodable(p *picture) bool {
	if c.alive && (p.base() || p.baseOnly || c.unsynced&(1<<(p.tid+1)-1) == 0) {
		return true
	}
	if l := p.links; l != nil && l.known {
		return c.frames.haveAll(l.refs)
	}
	for _, d := range p.diffs[:p.refs] {
		id := (p.id - uint16(d)) & p.idMask
		g := &c.given[id%128]
		if !g.ok || g.id != id {
			return false
		}
	}
	return p.refs > 0
}

// chained tells whether the chains that the picture belongs to are whole up to
// it; known is false when it has none.
func (c *chain) chained(p *picture) (intact, known bool) {
	if p.links == nil || !p.links.known || len(p.links.chains) == 0 {
		return false, false
	}
	return c.frames.intact(p.links, c.alive && c.unsynced == 0, p.key)
}

// accept notes that the picture is given.
func (c *chain) accept(p *picture) {
	switch {
	case p.key || p.base():
		c.starving = false
	case p.baseOnly:
		c.unsynced &^= 1 << p.tid
	}
	if p.switchUp {
		c.unsynced &= 1<<(p.tid+1) - 1
	}
}

// damage notes that the picture is not given.
func (c *chain) damage(p *picture) {
	switch {
	case (p.droppable || p.leading) && !p.key:
	case p.base() || p.key:
		c.alive, c.starving = false, true
	default:
		c.unsynced |= 0xff << p.tid
	}
}

// remember keeps what the next picture is compared with.
func (c *chain) remember(p *picture, ok bool) {
	if p.hasID {
		if c.last.hasID && c.started {
			// Forget the ids that were passed over: they mean new pictures.
			n := min((p.id-c.last.id)&p.idMask, 128)
			for i := uint16(1); i < n; i++ {
				c.given[((p.id-i)&p.idMask)%128].ok = false
			}
		}
		g := &c.given[p.id%128]
		g.id, g.ok = p.id, ok
	}
	if p.links != nil {
		c.frames.note(p.links, ok)
	} else {
		c.frames.started = false
	}
	c.started = true
	c.last = *p
}
