package webm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/roomtape/roomtape/media"
)

// repairChunk is how large a cluster gets that is written by Repair, in bytes,
// if it is not a single block that is larger. Ours are smaller, and stay as
// they are.
const repairChunk = 2 * DefaultMaxChunkBytes

// maxGuess bounds how long the last frame is taken to last when nothing but the
// step before it tells.
const maxGuess = time.Second

// ErrNothing is wrapped by the error of Repair when not one frame can be saved.
var ErrNothing = errors.New("there is no frame in it that can be saved")

// Loss is a part of a file that could not be kept.
type Loss struct {
	// Offset is where in the file it begins, and Bytes its length.
	Offset int64 `json:"offset"`
	Bytes  int64 `json:"bytes"`
	// What says in words why.
	What string `json:"what"`
}

// Rescue says what Repair has done. As JSON it is what `roomtape repair --json`
// prints.
type Rescue struct {
	// File and Output are left for the caller to fill in.
	File   string `json:"file"`
	Output string `json:"output,omitempty"`
	// Whole is set when there was nothing to repair, and nothing was written.
	Whole bool `json:"whole"`
	// DurationMS is the length of what was saved, in Frames frames.
	DurationMS int64 `json:"duration_ms"`
	Frames     int64 `json:"frames"`
	// Bytes is the length of what was written.
	Bytes int64 `json:"bytes"`
	// LostBytes is how many bytes of the file were not understood, in all.
	LostBytes int64 `json:"lost_bytes"`
	// Lost lists them, and what else was wrong, in the order of the file; at
	// most a hundred.
	Lost []Loss `json:"lost"`
}

// Repair writes to w, from offset 0, a whole and seekable file with every
// intact frame of the file r of size bytes, in memory that does not depend on
// the size. When that is whole already, it writes nothing and says so.
//
// Blocks, tracks, tags, chapters and attachments are kept byte by byte, and
// each block has its cluster's timestamp. What says how the file is built is
// made anew: sizes, SeekHead, Duration and Cues. Several segments stay several,
// each with its own. What was written when an error is returned is of no use.
// The error wraps ErrNothing, or is the one of r or w.
func Repair(w io.WriterAt, r io.ReaderAt, size int64) (Rescue, error) {
	if Finished(r, size) {
		rep, err := Inspect(io.NewSectionReader(r, 0, size), size)
		if err != nil {
			return Rescue{}, err
		}
		if rep.Seekable && rep.Finalized && len(rep.Faults) == 0 {
			out := Rescue{Whole: true, DurationMS: rep.DurationMS, Lost: []Loss{}}
			for _, t := range rep.Tracks {
				out.Frames += int64(t.Frames)
			}
			return out, nil
		}
	}
	x := repairer{r: NewReader(io.NewSectionReader(r, 0, size)), w: w, lost: []Loss{}}
	for !x.r.done && x.err == nil {
		x.step()
	}
	x.finish()
	switch {
	case x.r.src.err != nil:
		return Rescue{}, fmt.Errorf("webm: repairing: %w", x.r.src.err)
	case x.err != nil:
		return Rescue{}, x.err
	}
	out := Rescue{
		DurationMS: x.total.Milliseconds(), Frames: x.frames, Bytes: x.pos,
		LostBytes: x.lostBytes, Lost: x.lost,
	}
	if x.frames == 0 {
		return out, fmt.Errorf("webm: repairing: %w", ErrNothing)
	}
	return out, nil
}

// Finished tells whether the head of a file of size bytes says that writing has
// ended and that all of it is there. It reads no further than the first frame.
func Finished(r io.ReaderAt, size int64) bool {
	x := NewReader(io.NewSectionReader(r, 0, size))
	for !x.done && !x.inCluster && x.damage == 0 {
		x.step()
	}
	return x.inCluster && x.damage == 0 && x.segmentEnd <= size && x.duration > 0
}

// repairer copies what is intact from a Reader to a file.
type repairer struct {
	r   *Reader
	w   io.WriterAt
	pos int64 // bytes written
	err error // of w

	lost      []Loss
	lostBytes int64
	frames    int64
	total     time.Duration // of all documents

	ebml, info []byte // of the document that is read; info is without Duration
	tracks     []byte
	early      []extra // read before the first block
	earlySize  int
	doc        *rebuilt // nil before the first block
	// The cluster that is being collected is in r.src.tee: clusterHead bytes
	// to be filled in, and blocks; or nothing.
	base     int64 // its timestamp, in ticks
	start    int64 // where in the file that is read it began
	pending  []cue // of its keyframes
	firstCue cue
}

// extra is an element that is kept as it is: tags, chapters or attachments.
type extra struct {
	id  uint32
	raw []byte
}

