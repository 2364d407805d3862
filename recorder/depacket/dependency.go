package depacket

import "github.com/roomtape/roomtape/media/dependency"

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
	dep    *dependency.Reader
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
func (l *links) add(d *dependency.Reader, ext []byte, opened bool) {
	if !opened && !l.numbered {
		return
	}
	var f dependency.Frame
	numbered, known := d.Read(ext, &f)
	switch {
	case opened && numbered:
		l.numbered, l.known = true, f.Start
		l.temporal, l.dep = f.Temporal, d
		l.chains = append(l.chains, f.Chains...)
		l.droppable = known && f.Droppable
	case numbered && f.Number == l.last():
		return // of the same frame
	case numbered && f.Start && int16(f.Number-l.last()) > 0 && len(l.frames) < maxLayers:
		l.droppable = false
	default:
		l.numbered, l.known = false, false
		return
	}
	l.frames = append(l.frames, f.Number)
	l.known = l.known && known
	for _, diff := range f.Diffs {
		if n := f.Number - diff; int16(n-l.first()) < 0 {
			l.refs = append(l.refs, n)
		}
	}
}
