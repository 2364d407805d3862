// Package dependency reads the dependency descriptor, the RTP header extension that
// says which layer a frame is of, what it refers to and who needs it (AOMedia "RTP
// Payload Format For AV1", appendix A). It is made for AV1, and browsers send it with
// other codecs too.
//
// Descriptors are a stranger's: whatever they say, memory is bounded by the constants
// below.
package dependency

// Limits of the dependency descriptor. The format has no lower ones for templates,
// targets and chains; references are bounded here.
const (
	MaxTemplates = 64
	MaxTargets   = 32
	MaxRefs      = 24
	// MaxSpatial and MaxTemporal are how many layers there are at most.
	MaxSpatial  = 4
	MaxTemporal = 8
)

// Indication is what a frame is to a decode target.
type Indication uint8

// The indications, by their codes.
const (
	// NotPresent: the target does not need the frame.
	NotPresent Indication = iota
	// Discardable: no frame of the target refers to it.
	Discardable
	// Switch: once it can be decoded, so can all of the target that follows.
	Switch
	// Required: the target needs it.
	Required
)

// Indications are those of one frame for all targets, two bits each.
type Indications uint64

// Of gives the indication for a target, from 0 to MaxTargets-1.
func (i Indications) Of(target int) Indication { return Indication(i>>(2*target)) & 3 }

// Frame is what the descriptor of a packet says of its frame, which is one layer of a
// picture.
type Frame struct {
	Start, End bool // the packet is the frame's first, its last
	Number     uint16
	Spatial    uint8
	Temporal   uint8
	// Droppable: no frame refers to it in any decode target.
	Droppable   bool
	Indications Indications
	// Diffs says how many frames back those are that it refers to.
	Diffs []uint16
	// Chains says for each chain how many frames back its previous frame is, 0
	// when it begins here.
	Chains []uint8
	// Structure tells whether the descriptor has the structure, with which a
	// coded video sequence begins.
	Structure bool
	// Targets is how many decode targets there are, and Active has a bit for each
	// of them that the sender sends.
	Targets int
	Active  uint32

	// Where parts of the descriptor are, in bits: the structure's end, that of
	// the mask of active targets, and where all of it ends.
	structureEnd, maskEnd, end int
}

// Template is one of the descriptions that frames choose from.
type Template struct {
	Spatial, Temporal uint8
	Indications       Indications
	droppable         bool
	diffs             []uint16
	chains            []uint8
}

// Reader reads the descriptors of one source. Its zero value is ready for use.
type Reader struct {
	offset    int // of template ids
	targets   int
	chains    int
	templates []Template
	// protected has the chain that protects a decode target, and active a bit
	// for each decode target that the sender sends.
	protected [MaxTargets]uint8
	active    uint32
	layers    int // spatial

	// Memory of what one frame says of itself.
	diffs    [MaxRefs]uint16
	distance [MaxTargets]uint8
}

// Templates gives those of the latest structure; none when there is none that can be
// right. They are not to be changed, and stay as they are when another structure
// comes.
func (d *Reader) Templates() []Template { return d.templates }

// Layers is how many spatial layers the latest structure has.
func (d *Reader) Layers() int { return d.layers }

// Structured tells whether a descriptor says that it has a structure.
func Structured(b []byte) bool { return len(b) > 3 && b[3]&0x80 != 0 }

// Read reads the descriptor b of a packet into f, whose slices are good until the
// next call. ok is false when it can't be right or refers to a structure that has not
// come; what is not known of f then is zero, but for Start, End and Number, which
// numbered says are known.
func (d *Reader) Read(b []byte, f *Frame) (numbered, ok bool) {
	*f = Frame{}
	if len(b) < 3 {
		return false, false
	}
	r := bits{b: b}
	f.Start, f.End = r.flag(), r.flag()
	id := r.read(6)
	f.Number = uint16(r.read(16))
	var activity, ownTargets, ownDiffs, ownChains bool
	if len(b) > 3 {
		f.Structure, activity, ownTargets, ownDiffs, ownChains = r.flag(), r.flag(), r.flag(), r.flag(), r.flag()
	} else {
		r.pos = flagsEnd
	}
	if f.Structure && !d.structure(&r) {
		d.templates, f.Structure = nil, false
		return true, false
	}
	f.structureEnd = r.pos
	if activity {
		d.active = uint32(r.read(d.targets))
	}
	f.maskEnd = r.pos
	i := (id + MaxTemplates - d.offset) % MaxTemplates
	if r.short || i >= len(d.templates) {
		return true, false
	}
	t := &d.templates[i]
	f.Spatial, f.Temporal = t.Spatial, t.Temporal
	f.Targets, f.Active = d.targets, d.active
	f.Indications, f.Droppable, f.Diffs, f.Chains = t.Indications, t.droppable, t.diffs, t.chains
	if ownTargets {
		f.Indications, f.Droppable = d.indications(&r)
	}
	if ownDiffs {
		f.Diffs = d.diffs[:0]
		for size := r.read(2); size > 0; size = r.read(2) {
			if len(f.Diffs) == MaxRefs {
				return true, false
			}
			f.Diffs = append(f.Diffs, uint16(r.read(4*size))+1)
		}
	}
	if ownChains {
		f.Chains = d.distance[:d.chains]
		for k := range f.Chains {
			f.Chains[k] = uint8(r.read(8))
		}
	}
	f.end = r.pos
	return true, !r.short
}

// structure reads template_dependency_structure(), and tells whether it can be
// right.
func (d *Reader) structure(r *bits) bool {
	d.offset = r.read(6)
	d.targets = r.read(5) + 1
	d.active = uint32(1<<d.targets - 1)
	d.templates = nil
	spatial, temporal := 0, 0
	for next := 0; next != 3; {
		if len(d.templates) == MaxTemplates || spatial >= MaxSpatial || temporal >= MaxTemporal || r.short {
			return false
		}
		d.templates = append(d.templates, Template{Spatial: uint8(spatial), Temporal: uint8(temporal)})
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
		t := &d.templates[i]
		t.Indications, t.droppable = d.indications(r)
	}
	for i := range d.templates {
		for t := &d.templates[i]; r.flag(); {
			if len(t.diffs) == MaxRefs {
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
func (d *Reader) indications(r *bits) (all Indications, droppable bool) {
	droppable = true
	for t := range d.targets {
		i := Indication(r.read(2))
		all |= Indications(i) << (2 * t)
		droppable = i <= Discardable && droppable
	}
	return all, droppable
}

// Protects tells whether a chain protects a decode target that is sent.
func (d *Reader) Protects(chain int) bool {
	for t := range d.targets {
		if d.active>>t&1 != 0 && int(d.protected[t]) == chain {
			return true
		}
	}
	return false
}
