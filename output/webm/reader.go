package webm

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/roomtape/roomtape/media"
)

const (
	// maxBlock bounds what is read as one block, in bytes.
	maxBlock = MaxFrameSize + blockHead
	// maxFaults bounds the list of faults; the last one says that there are
	// more.
	maxFaults = 100
)

// Fault is something that is wrong with a file.
type Fault struct {
	// Offset is where in the file, in bytes, it was noticed.
	Offset int64 `json:"offset"`
	// What says in words what is wrong there.
	What string `json:"what"`
}

// Block is one frame of a track, as it is in the file.
type Block struct {
	// Track is the number of the track, one of those that Tracks gives.
	Track int
	// Time is the timestamp in the file. A track's codec delay is included:
	// players show the frame that much earlier.
	Time time.Duration
	// Duration is what a BlockGroup says, or 0.
	Duration time.Duration
	// Key, Hidden and Droppable are the flags of the block. A BlockGroup is
	// a keyframe when it refers to no other block.
	Key, Hidden, Droppable bool
	// Data is the frame; it is valid until the next call of Next.
	Data []byte
	// Offset is where in the file the block's element begins. The frames of
	// one laced block have the same.
	Offset int64
	// Cluster is where in the file the block's cluster begins.
	Cluster int64
}

// Track is what a file says of one of its tracks.
type Track struct {
	// Number is what the blocks of the track are marked with.
	Number int
	// Track has the codec (CodecUnknown for one that is not recorded by us),
	// the size, the channels and the decoder configuration.
	media.Track
	// Type is Audio or Video, or 0 for a track of another type.
	Type media.Kind
	// CodecID is the codec's name in Matroska, such as "V_VP8".
	CodecID string
	// CodecDelay is what is to be taken from the timestamps of the blocks,
	// and SeekPreRoll how much must be decoded before a place that is sought.
	CodecDelay, SeekPreRoll time.Duration
	// DefaultDuration is how long each frame lasts, or 0.
	DefaultDuration time.Duration
}

// Reader reads the frames of a WebM or Matroska stream one after the other,
// with no need to seek, in memory that does not depend on the stream's length.
//
// Elements of unknown size, several segments in a row, laces and unknown
// elements are understood; encrypted blocks are left out. Damage is noted as a
// Fault, and reading goes on at the next cluster. It is used by one goroutine.
type Reader struct {
	src    source
	faults []Fault
	more   bool // there are more faults than the list has
	// damage counts the faults for which something could not be read.
	damage int
	seen   *structure

	docType   string
	scale     int64 // ns per tick
	duration  float64
	tracks    []Track
	index     map[int]int // from a track's number to its place in tracks
	strangers map[int]bool

	inSegment, inCluster   bool
	segmentEnd, clusterEnd int64
	clusterStart           int64
	clusterTime            int64 // ticks
	clusterTimed           bool

	block  Block // what the frames of the current block have in common
	buf    []byte
	frames [][]byte // of the current block
	given  int      // how many of them have been given
	done   bool
}

// NewReader makes a Reader on r, which it does not close. It reads ahead.
func NewReader(r io.Reader) *Reader {
	return &Reader{src: newSource(r), scale: int64(time.Millisecond)}
}

// DocType gives the type of the latest document that began, such as "webm".
// Like Tracks, it is known once Next has returned.
func (r *Reader) DocType() string { return r.docType }

// Tracks gives the tracks of the segment that is being read. The slice is not
// changed later; a segment that lists its tracks anew gets a new one.
func (r *Reader) Tracks() []Track { return r.tracks }

// Faults gives what has been found wrong so far, in the order of the file, and
// at most a hundred.
func (r *Reader) Faults() []Fault { return r.faults }

// Next gives the next frame. The error is io.EOF at the end of the stream, be
// it whole or cut, and else the stream's own.
func (r *Reader) Next() (Block, error) {
	for {
		if r.given < len(r.frames) {
			return r.give(), nil
		}
		if r.done {
			if r.src.err != nil {
				return Block{}, r.src.err
			}
			return Block{}, io.EOF
		}
		r.step()
	}
}

// give takes the next frame from the current block.
func (r *Reader) give() Block {
	b := r.block
	b.Data = r.frames[r.given]
	if r.given > 0 {
		b.Time += time.Duration(r.given) * r.tracks[r.index[b.Track]].DefaultDuration
	}
	r.given++
	return b
}

// step reads the next element, on whatever level it is.
func (r *Reader) step() {
	at := r.src.pos
	if r.inCluster && at >= r.clusterEnd {
		r.inCluster = false
	}
	if r.inSegment && at >= r.segmentEnd {
		r.endSegment()
	}
	e, state := r.src.head()
	switch state {
	case headNone:
		r.end()
	case headCut:
		r.cut(at, "the head of an element")
	case headWrong:
		r.resync(at)
	default:
		if !r.inSegment {
			r.topElement(e)
		} else if !r.inCluster || !r.clusterElement(e) {
			r.segmentElement(e)
		}
	}
}