// step reads an element and keeps what is intact of it.
func (x *repairer) step() {
	r := x.r
	at, damage, faults := r.src.pos, r.damage, len(r.faults)
	mark := len(r.src.tee)
	r.frames, r.given = r.frames[:0], 0
	r.src.teeing = true
	r.step()
	all := r.src.teeing // else it was too large, or not an element
	r.src.teeing = false
	if r.src.err != nil {
		return
	}
	e, state := parseHead(r.src.tee[mark:], at)
	if state != headOK {
		e.id = 0
	}
	intact := r.damage == damage && all && e.id != 0
	switch {
	case len(r.frames) > 0:
		x.block(mark, intact)
	case e.id == idSimpleBlock || e.id == idBlockGroup:
		intact = false
		r.src.tee = r.src.tee[:mark]
	default:
		var raw []byte
		if all && (e.id == idEBML || e.id == idInfo || e.id == idTracks || isExtra(e.id)) {
			raw = bytes.Clone(r.src.tee[mark:])
		}
		r.src.tee = r.src.tee[:mark]
		intact = x.element(e.id, raw, intact)
	}
	if !all || e.id != idVoid && e.id != idCRC32 && e.id != idCues && e.id != idSeekHead && e.id != idPosition && e.id != idPrevSize {
		x.account(at, intact, faults)
		return
	}
	x.account(at, true, faults) // it is not missed
}

// account notes what was wrong with the element that was read at an offset.
func (x *repairer) account(at int64, intact bool, faults int) {
	l := Loss{Offset: at, What: "an element that is not known, or a block without a frame of a known track"}
	if news := x.r.faults[faults:]; len(news) > 0 {
		l.What = news[0].What
	} else if intact || x.r.src.pos == at {
		return
	}
	if !intact {
		l.Bytes = x.r.src.pos - at
		x.lostBytes += l.Bytes
	}
	switch last := len(x.lost) - 1; {
	case last >= 0 && (x.lost[last].What == l.What || len(x.lost) == maxFaults):
		x.lost[last].Bytes += l.Bytes
	case len(x.lost) == maxFaults-1:
		l.What = "more that is not listed"
		fallthrough
	default:
		x.lost = append(x.lost, l)
	}
}

// isExtra tells whether an element is kept as it is, though it is no media.
func isExtra(id uint32) bool { return id == idTags || id == idChapters || id == idAttachments }

// element keeps what is needed of an element that is no block, and tells whether
// that is all of it. raw is nil unless it was read whole and is kept.
func (x *repairer) element(id uint32, raw []byte, intact bool) bool {
	switch id {
	case idEBML, idSegment:
		x.endDoc()
		if id == idEBML {
			x.ebml = nil
			if intact {
				x.ebml = raw
			}
			break
		}
		// Only now does the Reader forget the tracks: after a damaged header
		// what follows is taken for more of the segment before.
		x.info, x.tracks, x.early, x.earlySize = nil, nil, nil, 0
	case idInfo:
		if intact && (x.doc == nil || x.doc.scale != x.r.scale) {
			x.endDoc()
			x.info = raw
		}
	case idTracks:
		if !intact {
			raw = x.mendTracks(raw)
		}
		if x.doc == nil || !bytes.Equal(raw, x.tracks) {
			x.endDoc()
			x.tracks = raw
		}
	case idTags, idChapters, idAttachments:
		return intact && x.keepExtra(extra{id, raw})
	case idCluster, idTimestamp, idSeekHead, idCues, idVoid, idCRC32, idPosition, idPrevSize, idSilentTracks:
		// Made anew, or of no use.
	default:
		return false
	}
	return intact
}

// mendTracks gives Tracks with the entries of damaged ones that can be read.
func (x *repairer) mendTracks(raw []byte) []byte {
	var kept []byte
	seen := map[int]bool{}
	for e := range elements(raw) {
		if e.id != idTrackEntry {
			continue
		}
		entry := raw[e.start:e.end]
		t, ok := readEntry(entry)
		if !ok {
			// Its children one by one.
			var data []byte
			for c := range elements(entry) {
				child := entry[c.start:c.end]
				if _, ok := readEntry(appendElement(nil, idTrackEntry, child)); ok {
					data = append(data, child...)
				}
			}
			entry = appendElement(nil, idTrackEntry, data)
			t, ok = readEntry(entry)
			ok = ok && t.CodecID != "" // else nobody could play it
		}
		if !ok || t.Number == 0 || seen[t.Number] || len(seen) == maxReadTracks {
			continue
		}
		seen[t.Number] = true
		kept = append(kept, entry...)
	}
	// Blocks of the others are left out.
	for _, t := range x.r.tracks {
		if !seen[t.Number] {
			delete(x.r.index, t.Number)
		}
	}
	return appendElement(nil, idTracks, kept)
}

