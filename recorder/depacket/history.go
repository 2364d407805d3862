package depacket

// historySize is how many frame numbers are remembered: as far as a dependency
// descriptor can refer back.
const historySize = 1 << 12

// frameHistory remembers which frames were given, by the number that the
// dependency descriptor has for them.
type frameHistory struct {
	started  bool
	newest   uint16 // number
	complete bool   // the newest picture was given
	given    [historySize / 64]uint64
	// foreign has a bit for each chain whose frames do not come though no
	// packet is lost: somebody on the way leaves them out.
	foreign uint32
}

func (h *frameHistory) slot(n uint16) (word *uint64, bit uint64) {
	i := n % historySize
	return &h.given[i/64], 1 << (i % 64)
}

// has tells whether frame n was given.
func (h *frameHistory) has(n uint16) bool {
	word, bit := h.slot(n)
	return h.newest-n < historySize && *word&bit != 0
}

func (h *frameHistory) haveAll(refs []uint16) bool {
	for _, n := range refs {
		if !h.has(n) {
			return false
		}
	}
	return len(refs) > 0
}

// advance makes room for the frames of the next picture.
func (h *frameHistory) advance(l *links) {
	if d := l.last() - h.newest; d == 0 || d >= historySize { // back, or far away
		h.given = [historySize / 64]uint64{}
	} else {
		for n := h.newest + 1; n != l.last()+1; n++ {
			word, bit := h.slot(n)
			*word &^= bit
		}
	}
	h.newest = l.last()
}

// bridge tells how many pictures are missing between the newest and the next one,
// and whether anything is. known is false when the numbers don't tell.
func (h *frameHistory) bridge(l *links, gap int) (missed int, broken, known bool) {
	if l == nil || !l.known || !h.started {
		return 0, false, false
	}
	// Each lost frame had a packet, and the numbers have not gone round.
	skipped := int(l.first() - h.newest - 1)
	if skipped > gap || gap >= 1<<15 {
		return 0, false, false
	}
	missed = skipped
	if n := l.dep.Layers(); n > 1 {
		if h.complete {
			missed += n - 1
		} // else some may be layers of the newest picture
		missed /= n
	}
	return missed, skipped > 0, true
}

// intact tells whether the chains of a picture are whole up to it; known is false
// when it continues none. whole tells whether nothing was lost since the last
// keyframe, key whether this is one.
func (h *frameHistory) intact(l *links, whole, key bool) (intact, known bool) {
	if key {
		h.foreign = 0
		return true, true
	}
	intact = true
	for k, distance := range l.chains {
		if distance == 0 || h.foreign>>k&1 != 0 || !l.dep.Protects(k) {
			continue
		}
		known = true
		switch {
		case h.has(l.first() - uint16(distance)):
		case whole:
			h.foreign |= 1 << k
		default:
			intact = false
		}
	}
	return intact, known
}

// note remembers whether a picture was given.
func (h *frameHistory) note(l *links, given bool) {
	h.started, h.complete = true, given
	if !given {
		return
	}
	for _, n := range l.frames {
		word, bit := h.slot(n)
		*word |= bit
	}
}
