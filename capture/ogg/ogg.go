// Package ogg reads the packets of an Ogg stream (RFC 3533) of Opus (RFC 7845).
package ogg

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxPacket is the largest packet in bytes that is read: what 120 ms of Opus can
// be, and room for long tags.
const MaxPacket = 1 << 20

// ErrFormat is wrapped by the errors for what is no Ogg with Opus.
var ErrFormat = errors.New("not a valid Ogg with Opus")

// Reader reads the Opus packets of the first logical stream that has any. It is
// used by one goroutine.
type Reader struct {
	// Channels is how many channels the stream has, PreSkip how many samples of
	// 48 kHz at its start are not for listening.
	Channels, PreSkip int

	r        *bufio.Reader
	serial   uint32
	segments []byte // lengths that are left on this page
	partial  []byte // of a packet that goes on
}

// NewReader reads the stream's two headers. Errors wrap ErrFormat, or are those of r.
func NewReader(r io.Reader) (*Reader, error) {
	o := &Reader{r: bufio.NewReaderSize(r, 4096)}
	for head := false; !head; {
		p, err := o.page(true)
		if err != nil {
			return nil, begun(err)
		}
		if head = bytes.HasPrefix(p, []byte("OpusHead")) && len(p) >= 19; head {
			o.Channels, o.PreSkip = int(p[9]), int(binary.LittleEndian.Uint16(p[10:]))
		}
	}
	tags, err := o.Next()
	if err != nil {
		return nil, begun(err)
	}
	if !bytes.HasPrefix(tags, []byte("OpusTags")) {
		return nil, fmt.Errorf("%w: no tags after the header", ErrFormat)
	}
	return o, nil
}

// begun turns the end of a file that has hardly begun into an error of format.
func begun(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: no Opus header", ErrFormat)
	}
	return err
}

// page goes on to the next page of the stream. Of the first page of any stream it
// gives the packet, when first is set.
func (o *Reader) page(first bool) ([]byte, error) {
	const begins = 2
	for {
		var h [27]byte
		if _, err := io.ReadFull(o.r, h[:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: a page is cut short", ErrFormat)
			}
			return nil, err
		}
		if string(h[:4]) != "OggS" || h[4] != 0 {
			return nil, fmt.Errorf("%w: a page begins with %q", ErrFormat, h[:5])
		}
		segments := make([]byte, h[26])
		if _, err := io.ReadFull(o.r, segments); err != nil {
			return nil, fmt.Errorf("%w: a page is cut short", ErrFormat)
		}
		serial := binary.LittleEndian.Uint32(h[14:])
		if first && h[5]&begins != 0 {
			o.serial, o.segments = serial, segments
			return o.packet()
		}
		if !first && serial == o.serial {
			o.segments = segments
			return nil, nil
		}
		size := 0
		for _, s := range segments {
			size += int(s)
		}
		if _, err := o.r.Discard(size); err != nil {
			return nil, fmt.Errorf("%w: a page is cut short", ErrFormat)
		}
	}
}

// Next gives the next packet, which is the caller's. The error is io.EOF at the
// end, and else wraps ErrFormat or is the reader's.
func (o *Reader) Next() ([]byte, error) {
	for {
		if len(o.segments) == 0 {
			if _, err := o.page(false); err != nil {
				return nil, err
			}
			continue
		}
		p, err := o.packet()
		if err != nil || p != nil {
			return p, err
		}
	}
}

// packet reads what this page has of the next packet, and gives it when it is
// whole.
func (o *Reader) packet() ([]byte, error) {
	for len(o.segments) > 0 {
		n := int(o.segments[0])
		o.segments = o.segments[1:]
		at := len(o.partial)
		if at+n > MaxPacket {
			return nil, fmt.Errorf("%w: a packet of more than %d bytes", ErrFormat, MaxPacket)
		}
		o.partial = append(o.partial, make([]byte, n)...)
		if _, err := io.ReadFull(o.r, o.partial[at:]); err != nil {
			return nil, fmt.Errorf("%w: a packet is cut short", ErrFormat)
		}
		if n < 255 {
			p := o.partial
			o.partial = nil
			if p == nil {
				p = []byte{}
			}
			return p, nil
		}
	}
	return nil, nil
}
