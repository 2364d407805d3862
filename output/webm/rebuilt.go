package webm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"iter"
	"math"
	"time"

	"github.com/at-wat/ebml-go/webm"

	"github.com/roomtape/roomtape/media"
)

// maxSeeks is how many entries a SeekHead written by Repair has room for: Info,
// Tracks, Cues, Tags, Chapters, Attachments.
const maxSeeks = 6

// rebuilt is a document that Repair is writing: an EBML header and a segment.
type rebuilt struct {
	start  int64  // offset in the file
	head   []byte // up to the first cluster
	scale  int64
	tracks []rebuiltTrack
	// Offsets in head.
	size, segment, seekHead, duration int
	seeks                             []seek
	numbers                           []int // of the tracks
	declared                          time.Duration
	damage                            int // of what was before it

	latest         time.Duration // the beginning of the last frame
	keys, clusters cueList
}

// rebuiltTrack is where a track has come to.
type rebuiltTrack struct {
	// order has the times of its frames; of those in order of presentation,
	// shown is the latest and step how long after the one before it is.
	order       media.Order
	used        bool
	shown, step time.Duration
	// known is when the last frame of known length ends.
	known time.Duration
}

// follow notes a frame at a time, which lasts so long, or 0 when that is not
// known.
func (t *rebuiltTrack) follow(at, length time.Duration) {
	if t.used && at < t.order.Floor() { // time begins anew
		*t = rebuiltTrack{known: t.end()}
	}
	if length > 0 {
		t.known = max(t.known, at+length)
	}
	t.order.Wait()
	t.order.Push(at)
	t.arrange()
}

func (t *rebuiltTrack) arrange() {
	for at, ok := t.order.Pop(); ok; at, ok = t.order.Pop() {
		if t.used {
			t.step = min(at-t.shown, maxGuess)
		}
		t.used, t.shown = true, at
	}
}

// end gives when the last frame ends. It is taken to last as long as the one
// before, if nothing else tells.
func (t *rebuiltTrack) end() time.Duration {
	t.order.Flush()
	t.arrange()
	if t.known > t.shown {
		return t.known
	}
	return t.shown + t.step
}

// point notes an element for the SeekHead: the first one of each id.
func (d *rebuilt) point(id uint32, offset int64) {
	key := binary.BigEndian.AppendUint32(nil, id)
	for _, s := range d.seeks {
		if bytes.Equal(s.SeekID, key) {
			return
		}
	}
	d.seeks = append(d.seeks, seek{SeekID: key, SeekPosition: uint64(offset - d.start - int64(d.segment))})
}

// beginDoc writes the header of a document, and begins its first cluster with a
// block.
func (x *repairer) beginDoc(block []byte) {
	r := x.r
	d := &rebuilt{start: x.pos, scale: r.scale, tracks: make([]rebuiltTrack, len(r.tracks)), damage: x.r.damage}
	if v := r.duration * float64(r.scale); v > 0 && v < math.MaxInt64/2 {
		d.declared = time.Duration(v)
	}
	for _, t := range r.tracks {
		d.numbers = append(d.numbers, t.Number)
	}
	d.head, x.err = ebmlHeader(x.ebml, r)
	if x.err != nil {
		return
	}
	d.head = binary.BigEndian.AppendUint32(d.head, idSegment)
	d.size = len(d.head)
	d.head = append(d.head, unknownSize...)
	d.segment, d.seekHead = len(d.head), len(d.head)
	d.head = appendVoid(d.head, 4+1+maxSeeks*seekSize)
	d.point(idInfo, d.start+int64(len(d.head)))
	d.head = append(d.head, rebuiltInfo(x.info, r.scale)...)
	d.duration = len(d.head) - 8
	d.point(idTracks, d.start+int64(len(d.head)))
	d.head = append(d.head, x.tracks...)
	x.doc = d
	x.write(d.head)
	for _, e := range x.early {
		d.point(e.id, x.pos)
		x.write(e.raw)
	}
	x.early, x.earlySize = nil, 0
	x.beginCluster(block)
}