// readEntry reads a TrackEntry that is whole in memory, and tells whether all of
// it can be read.
func readEntry(raw []byte) (Track, bool) {
	r := Reader{src: memorySource(raw)}
	head, _ := r.src.head()
	t := r.track(head)
	return t, r.damage == 0
}

// keepExtra keeps an element as it is, and tells whether there was room for it.
func (x *repairer) keepExtra(e extra) bool {
	if x.doc != nil {
		x.flush() // a cluster of unknown size ends before it
		x.doc.point(e.id, x.pos)
		x.write(e.raw)
		return true
	}
	if x.earlySize+len(e.raw) > teeLimit {
		return false
	}
	x.earlySize += len(e.raw)
	x.early = append(x.early, e)
	return true
}

// block keeps the block that has been read to r.src.tee[mark:]. One that is not
// intact, though its frames are, becomes a SimpleBlock.
func (x *repairer) block(mark int, intact bool) {
	r, src := x.r, &x.r.src
	if !intact {
		if r.block.Key {
			r.buf[vintLen(r.buf[0])+2] |= flagKey
		}
		src.tee = append(appendSize(append(src.tee[:mark], idSimpleBlock), len(r.buf)), r.buf...)
	}
	switch {
	case x.doc == nil:
		x.beginDoc(bytes.Clone(src.tee[mark:]))
		mark = clusterHead
	case mark == 0:
		x.beginCluster(src.tee)
		mark = clusterHead
	case len(src.tee) > repairChunk || r.clusterTime != x.base || r.clusterStart != x.start:
		x.writeCluster(src.tee[:mark])
		x.beginCluster(src.tee[mark:])
		mark = clusterHead
	}
	if x.err == nil {
		x.note(int32(mark - 8))
	}
}

// beginCluster starts a cluster with a block.
func (x *repairer) beginCluster(block []byte) {
	t := &x.r.src.tee
	n := len(block)
	if cap(*t) < clusterHead+n {
		*t = append(make([]byte, clusterHead, max(clusterHead+n, repairChunk/4)), block...)
	} else {
		b := (*t)[:clusterHead+n]
		copy(b[clusterHead:], block)
		*t = b
	}
	x.base, x.start = x.r.clusterTime, x.r.clusterStart
}

// note keeps the times of the block that has been added.
func (x *repairer) note(relative int32) {
	r, d := x.r, x.doc
	place := r.index[r.block.Track]
	x.frames += int64(len(r.frames))
	t := &d.tracks[place]
	at := r.block.Time
	if n := len(r.frames) - 1; n > 0 {
		at += time.Duration(n) * r.tracks[place].DefaultDuration
	}
	length := r.block.Duration
	if length == 0 {
		length = r.tracks[place].DefaultDuration
	}
	t.follow(at, length)
	d.latest = max(d.latest, at)

	c := cue{time: max(int64(r.block.Time)/r.scale, 0), relative: relative, track: uint8(place)}
	if relative == clusterHead-8 {
		x.firstCue = c
	}
	if r.block.Key && isVideo(&r.tracks[place]) {
		x.pending = append(x.pending, c)
	}
}

func isVideo(t *Track) bool {
	return t.Type == media.Video || t.Type == media.KindUnknown && t.Width > 0
}

// flush writes the cluster that is being collected.
func (x *repairer) flush() {
	if len(x.r.src.tee) > clusterHead {
		x.writeCluster(x.r.src.tee)
	}
	x.r.src.tee = x.r.src.tee[:0]
}

// writeCluster fills in a cluster's head and writes it.
func (x *repairer) writeCluster(b []byte) {
	c := cluster{buf: b, base: x.base}
	at := x.pos
	x.write(c.finish())
	x.firstCue.cluster = at
	x.doc.clusters.add(x.firstCue)
	for _, c := range x.pending {
		c.cluster = at
		x.doc.keys.add(c)
	}
	x.pending = x.pending[:0]
}

// write appends to the file.
func (x *repairer) write(b []byte) {
	x.writeAt(b, x.pos)
	x.pos += int64(len(b))
}

func (x *repairer) writeAt(b []byte, offset int64) {
	if x.err != nil || len(b) == 0 {
		return
	}
	if n, err := x.w.WriteAt(b, offset); err != nil || n < len(b) {
		if err == nil {
			err = io.ErrShortWrite
		}
		x.err = fmt.Errorf("webm: repairing: writing %d bytes at offset %d: %w", len(b), offset, err)
	}
}

// finish ends what is open.
func (x *repairer) finish() {
	if x.r.src.err == nil && x.err == nil {
		x.endDoc()
	}
}
