package webm

import "fmt"

// resyncLook is how many bytes are enough to tell whether an element that is
// looked for begins somewhere: two heads.
const resyncLook = 24

// resync goes on after damage that was noticed at offset: at the next cluster,
// index, chapters or document.
func (r *Reader) resync(offset int64) {
	r.inCluster = false
	r.src.teeing = false
	r.src.skipTo(offset + 1)
	for {
		b := r.src.ahead(4 << 10)
		last := len(b) < resyncLook
		for i := range b {
			if !last && len(b)-i < resyncLook {
				// Look at the rest together with what follows it.
				b = b[:i]
				break
			}
			if restarts(b[i:]) {
				r.src.skipTo(r.src.pos + int64(i))
				r.resumed(offset)
				return
			}
		}
		r.src.skipTo(r.src.pos + int64(len(b)))
		if last {
			r.resumed(offset)
			return
		}
	}
}

// resumed notes the damage from offset to here.
func (r *Reader) resumed(offset int64) {
	if r.src.err != nil {
		return
	}
	b := r.src.peek(resyncLook)
	if len(b) == 0 && r.docType == "" && offset == 0 {
		r.fault(0, "this is neither WebM nor Matroska")
	} else {
		r.fault(offset, fmt.Sprintf("%d bytes that are no element that belongs there", r.src.pos-offset))
	}
	if len(b) == 0 {
		// The input has ended; it is not a cut as well.
		r.segmentEnd = unknownEnd
		return
	}
	if e, _ := parseHead(b, r.src.pos); e.id == idEBML {
		if r.inSegment {
			r.endSegment()
		}
		return
	}
	// Should the segment have ended already, then its size was wrong.
	if !r.inSegment || r.src.pos >= r.segmentEnd {
		r.inSegment, r.segmentEnd = true, unknownEnd
	}
}

// restarts tells whether b begins with an element that reading can go on at,
// whose first child is one that may stand there.
func restarts(b []byte) bool {
	// Every such id begins with a byte from 0x1A to 0x1F, or is Chapters'.
	if len(b) < 4 || (b[0] < 0x1A || b[0] > 0x1F) && b[0] != idChapters>>24 {
		return false
	}
	e, state := parseHead(b, 0)
	if state != headOK {
		return false
	}
	child, state := parseHead(b[e.data:], e.data)
	if state != headOK || child.end > e.end && child.end != unknownEnd {
		return false
	}
	switch e.id {
	case idCluster:
		switch child.id {
		case idTimestamp, idCRC32, idVoid, idPosition, idPrevSize, idSilentTracks, idSimpleBlock, idBlockGroup:
			return true
		}
	case idCues:
		return child.id == idCuePoint || child.id == idCRC32 || child.id == idVoid
	case idChapters:
		return child.id == idEditionEntry || child.id == idCRC32 || child.id == idVoid
	case idEBML:
		return child.id>>8 == 0x42 || child.id == idCRC32 || child.id == idVoid
	}
	return false
}
