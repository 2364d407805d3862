package depacket

// vp9Group is the picture group of a scalability structure (RFC 9628 §4.2.1): a
// pattern of references that repeats, from the picture that brings it.
type vp9Group struct {
	pictures []vp9Member
	// at is the place of the picture id in the group.
	at int
	id uint16
}

type vp9Member struct {
	tid   uint8
	refs  int
	diffs [3]uint8 // distance back, in PictureIDs
}

// set takes a group that has been checked, which begins with the picture id.
func (g *vp9Group) set(b []byte, id uint16) {
	g.pictures = g.pictures[:0]
	for b = b[1:]; len(b) > 0; {
		m := vp9Member{tid: b[0] >> 5, refs: int(b[0] >> 2 & 3)}
		copy(m.diffs[:], b[1:1+m.refs])
		g.pictures = append(g.pictures, m)
		b = b[1+m.refs:]
	}
	g.at, g.id = 0, id
}

// list notes what the next picture refers to by its place in the group, and tells
// whether that is known.
func (g *vp9Group) list(p *picture, flexible bool) bool {
	if len(g.pictures) == 0 || !p.hasID {
		return false
	}
	g.at = (g.at + int((p.id-g.id)&p.idMask)) % len(g.pictures)
	g.id = p.id
	m := &g.pictures[g.at]
	if flexible || !p.hasTID || m.tid != p.tid || m.refs == 0 {
		return false
	}
	p.refs = copy(p.diffs[:], m.diffs[:m.refs])
	return true
}