// endDoc completes the document that is being written, if there is one.
func (x *repairer) endDoc() {
	d := x.doc
	if d == nil {
		return
	}
	x.flush()
	cues := &d.keys
	if len(cues.cues) == 0 {
		cues = &d.clusters
	}
	if b := cues.marshal(d.start+int64(d.segment), d.numbers); b != nil {
		d.point(idCues, x.pos)
		x.write(b)
	}
	length := time.Millisecond
	for i := range d.tracks {
		length = max(length, d.tracks[i].end())
	}
	if x.r.damage == d.damage && d.declared >= d.latest {
		length = max(d.declared, time.Millisecond)
	}
	x.total += length
	binary.BigEndian.PutUint64(d.head[d.size:], 1<<56|uint64(x.pos-d.start-int64(d.segment)))
	binary.BigEndian.PutUint64(d.head[d.duration:], math.Float64bits(float64(length)/float64(d.scale)))
	sh, err := marshal(&struct {
		SeekHead struct {
			Seek []seek `ebml:"Seek"`
		} `ebml:"SeekHead"`
	}{struct {
		Seek []seek `ebml:"Seek"`
	}{d.seeks}})
	if err != nil {
		x.err = err
		return
	}
	room := 4 + 1 + maxSeeks*seekSize
	copy(d.head[d.seekHead:], appendVoid(sh, room-len(sh)))
	x.writeAt(d.head[d.size:], d.start+int64(d.size))
	x.doc = nil
}

// ebmlHeader makes the header of a document that is like the one of raw, which
// may be missing.
func ebmlHeader(raw []byte, r *Reader) ([]byte, error) {
	h := webm.EBMLHeader{
		EBMLVersion: 1, EBMLReadVersion: 1, EBMLMaxIDLength: 4, EBMLMaxSizeLength: 8,
		DocType: docTypeWebM, DocTypeVersion: 4, DocTypeReadVersion: 2,
	}
	for e := range elements(raw) {
		switch v := number(raw[e.data:e.end]); e.id {
		case idDocTypeVersion: // Cues are written as of version 4
			h.DocTypeVersion = max(h.DocTypeVersion, min(v, math.MaxInt32))
		case idDocTypeReadVersion:
			h.DocTypeReadVersion = max(h.DocTypeReadVersion, min(v, h.DocTypeVersion))
		}
	}
	if len(raw) > 0 && (r.docType == docTypeWebM || r.docType == docTypeMatroska) {
		h.DocType = r.docType
	} else {
		for _, t := range r.tracks {
			if !codecs[t.Codec].webm {
				h.DocType = docTypeMatroska
			}
		}
	}
	return marshal(&struct {
		EBML webm.EBMLHeader `ebml:"EBML"`
	}{h})
}

// rebuiltInfo makes an Info like raw, which may be missing, that ends in a
// Duration of 8 bytes to be filled in.
func rebuiltInfo(raw []byte, scale int64) []byte {
	var data []byte
	muxing, writing, scaled := false, false, false
	for e := range elements(raw) {
		switch e.id {
		case idDuration, idCRC32, idVoid:
			continue
		case idTimestampScale:
			scaled = true
		case idMuxingApp:
			muxing = true
		case idWritingApp:
			writing = true
		}
		data = append(data, raw[e.start:e.end]...)
	}
	if !scaled {
		data = appendElement(data, idTimestampScale, binary.BigEndian.AppendUint64(nil, uint64(scale)))
	}
	if !muxing {
		data = appendElement(data, idMuxingApp, []byte("Roomtape"))
	}
	if !writing {
		data = appendElement(data, idWritingApp, []byte("Roomtape"))
	}
	return appendElement(nil, idInfo, appendElement(data, idDuration, make([]byte, 8)))
}

// appendElement appends an element of known size.
func appendElement(b []byte, id uint32, data []byte) []byte {
	n := 4
	for n > 1 && id>>(8*(n-1)) == 0 {
		n--
	}
	b = appendUint(b, uint64(id), n)
	b = appendUint(b, 1<<56|uint64(len(data)), 8)
	return append(b, data...)
}

// elements goes through the children of an element that is whole in memory.
// Offsets count from the beginning of raw.
func elements(raw []byte) iter.Seq[element] {
	return func(yield func(element) bool) {
		parent, state := parseHead(raw, 0)
		if state != headOK {
			return
		}
		for at := parent.data; at < int64(len(raw)); {
			e, state := parseHead(raw[at:], at)
			if state != headOK || e.end > int64(len(raw)) || !yield(e) {
				return
			}
			at = e.end
		}
	}
}

// number reads an unsigned integer that is whole in memory.
func number(b []byte) uint64 {
	var v uint64
	for _, c := range b[:min(len(b), 8)] {
		v = v<<8 | uint64(c)
	}
	return v
}

// memorySource is a source of what is whole in memory, of which nothing is
// looked at ahead but heads and numbers.
func memorySource(b []byte) source {
	return source{r: bufio.NewReaderSize(bytes.NewReader(b), 64)}
}
