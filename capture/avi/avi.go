// Package avi reads the frames of the first track of an AVI that is being written
// to a pipe, whose sizes are not known: the way by which ffmpeg gives H264 frame by
// frame, for which IVF has no place. Their times are not read.
package avi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame is the largest frame in bytes that is read.
const MaxFrame = 32 << 20

// ErrFormat is wrapped by the errors for what is no AVI.
var ErrFormat = errors.New("not a valid AVI")

// Reader reads frames. It is used by one goroutine.
type Reader struct {
	r io.Reader
}

// NewReader reads the beginning. Errors wrap ErrFormat, or are those of r.
func NewReader(r io.Reader) (*Reader, error) {
	var b [12]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: the header is cut short", ErrFormat)
		}
		return nil, err
	}
	if string(b[:4]) != "RIFF" || string(b[8:]) != "AVI " {
		return nil, fmt.Errorf("%w: it begins with %q", ErrFormat, b[:])
	}
	return &Reader{r: r}, nil
}

// Next gives the next frame, which is the caller's. The error is io.EOF at the end,
// and else wraps ErrFormat or is the reader's.
func (a *Reader) Next() ([]byte, error) {
	for {
		var h [8]byte
		if _, err := io.ReadFull(a.r, h[:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: a chunk's header is cut short", ErrFormat)
			}
			return nil, err
		}
		name, size := string(h[:4]), int64(binary.LittleEndian.Uint32(h[4:]))
		switch {
		case name == "RIFF" || name == "LIST":
			// The chunks in it are read as if they stood here.
			if err := a.skip(4); err != nil {
				return nil, err
			}
		case name != "00dc" && name != "00db" || size == 0:
			if err := a.skip(size + size&1); err != nil {
				return nil, err
			}
		case size > MaxFrame:
			return nil, fmt.Errorf("%w: a frame of %d bytes", ErrFormat, size)
		default:
			data := make([]byte, size)
			if _, err := io.ReadFull(a.r, data); err != nil {
				return nil, cut(err)
			}
			if size&1 != 0 {
				if err := a.skip(1); err != nil {
					return nil, err
				}
			}
			return data, nil
		}
	}
}

func (a *Reader) skip(n int64) error {
	_, err := io.CopyN(io.Discard, a.r, n)
	return cut(err)
}

func cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: a chunk is cut short", ErrFormat)
	}
	return err
}
