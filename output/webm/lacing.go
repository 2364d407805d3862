package webm

import "errors"

// Errors of the inside of a block.
var (
	errBlockShort = errors.New("a block too short for its head")
	errLacing     = errors.New("a block whose lacing does not add up")
)

// Kinds of lacing, in the flags of a block (RFC 9559 §10.3).
const (
	laceNone  = 0x00
	laceXiph  = 0x02
	laceFixed = 0x04
	laceEBML  = 0x06
)

// splitLaces appends the frames of a block to dst. b is what follows the
// block's head; the frames point into it.
func splitLaces(dst [][]byte, kind byte, b []byte) ([][]byte, error) {
	if kind == laceNone {
		return append(dst, b), nil
	}
	if len(b) == 0 {
		return dst, errLacing
	}
	count := int(b[0]) + 1
	b = b[1:]
	if kind == laceFixed {
		if len(b)%count != 0 {
			return dst, errLacing
		}
		for size := len(b) / count; count > 0; count-- {
			dst, b = append(dst, b[:size]), b[size:]
		}
		return dst, nil
	}

	var sizes [256]int
	var err error
	if kind == laceXiph {
		b, err = xiphSizes(sizes[:count-1], b)
	} else {
		b, err = ebmlSizes(sizes[:count-1], b)
	}
	if err != nil {
		return dst, err
	}
	for _, size := range sizes[:count-1] {
		if size > len(b) {
			return dst, errLacing
		}
		dst, b = append(dst, b[:size]), b[size:]
	}
	return append(dst, b), nil
}

// xiphSizes reads sizes as sums of bytes, each sum ended by one below 255
// (RFC 9559 §10.3.2), and returns what follows them.
func xiphSizes(sizes []int, b []byte) ([]byte, error) {
	for i := range sizes {
		for more := true; more; {
			if len(b) == 0 {
				return nil, errLacing
			}
			sizes[i] += int(b[0])
			more = b[0] == 255
			b = b[1:]
		}
	}
	return b, nil
}

// ebmlSizes reads a size and then differences (RFC 9559 §10.3.3), and returns
// what follows them.
func ebmlSizes(sizes []int, b []byte) ([]byte, error) {
	size := int64(0)
	for i := range sizes {
		v, n, _ := parseVint(b)
		if n == 0 {
			return nil, errLacing
		}
		b = b[n:]
		if i == 0 {
			size = int64(v)
		} else {
			size += int64(v) - (1<<(7*n-1) - 1)
		}
		if size < 0 || size > maxBlock {
			return nil, errLacing
		}
		sizes[i] = int(size)
	}
	return b, nil
}
