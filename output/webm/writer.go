// Package webm writes, reads and inspects WebM, the subset of Matroska
// (RFC 9559) that browsers play, and plain Matroska for the codecs that WebM
// lacks.
//
// # Files that are whole at every moment
//
// A [Writer] hands over each chunk, which is one Matroska cluster of known size,
// in one Write, into a segment whose size is left unknown for as long as it
// grows. So what is on disk always plays, and a crash costs the chunk that was
// being built. Closing adds an index and fills in the places that the header
// has kept free. docs/FORMAT.md has every byte of it.
//
// # Files that others made
//
// A [Reader] takes any stream, whole or damaged, in bounded memory; what is
// wrong with it is reported as a [Fault], and reading goes on at the next
// cluster. [Inspect] sums up a file.
package webm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

const (
	docTypeWebM     = "webm"
	docTypeMatroska = "matroska"

	// maxTracks is how many tracks a file may have: their numbers take one
	// byte in each block.
	maxTracks = 126
	// MaxFrameSize is the largest frame, in bytes, that a Writer takes.
	MaxFrameSize = 64 << 20

	// DefaultChunk and MaxChunk are what Config.Chunk is when it is 0, and at
	// most: a block's time is a 16-bit number of ms counted from its cluster's.
	DefaultChunk = time.Second
	MaxChunk     = 30 * time.Second
	// DefaultMaxChunkBytes is what Config.MaxChunkBytes is when it is 0.
	DefaultMaxChunkBytes = 4 << 20
)

// ErrClosed is returned by every call on a Writer after Close.
var ErrClosed = errors.New("webm: the file has been closed")

// Config says how a file is written. The zero value is ready for use.
type Config struct {
	// Chunk is how much media, in time, a chunk holds at most, and so what a
	// crash may cost. 0 is DefaultChunk, and more than MaxChunk is MaxChunk.
	Chunk time.Duration
	// MaxChunkBytes is how many bytes a chunk holds at most, if it is not a
	// single frame that is larger. 0 is DefaultMaxChunkBytes.
	MaxChunkBytes int
	// Matroska makes the file Matroska even if no track needs that when it
	// begins: one may come later.
	Matroska bool
	// Writer names the program that writes (WritingApp). Empty is "Roomtape".
	Writer string
	// UID is what the identifiers in the file are made from. The same UID and
	// frames give the same bytes; it should differ between recordings.
	UID string
	// Date is when the recording began (DateUTC), or zero to leave it out.
	Date time.Time
}

// Writer is an [output.Muxer] that writes WebM, or Matroska when a track has a
// codec that WebM lacks.
//
// When the io.Writer it is made on is an io.WriterAt as well, whose offset 0 is
// where the first Write goes, tracks can be added while the file grows, for as
// long as there is room, and Close makes the file seekable. When it also has
// a method Truncate(int64) error, as an *os.File has, Close takes back a chunk
// that was written in part. Otherwise the file is a live stream, whose tracks
// are fixed once the first chunk is written.
//
// Each chunk is one Write, the first one together with the header; so there is
// no moment at which a file has a header and nothing to play. Without a frame
// nothing is written at all. Times are kept in milliseconds, rounded to the nearest for every
// track alike; a time before 0, or before what output.Muxer allows after the
// track's other frames, is taken as that. A frame without data is left out.
type Writer struct {
	w   io.Writer
	at  io.WriterAt // nil for a stream
	cfg Config

	chunk   int64 // ms
	docType string
	header  *header // nil until it has been written
	tracks  []*track
	video   bool // there is a video track
	// stale is set when something in the header's Tracks has changed: a size
	// that has become known, or how close frames are.
	stale   bool
	cluster cluster
	cues    cueList
	marks   []chapter

	pos    int64 // bytes written whole
	err    error
	closed bool
}

var _ output.Muxer = (*Writer)(nil)

// NewWriter makes a Writer on w, and writes nothing yet. It does not close w.
func NewWriter(w io.Writer, cfg Config) (*Writer, error) {
	if cfg.Chunk < 0 || cfg.MaxChunkBytes < 0 {
		return nil, fmt.Errorf("webm: a chunk of %v and %d bytes: less than nothing", cfg.Chunk, cfg.MaxChunkBytes)
	}
	if cfg.Chunk == 0 {
		cfg.Chunk = DefaultChunk
	}
	if cfg.MaxChunkBytes == 0 {
		cfg.MaxChunkBytes = DefaultMaxChunkBytes
	}
	if cfg.Writer == "" {
		cfg.Writer = "Roomtape"
	}
	x := &Writer{w: w, cfg: cfg, chunk: max(1, min(cfg.Chunk, MaxChunk).Milliseconds())}
	x.at, _ = w.(io.WriterAt)
	return x, nil
}

