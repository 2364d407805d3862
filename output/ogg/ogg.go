// Package ogg writes Ogg files with one Opus track (RFC 7845).
//
// Time in such a file is the sum of what its packets last: it can't say that
// nothing came for a while. So a pause, or what was lost, is filled with packets
// that ask the decoder to conceal the loss, as RFC 7845 §4.1 has it, and what
// follows stays in its place to within 10 ms.
package ogg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

const (
	// Ext is the ending of a file's name.
	Ext = ".ogg"
	// MaxPacketSize is the largest Opus packet, in bytes, that a Writer takes.
	MaxPacketSize = 4 << 20
	// MaxFill is the longest pause that is filled. A longer one is as long as
	// this in the file.
	MaxFill = 24 * time.Hour

	sampleRate = 48000
	// preSkip is the look-ahead of the Opus encoder in browsers, in samples.
	preSkip  = 312
	channels = 2 // RFC 7587 §4.1: whoever plays it must be able to upmix
	// tolerance is how far behind its time, in samples, a packet may be before
	// the pause is filled.
	tolerance     = sampleRate / 100
	maxChunkBytes = 4 << 20
)

// ErrClosed is returned by every call on a Writer after Close.
var ErrClosed = errors.New("ogg: the writer is closed")

// Config configures a Writer.
type Config struct {
	// Chunk is how long a chunk may be.
	Chunk time.Duration
	// Writer names the program that writes. Empty is "Roomtape".
	Writer string
	// UID seeds the stream's serial number.
	UID string
}

// Writer is an [output.Muxer] for one Opus track. A chunk is some pages, written
// by one call of Write; nothing is ever written over.
type Writer struct {
	w   io.Writer
	cfg Config

	begun  bool // there is a track
	pages  pager
	frames int           // in the chunk
	first  time.Duration // of the chunk
	// granule is the number of samples in the file so far.
	granule int64
	// stereo is that bit of the latest packet's TOC byte.
	stereo byte
	fill   []byte
	err    error // sticky
	closed bool
}

var _ output.Muxer = (*Writer)(nil)

// NewWriter makes a Writer on w, and writes nothing yet. It does not close w.
func NewWriter(w io.Writer, cfg Config) *Writer {
	if cfg.Writer == "" {
		cfg.Writer = "Roomtape"
	}
	x := &Writer{w: w, cfg: cfg}
	x.pages.serial = crc32.ChecksumIEEE([]byte(cfg.UID))
	return x
}

// AddTrack is output.Muxer's. A second track gives an output.ErrFixedTracks.
func (w *Writer) AddTrack(t media.Track) (int, error) {
	switch {
	case t.Codec != media.Opus:
		return 0, fmt.Errorf("ogg: %w: %v", output.ErrCodec, t.Codec)
	case w.err != nil:
		return 0, w.err
	case w.closed:
		return 0, ErrClosed
	case w.begun:
		return 0, fmt.Errorf("ogg: %w: it has one", output.ErrFixedTracks)
	}
	w.begun = true
	w.pages.add(w.head(), 0)
	w.pages.end(0)
	w.pages.add(w.tags(), 0)
	w.pages.end(0)
	return 1, nil
}

// head gives the identification header (RFC 7845 §5.1).
func (w *Writer) head() []byte {
	b := append([]byte("OpusHead"), 1, channels)
	b = binary.LittleEndian.AppendUint16(b, preSkip)
	b = binary.LittleEndian.AppendUint32(b, sampleRate)
	return append(b, 0, 0, 0) // no gain, one stream
}

// tags gives the comment header (RFC 7845 §5.2).
func (w *Writer) tags() []byte {
	b := []byte("OpusTags")
	b = binary.LittleEndian.AppendUint32(b, uint32(len(w.cfg.Writer)))
	b = append(b, w.cfg.Writer...)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// WriteFrame is output.Muxer's. A packet without data is left out.
func (w *Writer) WriteFrame(track int, f media.Frame) error {
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return ErrClosed
	case track != 1 || !w.begun:
		return fmt.Errorf("ogg: there is no track %d", track)
	case f.Time < 0 || len(f.Data) > MaxPacketSize:
		return fmt.Errorf("ogg: a packet of %d bytes at %v is beyond the limits", len(f.Data), f.Time)
	case len(f.Data) == 0:
		return nil
	}
	if err := w.room(f.Time, len(f.Data)); err != nil {
		return err
	}
	if err := w.pause(f.Time); err != nil {
		return err
	}
	w.stereo = f.Data[0] & 0x04
	w.add(f.Data, samples(f.Duration))
	return nil
}

// room writes the chunk if what comes at the given time must not be in it.
func (w *Writer) room(at time.Duration, size int) error {
	if w.frames > 0 && (at-w.first >= w.cfg.Chunk || w.pages.size()+size > maxChunkBytes) {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if w.frames == 0 {
		w.first = at
	}
	return nil
}

// add puts a packet that lasts n samples into the chunk.
func (w *Writer) add(packet []byte, n int64) {
	w.granule += n
	w.pages.add(packet, w.granule)
	w.frames++
}

// pause fills the time up to at, if it is worth it.
func (w *Writer) pause(at time.Duration) error {
	missing := samples(at) - w.granule
	if missing < tolerance || w.granule == 0 && missing == 0 {
		return nil
	}
	for missing = min(missing, samples(MaxFill)); missing >= minFill; {
		var n int64
		w.fill, n = concealed(w.fill[:0], missing, w.stereo)
		if err := w.room(at, len(w.fill)); err != nil {
			return err
		}
		w.add(w.fill, n)
		missing -= n
	}
	return nil
}

// samples gives a time as a number of samples, to the nearest.
func samples(t time.Duration) int64 {
	s, ns := int64(t/time.Second), int64(t%time.Second)
	return s*sampleRate + (ns*sampleRate+int64(time.Second)/2)/int64(time.Second)
}

// Flush is output.Muxer's.
func (w *Writer) Flush() error {
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return ErrClosed
	case w.frames == 0:
		return nil
	}
	w.pages.end(0)
	return w.write()
}

func (w *Writer) write() error {
	b := w.pages.take()
	n, err := w.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("ogg: writing a chunk: %w", err)
		return w.err
	}
	w.frames = 0
	return nil
}

// Close is output.Muxer's. It marks the last page as the last.
func (w *Writer) Close() error {
	if w.closed {
		return ErrClosed
	}
	w.closed = true
	if w.err != nil {
		return w.err
	}
	if w.granule == 0 && w.frames == 0 { // there is no file
		return nil
	}
	w.pages.end(lastPage)
	return w.write()
}