// topElement reads an element that is outside of any segment.
func (r *Reader) topElement(e element) {
	switch e.id {
	case idEBML:
		r.ebmlHeader(e)
	case idSegment:
		r.src.skipTo(e.data)
		if r.docType == "" {
			r.oddity(e.start, "a segment without an EBML header before it")
		}
		r.inSegment, r.segmentEnd = true, e.end
		r.scale, r.duration = int64(time.Millisecond), 0
		r.tracks, r.index, r.strangers = nil, nil, nil
		if r.seen != nil {
			r.seen.begin(e)
		}
	case idVoid, idCRC32:
		r.skip(e)
	case idCluster, idInfo, idTracks, idSeekHead, idCues, idTags, idChapters, idAttachments:
		r.oddity(e.start, "an element of a segment outside of any")
		r.inSegment, r.segmentEnd = true, unknownEnd
		r.segmentElement(e)
	default:
		r.resync(e.start)
	}
}

// segmentElement reads an element of the first level of a segment.
func (r *Reader) segmentElement(e element) {
	if e.id != idCluster && e.end == unknownEnd && e.id != idEBML && e.id != idSegment {
		r.resync(e.start) // only segments and clusters may be of unknown size
		return
	}
	if e.end != unknownEnd && e.end > r.segmentEnd {
		r.oddity(e.start, "an element that goes on after the end of its segment")
	}
	if r.seen != nil {
		r.seen.element(e)
	}
	switch e.id {
	case idCluster:
		r.src.skipTo(e.data)
		r.inCluster, r.clusterStart, r.clusterEnd = true, e.start, e.end
		r.clusterTime, r.clusterTimed = 0, false
	case idInfo:
		r.info(e)
	case idTracks:
		r.readTracks(e)
	case idSeekHead:
		r.seekHead(e)
	case idCues:
		r.cues(e)
	case idChapters:
		r.chapters(e)
	case idVoid, idCRC32, idTags, idAttachments:
		r.skip(e)
	case idEBML, idSegment:
		if r.segmentEnd != unknownEnd {
			r.oddity(e.start, "a new document before the end of the segment")
		}
		r.endSegment()
		r.topElement(e)
	default:
		r.stranger(e, r.segmentEnd)
	}
}

// clusterElement reads an element of a cluster. It tells whether it is one:
// any of a higher level ends the cluster, and is left to the caller.
func (r *Reader) clusterElement(e element) bool {
	switch e.id {
	case idCluster, idInfo, idTracks, idSeekHead, idCues, idTags, idChapters, idAttachments, idEBML, idSegment:
		if r.clusterEnd != unknownEnd {
			r.oddity(e.start, "a cluster that is shorter than its size says")
		}
		r.inCluster = false
		return false
	}
	if e.end == unknownEnd || e.end > min(r.clusterEnd, r.segmentEnd) {
		r.resync(e.start)
		return true
	}
	switch e.id {
	case idTimestamp:
		v, ok := r.uint(e)
		if ok && v > math.MaxInt64/2 {
			r.fault(e.start, "a cluster's timestamp out of range")
			ok = false
		}
		r.clusterTime, r.clusterTimed = int64(v), ok
	case idSimpleBlock:
		if r.readBlock(e) {
			r.emit(e, true)
		}
	case idBlockGroup:
		r.blockGroup(e)
	case idPosition, idPrevSize, idVoid, idCRC32, idSilentTracks, idEncryptedBlock:
		r.skip(e)
	default:
		r.stranger(e, r.clusterEnd)
	}
	return true
}

// readBlock reads the data of a block into buf.
func (r *Reader) readBlock(e element) bool {
	if e.size() > maxBlock {
		r.fault(e.start, fmt.Sprintf("a block of %d bytes", e.size()))
		r.skip(e)
		return false
	}
	r.src.skipTo(e.data)
	var ok bool
	r.buf, ok = r.src.appendTo(r.buf[:0], int(e.size()))
	if !ok {
		r.cut(e.start, "a block")
	}
	return ok
}

// blockGroup reads a BlockGroup (RFC 9559 §5.1.3.5).
func (r *Reader) blockGroup(e element) {
	var duration uint64
	var block element
	key, have := true, false
	r.children(e, func(c element) {
		switch c.id {
		case idBlock:
			block, have = c, r.readBlock(c)
		case idBlockDuration:
			duration, _ = r.uint(c)
		case idReferenceBlock:
			key = false
		}
	})
	if !have || r.done {
		return
	}
	r.emit(block, false)
	if d, ok := r.ticks(duration); ok {
		r.block.Duration = d
	}
	r.block.Key = key
	r.block.Droppable = false // that bit is reserved in a Block
	r.block.Offset = e.start
}