// AddTrack declares a track; see [output.Muxer]. AV1 and H264 need
// Track.Private, and a video track of unknown size gets it from its first
// keyframe. Channels is not looked at: Opus is always declared with two. It
// keeps Track.Private.
func (w *Writer) AddTrack(t media.Track) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	if err := checkTrack(t); err != nil {
		return 0, err
	}
	if len(w.tracks) == maxTracks {
		return 0, fmt.Errorf("webm: adding track %d: %w", maxTracks+1, output.ErrFixedTracks)
	}
	tracks := append(w.tracks[:len(w.tracks):len(w.tracks)], &track{Track: t})
	if w.header != nil {
		if w.at == nil {
			return 0, fmt.Errorf("webm: adding a track to a stream that has begun: %w", output.ErrFixedTracks)
		}
		if !codecs[t.Codec].webm && w.docType == docTypeWebM {
			return 0, fmt.Errorf("webm: adding a track of codec %v to a file that has begun as WebM: %w", t.Codec, output.ErrFixedTracks)
		}
		b, err := marshalTracks(w.cfg.UID, tracks)
		if err != nil {
			return 0, err
		}
		if !w.header.fits(len(b)) {
			return 0, fmt.Errorf("webm: adding track %d: no room in the header: %w", len(tracks), output.ErrFixedTracks)
		}
		if err := w.writeTracks(b); err != nil {
			return 0, err
		}
	}
	w.tracks = tracks
	w.video = w.video || t.Codec.Kind() == media.Video
	return len(tracks), nil
}

