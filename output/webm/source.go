package webm

import (
	"bufio"
	"errors"
	"io"
	"math"
)

// bufferSize is how much of the input is looked at ahead, at most.
const bufferSize = 64 << 10

// element is the head of an element: its id, and where it is in the file.
type element struct {
	id    uint32
	start int64 // offset of its id
	data  int64 // offset of its data
	end   int64 // offset of what follows it, or unknownEnd
}

// unknownEnd is the end of an element of unknown size.
const unknownEnd = math.MaxInt64

func (e element) size() int64 { return e.end - e.data }

// headState tells how reading the head of an element went.
type headState uint8

const (
	headOK    headState = iota
	headNone            // the input has ended before it
	headCut             // the input has ended in it
	headWrong           // what is there is no element
)

// source reads elements from a stream and knows the offset. An error of the
// stream other than its end is kept in err, and looks like an end.
type source struct {
	r   *bufio.Reader
	pos int64
	err error

	// tee gets what is read while teeing is set, up to teeLimit bytes in all.
	tee    []byte
	teeing bool
}

// teeLimit bounds what is kept of the input, in bytes.
const teeLimit = maxBlock + 2*repairChunk

// keep appends to tee what has been read.
func (s *source) keep(b []byte) {
	if len(s.tee)+len(b) > teeLimit {
		s.teeing = false
		return
	}
	s.tee = append(s.tee, b...)
}

func newSource(r io.Reader) source {
	return source{r: bufio.NewReaderSize(r, bufferSize)}
}

// note keeps an error of the stream that is not its end.
func (s *source) note(err error) {
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF && s.err == nil {
		s.err = err
	}
}

// peek gives the next n bytes, or fewer at the end of the input. n is at most
// bufferSize. They are valid until the next call.
func (s *source) peek(n int) []byte {
	b, err := s.r.Peek(n)
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		s.note(err)
	}
	return b
}

// ahead gives what is buffered, and at least n bytes if the input has them.
func (s *source) ahead(n int) []byte {
	return s.peek(min(max(n, s.r.Buffered()), bufferSize))
}

// skipTo goes forward to an offset and tells whether the input is that long.
func (s *source) skipTo(offset int64) bool {
	for s.teeing && s.pos < offset {
		b := s.peek(int(min(offset-s.pos, bufferSize)))
		if len(b) == 0 {
			return false
		}
		s.keep(b)
		n, _ := s.r.Discard(len(b))
		s.pos += int64(n)
	}
	for s.pos < offset {
		n, err := s.r.Discard(int(min(offset-s.pos, 1<<30)))
		s.pos += int64(n)
		if err != nil {
			s.note(err)
			return false
		}
	}
	return true
}

// appendTo appends the next n bytes to b. It takes memory as the bytes come,
// not as they are promised; ok is false when there are fewer.
func (s *source) appendTo(b []byte, n int) (_ []byte, ok bool) {
	const step = 1 << 20
	for n > 0 {
		k := min(n, step)
		at := len(b)
		if cap(b)-at < k {
			b = append(b, make([]byte, k)...)
		} else {
			b = b[:at+k]
		}
		got, err := io.ReadFull(s.r, b[at:])
		s.pos += int64(got)
		if s.teeing {
			s.keep(b[at : at+got])
		}
		if err != nil {
			s.note(err)
			return b[:at+got], false
		}
		n -= k
	}
	return b, true
}

// head looks at the head of the element that comes next, without reading it:
// skipTo(e.data) does.
func (s *source) head() (element, headState) {
	return parseHead(s.peek(maxHead), s.pos)
}

// maxHead is the longest head of an element: id and size.
const maxHead = 4 + 8

// parseHead reads the head of an element at the given offset (RFC 8794 §5, §6).
func parseHead(b []byte, offset int64) (element, headState) {
	e := element{start: offset}
	if len(b) == 0 {
		return e, headNone
	}
	idLen := vintLen(b[0])
	if idLen > 4 {
		return e, headWrong
	}
	if len(b) <= idLen {
		return e, headCut
	}
	for _, c := range b[:idLen] {
		e.id = e.id<<8 | uint32(c)
	}
	size, sizeLen, known := parseVint(b[idLen:])
	switch {
	case vintLen(b[idLen]) > 8:
		return e, headWrong
	case sizeLen == 0:
		return e, headCut
	}
	e.data = offset + int64(idLen+sizeLen)
	e.end = unknownEnd
	if known {
		if size > uint64(unknownEnd-1-e.data) {
			return e, headWrong
		}
		e.end = e.data + int64(size)
	}
	return e, headOK
}

// vintLen gives the length that the first byte of a variable-size integer
// tells (RFC 8794 §4), or 9 when it tells none.
func vintLen(first byte) int {
	for n := 1; n <= 8; n++ {
		if first&(0x80>>(n-1)) != 0 {
			return n
		}
	}
	return 9
}

// parseVint reads a variable-size integer. n is 0 when it is not all there, and
// known false when all its bits are set, which as a size means unknown.
func parseVint(b []byte) (v uint64, n int, known bool) {
	if len(b) == 0 {
		return 0, 0, false
	}
	n = vintLen(b[0])
	if n > 8 || len(b) < n {
		return 0, 0, false
	}
	v = uint64(b[0]) & (0xFF >> n)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n, v != 1<<(7*n)-1
}
