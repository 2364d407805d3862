// Package ivf writes IVF files: the plain sequence of the frames of one video,
// as codec tools and test vectors have it.
//
// A file has one track, of VP8, VP9 or AV1. The bytes are those of pion's
// ivfwriter, which is given each complete frame as one RTP packet; so no frame
// is ever put together from packets that do not belong together. Times are the
// frames' own, in units of 1/90000 s, and 64 bits long.
package ivf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4/pkg/media/ivfwriter"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

const (
	// Ext is the ending of a file's name.
	Ext = ".ivf"
	// MaxFrameSize is the largest frame, in bytes, that a Writer takes.
	MaxFrameSize = 64 << 20

	clockRate     = 90000
	headerSize    = 32
	countOffset   = 24 // of the number of frames in the header
	frameHeader   = 12
	maxChunkBytes = 4 << 20
)

// ErrClosed is returned by every call on a Writer after Close.
var ErrClosed = errors.New("ivf: the writer is closed")

// Writer is an [output.Muxer] for one video track. A chunk is written by one
// call of Write. When the io.Writer it is made on is an io.WriterAt as well,
// whose offset 0 is the start of the file, Close puts the number of frames into
// the header; else it stays 0.
type Writer struct {
	w     io.Writer
	at    io.WriterAt // nil for a stream
	chunk time.Duration

	frames *ivfwriter.IVFWriter // nil before the track is known
	codec  media.Codec
	buf    chunk
	first  time.Duration // of the chunk
	count  uint32        // frames written
	packet rtp.Packet
	err    error // sticky
	closed bool
}

var _ output.Muxer = (*Writer)(nil)

// NewWriter makes a Writer on w, and writes nothing yet. It does not close w. No
// chunk is longer than d.
func NewWriter(w io.Writer, d time.Duration) *Writer {
	x := &Writer{w: w, chunk: d}
	x.at, _ = w.(io.WriterAt)
	return x
}

// AddTrack is output.Muxer's. A second track gives an output.ErrFixedTracks.
func (w *Writer) AddTrack(t media.Track) (int, error) {
	var mime string
	switch t.Codec {
	case media.VP8, media.VP9, media.AV1:
		mime = "video/" + t.Codec.String()
	default:
		return 0, fmt.Errorf("ivf: %w: %v", output.ErrCodec, t.Codec)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.closed:
		return 0, ErrClosed
	case w.frames != nil:
		return 0, fmt.Errorf("ivf: %w: it has one", output.ErrFixedTracks)
	}
	frames, err := ivfwriter.NewWith(&w.buf,
		ivfwriter.WithCodec(mime),
		ivfwriter.WithWidthAndHeight(side(t.Width), side(t.Height)),
		// The time base: in the file, its denominator comes first.
		ivfwriter.WithFrameRate(1, clockRate), ivfwriter.WithDirectPTS())
	if err != nil {
		return 0, fmt.Errorf("ivf: writing the header: %w", err)
	}
	w.frames, w.codec = frames, t.Codec
	return 1, nil
}

func side(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

// WriteFrame is output.Muxer's. A frame without data is left out.
func (w *Writer) WriteFrame(track int, f media.Frame) error {
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return ErrClosed
	case track != 1 || w.frames == nil:
		return fmt.Errorf("ivf: there is no track %d", track)
	case f.Time < 0 || len(f.Data) > MaxFrameSize:
		return fmt.Errorf("ivf: a frame of %d bytes at %v is beyond the limits", len(f.Data), f.Time)
	case len(f.Data) == 0:
		return nil
	}
	if w.buf.frames > 0 && (f.Time-w.first >= w.chunk || len(w.buf.data)+len(f.Data) > maxChunkBytes) {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if w.buf.frames == 0 {
		w.first = f.Time
	}
	return w.put(f)
}

// put adds a frame to the chunk, as the one packet that ivfwriter wants.
func (w *Writer) put(f media.Frame) error {
	payload, err := appendPayload(w.packet.Payload[:0], w.codec, f)
	if err != nil {
		return err
	}
	w.packet.Payload = payload
	w.packet.Marker = true
	pts := ticks(f.Time)
	w.packet.Timestamp = uint32(pts)
	w.buf.pts = pts
	before, frames := len(w.buf.data), w.buf.frames
	err = w.frames.WriteRTP(&w.packet)
	if err == nil && w.buf.frames == frames {
		err = errors.New("it comes before the first keyframe")
	}
	if err != nil {
		w.buf.data, w.buf.frames, w.buf.inFrame = w.buf.data[:before], frames, false
		return fmt.Errorf("ivf: a frame of %v at %v can't be written: %w", w.codec, f.Time, err)
	}
	return nil
}

// ticks gives a time in units of the clock rate, to the nearest.
func ticks(t time.Duration) uint64 {
	s, ns := uint64(t/time.Second), uint64(t%time.Second)
	return s*clockRate + (ns*clockRate+uint64(time.Second)/2)/uint64(time.Second)
}

// Flush is output.Muxer's.
func (w *Writer) Flush() error {
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return ErrClosed
	case w.buf.frames == 0:
		return nil
	}
	n, err := w.w.Write(w.buf.data)
	if err == nil && n < len(w.buf.data) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("ivf: writing a chunk: %w", err)
		return w.err
	}
	w.count += w.buf.frames
	w.buf.data, w.buf.frames = w.buf.data[:0], 0
	return nil
}

// Close is output.Muxer's.
func (w *Writer) Close() error {
	if w.closed {
		return ErrClosed
	}
	err := w.Flush()
	w.closed = true
	if w.at == nil || w.count == 0 {
		return err
	}
	count := binary.LittleEndian.AppendUint32(nil, w.count)
	if _, e := w.at.WriteAt(count, countOffset); e != nil && err == nil {
		err = fmt.Errorf("ivf: writing the number of frames: %w", e)
	}
	return err
}

// chunk collects what ivfwriter writes: the header of the file, then the header
// and the data of each frame, each by a call of its own.
type chunk struct {
	data   []byte
	frames uint32
	// begun is set when the header of the file was written, inFrame when that
	// of a frame was and its data is to come.
	begun, inFrame bool
	// pts is the time of the frame that comes: ivfwriter has 32 bits for it.
	pts uint64
}

// Write takes a piece of the file. It never fails.
func (c *chunk) Write(b []byte) (int, error) {
	at := len(c.data)
	c.data = append(c.data, b...)
	switch {
	case !c.begun: // the number of frames is not known
		clear(c.data[at+countOffset : at+headerSize])
		c.begun = true
	case !c.inFrame:
		binary.LittleEndian.PutUint64(c.data[at+frameHeader-8:], c.pts)
		c.inFrame = true
	default:
		c.inFrame = false
		c.frames++
	}
	return len(b), nil
}