// WriteFrame adds a frame to the chunk that is being built, after writing the
// chunk before when it is complete; see [output.Muxer].
func (w *Writer) WriteFrame(number int, f media.Frame) error {
	if err := w.usable(); err != nil {
		return err
	}
	if number < 1 || number > len(w.tracks) {
		return fmt.Errorf("webm: writing a frame: there is no track %d", number)
	}
	if len(f.Data) > MaxFrameSize {
		return fmt.Errorf("webm: writing a frame of %d bytes to track %d: more than %d", len(f.Data), number, MaxFrameSize)
	}
	if len(f.Data) == 0 {
		return nil
	}
	t := w.tracks[number-1]
	start := milliseconds(t.order.Least(t.Codec, f.Time.Round(time.Millisecond)))
	end := max(milliseconds(f.Time+f.Duration), start)
	cue := f.Key && t.Codec.Kind() == media.Video
	if w.full(start, end, len(f.Data), cue) {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if t.Codec.Kind() == media.Audio && !t.begun {
		start = max(start, w.earliestSound())
		end = max(end, start)
	}
	if t.follow(start) {
		w.stale = true
	}
	t.end = end
	if cue && t.Width == 0 && f.Width > 0 {
		t.Width, t.Height = f.Width, f.Height
		w.stale = true
	}

	first := w.cluster.empty()
	rel := w.cluster.add(number, start, &f)
	if cue || first && !w.video {
		w.cluster.addCue(number, start, rel)
	}
	return nil
}

// earliestSound gives the earliest time, in ms, of sound that begins now. When a
// picture has begun in a chunk that is written, sound must not be before it with the
// delay of Opus taken off: Chromium would seek the beginning of the file in the
// sound's chunk, and find no keyframe there.
func (w *Writer) earliestSound() int64 {
	i := slices.IndexFunc(w.tracks, func(t *track) bool { return t.Codec.Kind() == media.Video })
	if i < 0 || !w.tracks[i].written {
		return 0
	}
	return w.tracks[i].first + opusDelayMS
}

// full tells whether the chunk being built has to be written before a frame of
// size bytes that goes from start to end. A keyframe that comes in the second
// half of a chunk begins the next one, so that seeking finds it at the front.
func (w *Writer) full(start, end int64, size int, key bool) bool {
	c := &w.cluster
	switch {
	case c.empty():
		return false
	case len(c.buf)+blockHead+size > w.cfg.MaxChunkBytes:
		return true
	case c.span(start, end) > w.chunk || c.span(start, start) >= w.chunk:
		return true
	}
	return key && start-c.base >= w.chunk/2
}

// Flush writes the chunk that is being built; see [output.Muxer]. Call it when
// no frame has come for as long as a chunk may last: the Writer has no clock.
func (w *Writer) Flush() error {
	if err := w.usable(); err != nil {
		return err
	}
	if w.cluster.empty() {
		return nil
	}
	b := w.cluster.finish()
	at := w.pos
	switch {
	case w.header == nil:
		h, head, err := w.newHeader()
		if err != nil {
			return w.fail(err)
		}
		if err := w.write(append(head, b...), "the header and the first chunk"); err != nil {
			return err
		}
		w.header, at = h, int64(h.size())
	case w.stale && w.at != nil:
		tracks, err := marshalTracks(w.cfg.UID, w.tracks)
		if err != nil {
			return w.fail(err)
		}
		// In a header that is full, what it says must do.
		if w.header.fits(len(tracks)) {
			if err := w.writeTracks(tracks); err != nil {
				return err
			}
		}
		fallthrough
	default:
		if err := w.write(b, "a chunk"); err != nil {
			return err
		}
	}
	w.stale = false
	for _, c := range w.cluster.cues {
		c.cluster = at
		w.cues.add(c)
	}
	for _, t := range w.tracks {
		t.written = t.begun
	}
	w.cluster.reset(w.cfg.MaxChunkBytes)
	return nil
}

// Close writes the last chunk and, where the writer allows, the index and the
// places kept free in the header; see [output.Muxer]. After a failed write it
// takes back what is left of it, and completes the file with what is whole.
func (w *Writer) Close() error {
	if w.closed {
		return ErrClosed
	}
	_ = w.Flush() // the error is kept in w.err
	w.closed = true
	if w.at != nil {
		if w.err != nil {
			w.truncate()
		}
		if w.header != nil {
			w.complete()
		}
	}
	return w.err
}

// complete makes the file seekable: the index first, then the header's places
// in one write.
func (w *Writer) complete() {
	var cues int64
	chapters := w.writeChapters()
	end := w.pos
	if b := w.cues.marshal(int64(w.header.segment), nil); b != nil {
		if err := w.writeAt(b, w.pos, "the index"); err != nil {
			w.truncate() // it plays without
		} else {
			cues, end = w.pos, w.pos+int64(len(b))
		}
	}
	b, err := w.header.finish(cues, chapters, end, w.duration())
	if err != nil {
		_ = w.fail(err)
		return
	}
	_ = w.writeAt(b, int64(w.header.segmentSize), "the header's places")
}

// duration gives the time at which the last frame ends, in ms. When that frame's
// duration is not known is taken to last as long as the one before.
func (w *Writer) duration() int64 {
	var d int64
	for _, t := range w.tracks {
		if t.used {
			d = max(d, t.end, t.order.Latest().Milliseconds()+t.step)
		}
	}
	return d
}

// truncate cuts off what a failed write has left, if that is possible. If not,
// the segment's size will end before it.
func (w *Writer) truncate() {
	if t, ok := w.at.(interface{ Truncate(int64) error }); ok {
		if err := t.Truncate(w.pos); err != nil {
			_ = w.fail(fmt.Errorf("webm: cutting off a chunk written in part at offset %d: %w", w.pos, err))
		}
	}
}

// newHeader makes the header, of tracks as they are known now, and its bytes.
func (w *Writer) newHeader() (*header, []byte, error) {
	w.docType = docTypeWebM
	if w.cfg.Matroska {
		w.docType = docTypeMatroska
	}
	for _, t := range w.tracks {
		if !codecs[t.Codec].webm {
			w.docType = docTypeMatroska
		}
	}
	tracks, err := marshalTracks(w.cfg.UID, w.tracks)
	if err != nil {
		return nil, nil, err
	}
	h, err := newHeader(w.cfg, w.docType, tracks, w.at != nil)
	if err != nil {
		return nil, nil, err
	}
	return h, h.appendTracks(bytes.Clone(h.head), tracks), nil
}

// writeTracks replaces Tracks in place.
func (w *Writer) writeTracks(tracks []byte) error {
	b := w.header.appendTracks(nil, tracks)
	return w.writeAt(b, int64(w.header.tracks()), "the tracks")
}

func (w *Writer) write(b []byte, what string) error {
	n, err := w.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return w.fail(fmt.Errorf("webm: writing %s at offset %d: %w", what, w.pos, err))
	}
	w.pos += int64(len(b))
	return nil
}

func (w *Writer) writeAt(b []byte, offset int64, what string) error {
	n, err := w.at.WriteAt(b, offset)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return w.fail(fmt.Errorf("webm: writing %s at offset %d: %w", what, offset, err))
	}
	return nil
}

// fail keeps the first error, and returns err.
func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

func (w *Writer) usable() error {
	if w.closed {
		return ErrClosed
	}
	return w.err
}

// milliseconds rounds to the nearest; a time before 0 is 0.
func milliseconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond/2) / time.Millisecond)
}
