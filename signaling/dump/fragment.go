package dump

import (
	"net/netip"
	"slices"
)

const (
	otherFragment = "fragments"

	// maxFragmented is how many datagrams may be incomplete at a time, and
	// maxPieces of how many fragments each. The oldest is given up.
	maxFragmented = 64
	maxPieces     = 128
	maxDatagram   = 65535
)

type fragmentKey struct {
	from, to netip.Addr
	id       uint32
	proto    uint8
}

// fragments puts the fragments of IP packets together (RFC 791 §3.2, RFC 8200
// §4.5). The zero value is ready for use.
type fragments struct{ open []*fragmented } // in the order of their first fragment

type fragmented struct {
	key    fragmentKey
	data   []byte
	pieces [][2]int // from and to, disjoint, in order
	end    int      // -1: not known
}

// add takes a fragment, and gives the whole payload when it completes it. It
// does not keep b. What it gives is the caller's.
func (f *fragments) add(key fragmentKey, offset int, more bool, b []byte) []byte {
	if offset+len(b) > maxDatagram || len(b) == 0 {
		return nil
	}
	at := slices.IndexFunc(f.open, func(o *fragmented) bool { return o.key == key })
	if at < 0 {
		if len(f.open) >= maxFragmented {
			f.open = slices.Delete(f.open, 0, 1)
		}
		f.open = append(f.open, &fragmented{key: key, end: -1})
		at = len(f.open) - 1
	}
	p := f.open[at]
	whole, ok := p.add(offset, more, b)
	if whole || !ok {
		f.open = slices.Delete(f.open, at, at+1)
	}
	if !whole {
		return nil
	}
	return p.data[:p.end]
}

// add tells whether the payload is whole now, and whether it still can be:
// fragments that overlap are an attack (RFC 5722), except repeated ones.
func (p *fragmented) add(offset int, more bool, b []byte) (whole, ok bool) {
	end := offset + len(b)
	if !more {
		if p.end >= 0 && p.end != end {
			return false, false
		}
		p.end = end
	}
	at, found := slices.BinarySearchFunc(p.pieces, offset, func(piece [2]int, v int) int { return piece[0] - v })
	switch {
	case found && p.pieces[at][1] == end:
		return false, true
	case found, at > 0 && p.pieces[at-1][1] > offset, at < len(p.pieces) && p.pieces[at][0] < end, len(p.pieces) >= maxPieces:
		return false, false
	}
	p.pieces = slices.Insert(p.pieces, at, [2]int{offset, end})
	if len(p.data) < end {
		p.data = append(p.data, make([]byte, end-len(p.data))...)
	}
	copy(p.data[offset:], b)
	if p.end < 0 {
		return false, true
	}
	next := 0
	for _, piece := range p.pieces {
		if piece[0] != next {
			return false, true
		}
		next = piece[1]
	}
	return next == p.end, next <= p.end
}
