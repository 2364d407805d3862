// Package ivf reads IVF: a header of 32 bytes, and before each frame its size in
// 4 bytes and its time in 8, all little endian.
package ivf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/roomtape/roomtape/media"
)

// MaxFrame is the largest frame in bytes that is read.
const MaxFrame = 32 << 20

// ErrFormat is wrapped by the errors for what is no IVF.
var ErrFormat = errors.New("not a valid IVF")

// Header is what the file says of itself.
type Header struct {
	// Codec is CodecUnknown for a FourCC that is not VP80, VP90, AV01 or H264.
	Codec  media.Codec
	FourCC string
	Width  int
	Height int
	// A time of n is n*Numerator/Denominator seconds.
	Denominator, Numerator uint32
}

// Reader reads frames. It is used by one goroutine.
type Reader struct {
	Header
	r io.Reader
}

// NewReader reads the header. Errors wrap ErrFormat, or are those of r.
func NewReader(r io.Reader) (*Reader, error) {
	var b [32]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: the header is cut short", ErrFormat)
		}
		return nil, err
	}
	if string(b[:4]) != "DKIF" {
		return nil, fmt.Errorf("%w: it begins with %q", ErrFormat, b[:4])
	}
	h := Header{
		FourCC: string(b[8:12]),
		Width:  int(binary.LittleEndian.Uint16(b[12:])), Height: int(binary.LittleEndian.Uint16(b[14:])),
		Denominator: binary.LittleEndian.Uint32(b[16:]), Numerator: binary.LittleEndian.Uint32(b[20:]),
	}
	if h.Denominator == 0 || h.Numerator == 0 {
		return nil, fmt.Errorf("%w: a time base of %d/%d", ErrFormat, h.Numerator, h.Denominator)
	}
	switch h.FourCC {
	case "VP80":
		h.Codec = media.VP8
	case "VP90":
		h.Codec = media.VP9
	case "AV01":
		h.Codec = media.AV1
	case "H264":
		h.Codec = media.H264
	}
	if size := binary.LittleEndian.Uint16(b[6:]); size > 32 {
		if _, err := io.CopyN(io.Discard, r, int64(size)-32); err != nil {
			return nil, fmt.Errorf("%w: the header is cut short", ErrFormat)
		}
	}
	return &Reader{Header: h, r: r}, nil
}

// Next gives the next frame, which is the caller's, and its time. The error is
// io.EOF at the end, and else wraps ErrFormat or is the reader's.
func (r *Reader) Next() (data []byte, at time.Duration, err error) {
	var b [12]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: a frame's header is cut short", ErrFormat)
		}
		return nil, 0, err
	}
	size := binary.LittleEndian.Uint32(b[:])
	if size > MaxFrame {
		return nil, 0, fmt.Errorf("%w: a frame of %d bytes", ErrFormat, size)
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(r.r, data); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: a frame is cut short", ErrFormat)
		}
		return nil, 0, err
	}
	return data, r.duration(binary.LittleEndian.Uint64(b[4:])), nil
}

// duration gives a time in the file's base; whole seconds first, so that nothing
// overflows for 292 years.
func (r *Reader) duration(n uint64) time.Duration {
	const most = 1 << 62
	num, den := uint64(r.Numerator), uint64(r.Denominator)
	if n > most/num {
		return 0
	}
	n *= num
	whole, rest := n/den, n%den
	if whole > most/uint64(time.Second) {
		return 0
	}
	return time.Duration(whole)*time.Second + time.Duration(float64(rest)/float64(den)*float64(time.Second))
}
