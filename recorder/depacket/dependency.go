package depacket

// Limits of the dependency descriptor. The format has no lower ones for
// templates, targets and chains; references are bounded here.
const (
	maxTemplates = 64
	maxTargets   = 32
	maxFrameRefs = 24
)

// dependencyFrame is what the descriptor of a packet says of its frame, which is
// one layer of a picture (AOMedia "RTP Payload Format For AV1", appendix A).
type dependencyFrame struct {
	start, end bool // the packet is the frame's first, its last
	number     uint16
	spatial    uint8
	temporal   uint8
	// droppable: no frame refers to it in any decode target.
	droppable bool
	// diffs says how many frames back those are that it refers to.
	diffs []uint16
	// chains says for each chain how many frames back its previous frame is, 0
	// when it begins here.
	chains []uint8
}

// dependencyTemplate is one of the descriptions that frames choose from.
type dependencyTemplate struct {
	spatial, temporal uint8
	droppable         bool
	diffs             []uint16
	chains            []uint8
}

// dependencies reads the dependency descriptors of one track. Its zero value is
// ready for use.
type dependencies struct {
	offset    int // of template ids
	targets   int
	chains    int
	templates []dependencyTemplate
	// protected has the chain that protects a decode target, and active a bit
	// for each decode target that the sender sends.
	protected [maxTargets]uint8
	active    uint32
	layers    int // spatial

	// Memory of what one frame says of itself.
	diffs    [maxFrameRefs]uint16
	distance [maxTargets]uint8
}

// parse reads the descriptor b of a packet into f, whose slices are good until
// the next call. ok is false when it can't be right or refers to a structure that
// has not come; what is not known of f then is zero, but for start, end and
// number, which numbered says are known.
func (d *dependencies) parse(b []byte, f *dependencyFrame) (numbered, ok bool) {
	*f = dependencyFrame{}
	if len(b) < 3 {
		return false, false
	}
	r := bits{b: b}
	f.start, f.end = r.flag(), r.flag()
	id := r.read(6)
	f.number = uint16(r.read(16))
	var attached, activity, ownTargets, ownDiffs, ownChains bool
	if len(b) > 3 {
		attached, activity, ownTargets, ownDiffs, ownChains = r.flag(), r.flag(), r.flag(), r.flag(), r.flag()
	}
	if attached && !d.structure(&r) {
		d.templates = nil
		return true, false
	}
	if activity {
		d.active = uint32(r.read(d.targets))
	}
	i := (id + maxTemplates - d.offset) % maxTemplates
	if r.short || i >= len(d.templates) {
		return true, false
	}
	t := &d.templates[i]
	f.spatial, f.temporal = t.spatial, t.temporal
	f.droppable, f.diffs, f.chains = t.droppable, t.diffs, t.chains
	if ownTargets {
		f.droppable = d.indications(&r)
	}
	if ownDiffs {
		f.diffs = d.diffs[:0]
		for size := r.read(2); size > 0; size = r.read(2) {
			if len(f.diffs) == maxFrameRefs {
				return true, false
			}
			f.diffs = append(f.diffs, uint16(r.read(4*size))+1)
		}
	}
	if ownChains {
		f.chains = d.distance[:d.chains]
		for k := range f.chains {
			f.chains[k] = uint8(r.read(8))
		}
	}
	return true, !r.short
}

// structure reads template_dependency_structure(), and tells whether it can be
// right.
func (d *dependencies) structure(r *bits) bool {
	d.offset = r.read(6)
	d.targets = r.read(5) + 1
	d.active = uint32(1<<d.targets - 1)
	d.templates = nil
	spatial, temporal := 0, 0
	for next := 0; next != 3; {
		if len(d.templates) == maxTemplates || spatial > 3 || temporal > 7 || r.short {
			return false
		}
		d.templates = append(d.templates, dependencyTemplate{spatial: uint8(spatial), temporal: uint8(temporal)})
		switch next = r.read(2); next {
		case 1:
			temporal++
		case 2:
			temporal = 0
			spatial++
		}
	}
	d.layers = spatial + 1
	for i := range d.templates {
		d.templates[i].droppable = d.indications(r)
	}
	for i := range d.templates {
		for t := &d.templates[i]; r.flag(); {
			if len(t.diffs) == maxFrameRefs {
				return false
			}
			t.diffs = append(t.diffs, uint16(r.read(4))+1)
		}
	}
	d.chains = r.nonSymmetric(d.targets + 1)
	if d.chains > 0 {
		for i := range d.targets {
			d.protected[i] = uint8(r.nonSymmetric(d.chains))
		}
		for i := range d.templates {
			t := &d.templates[i]
			t.chains = make([]uint8, d.chains)
			for k := range t.chains {
				t.chains[k] = uint8(r.read(4))
			}
		}
	}
	if r.flag() { // resolutions_present_flag
		for range d.layers {
			r.read(32)
		}
	}
	return !r.short
}

// indications reads what a frame is to each decode target, and tells whether it
// can be dropped from all of them.
func (d *dependencies) indications(r *bits) (droppable bool) {
	const discardable = 1
	droppable = true
	for range d.targets {
		droppable = r.read(2) <= discardable && droppable
	}
	return droppable
}

// protects tells whether a chain protects a decode target that is sent.
func (d *dependencies) protects(chain int) bool {
	for t := range d.targets {
		if d.active>>t&1 != 0 && int(d.protected[t]) == chain {
			return true
		}
	}
	return false
}

// nonSymmetric reads a number below n, ns(n) (AV1 bitstream specification
// §4.10.7).
func (r *bits) nonSymmetric(n int) int {
	w := 0
	for x := n; x != 0; x >>= 1 {
		w++
	}
	m := 1<<w - n
	v := r.read(w - 1)
	if v < m {
		return v
	}
	return v<<1 - m + r.read(1)
}

// links is what the descriptors of an open picture's packets say of its place
// among the frames.
type links struct {
	numbered bool // all packets had a frame number
	known    bool // and what all frames of the picture refer to
	frames   []uint16
	temporal uint8
	// droppable: nothing refers to the picture, for sure.
	droppable bool
	// refs are the numbers of the frames before it that it refers to.
	refs []uint16
	// chains are those of the first frame.
	chains []uint8
	dep    *dependencies
}

// begin forgets the picture before.
func (l *links) begin() {
	l.numbered, l.known, l.droppable = false, false, false
	l.frames, l.refs, l.chains = l.frames[:0], l.refs[:0], l.chains[:0]
}

// first and last are the numbers of the picture's frames; numbered is set.
func (l *links) first() uint16 { return l.frames[0] }
func (l *links) last() uint16  { return l.frames[len(l.frames)-1] }

// add takes the descriptor of the picture's next packet; opened tells whether it
// is the first.
func (l *links) add(d *dependencies, ext []byte, opened bool) {
	if !opened && !l.numbered {
		return
	}
	var f dependencyFrame
	numbered, known := d.parse(ext, &f)
	switch {
	case opened && numbered:
		l.numbered, l.known = true, f.start
		l.temporal, l.dep = f.temporal, d
		l.chains = append(l.chains, f.chains...)
		l.droppable = known && f.droppable
	case numbered && f.number == l.last():
		return // of the same frame
	case numbered && f.start && int16(f.number-l.last()) > 0 && len(l.frames) < maxLayers:
		l.droppable = false
	default:
		l.numbered, l.known = false, false
		return
	}
	l.frames = append(l.frames, f.number)
	l.known = l.known && known
	for _, diff := range f.diffs {
		if n := f.number - diff; int16(n-l.first()) < 0 {
			l.refs = append(l.refs, n)
		}
	}
}