// emit makes the frames of the block in buf ready to be given.
func (r *Reader) emit(e element, simple bool) {
	v, n, _ := parseVint(r.buf)
	if n == 0 || len(r.buf) < n+3 {
		r.fault(e.start, errBlockShort.Error())
		return
	}
	number := int(min(v, math.MaxInt32))
	place, ok := r.index[number]
	if !ok {
		r.unlisted(e.start, number)
		return
	}
	if !r.clusterTimed {
		r.fault(e.start, "a block in a cluster without a timestamp")
		return
	}
	tick := r.clusterTime + int64(int16(binary.BigEndian.Uint16(r.buf[n:])))
	at, ok := r.ticks(uint64(max(tick, 0)))
	if !ok {
		r.fault(e.start, "a block's timestamp out of range")
		return
	}
	if tick < 0 {
		at = time.Duration(tick * r.scale)
	}
	flags := r.buf[n+2]
	var err error
	r.frames, err = splitLaces(r.frames[:0], flags&flagLacing, r.buf[n+3:])
	if err != nil {
		r.frames = r.frames[:0]
		r.fault(e.start, err.Error())
		return
	}
	r.given = 0
	r.block = Block{
		Track: r.tracks[place].Number, Time: at, Offset: e.start, Cluster: r.clusterStart,
		Key:       simple && flags&flagKey != 0,
		Hidden:    flags&flagInvisible != 0,
		Droppable: flags&flagDroppable != 0,
	}
}

// ticks gives a number of ticks as a time.
func (r *Reader) ticks(n uint64) (time.Duration, bool) {
	if n > uint64(math.MaxInt64/2/r.scale) {
		return 0, false
	}
	return time.Duration(int64(n) * r.scale), true
}

// unlisted notes blocks of a track that Tracks does not list, once for each.
func (r *Reader) unlisted(offset int64, number int) {
	if r.strangers[number] || len(r.strangers) >= maxFaults {
		return
	}
	if r.strangers == nil {
		r.strangers = make(map[int]bool)
	}
	r.strangers[number] = true
	r.fault(offset, fmt.Sprintf("a block of track %d, which is not among the tracks", number))
}

// stranger skips an element that is not known to us, as EBML wants it, if what
// comes after it is an element that is; else it is damage.
func (r *Reader) stranger(e element, parentEnd int64) {
	if e.end == unknownEnd || e.end > parentEnd || e.size() > bufferSize-2*maxHead {
		r.resync(e.start)
		return
	}
	size := int(e.end - e.start)
	b := r.src.peek(size + maxHead)
	if len(b) < size {
		r.resync(e.start)
		return
	}
	next, state := parseHead(b[size:], e.end)
	if e.end == parentEnd || state == headNone || state == headOK && (known(next.id) || next.id == e.id) {
		r.skip(e)
		return
	}
	r.resync(e.start)
}

// known tells whether an id is one of the first two levels of a segment.
func known(id uint32) bool {
	switch id {
	case idCluster, idInfo, idTracks, idSeekHead, idCues, idTags, idChapters, idAttachments, idEBML, idSegment,
		idVoid, idCRC32, idTimestamp, idSimpleBlock, idBlockGroup, idPosition, idPrevSize, idSilentTracks, idEncryptedBlock:
		return true
	}
	return false
}

// endSegment is called where a segment ends.
func (r *Reader) endSegment() {
	r.inSegment, r.inCluster = false, false
	if r.seen != nil {
		r.seen.finish(r)
	}
}

// end is called where the input ends between two elements.
func (r *Reader) end() {
	switch at := r.src.pos; {
	case r.inCluster && r.clusterEnd != unknownEnd:
		r.fault(at, fmt.Sprintf("the file ends inside a cluster, %d bytes before its end", r.clusterEnd-at))
	case r.inSegment && r.segmentEnd != unknownEnd:
		r.fault(at, fmt.Sprintf("the file ends %d bytes before its segment does", r.segmentEnd-at))
	case r.docType == "" && len(r.faults) == 0:
		r.fault(at, "the file is empty")
	}
	if r.inSegment {
		r.endSegment()
	}
	r.done = true
}

// cut is called where the input ends inside of something that began at offset.
func (r *Reader) cut(offset int64, what string) {
	if r.done {
		return
	}
	r.src.skipTo(unknownEnd)
	if r.src.err == nil {
		r.fault(offset, fmt.Sprintf("the file ends at %d inside %s", r.src.pos, what))
	}
	if r.inSegment {
		r.endSegment()
	}
	r.done = true
}

// fault notes that something can't be read.
func (r *Reader) fault(offset int64, what string) {
	r.damage++
	r.oddity(offset, what)
}

// oddity notes that something is not as it should be, though it can be read.
func (r *Reader) oddity(offset int64, what string) {
	switch {
	case r.done:
		// What a cut element lacks is no fault of its own.
	case len(r.faults) < maxFaults-1:
		r.faults = append(r.faults, Fault{offset, what})
	case !r.more:
		r.more = true
		r.faults = append(r.faults, Fault{offset, "more faults follow that are not listed"})
	}
}
