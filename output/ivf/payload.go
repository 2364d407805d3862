package ivf

import (
	"errors"

	"github.com/roomtape/roomtape/media"
)

var errOBU = errors.New("ivf: an AV1 frame with an OBU that is cut short")

// appendPayload appends the payload of the one RTP packet that would carry the
// whole frame, however large it is.
func appendPayload(b []byte, codec media.Codec, f media.Frame) ([]byte, error) {
	switch codec {
	case media.VP8: // RFC 7741 §4.2: the start of a partition
		b = append(b, 0x10)
	case media.VP9: // RFC 9628 §4.2: the start and the end of a frame
		descriptor := byte(0x0c)
		if !f.Key {
			descriptor |= 0x40 // inter-picture predicted
		}
		b = append(b, descriptor)
	case media.AV1:
		return appendOBUs(b, f)
	}
	return append(b, f.Data...), nil
}

// appendOBUs makes an AV1 RTP payload (AOMedia, §4.4) of a temporal unit in the
// low-overhead format: an aggregation header, then each OBU after its length.
func appendOBUs(b []byte, f media.Frame) ([]byte, error) {
	header := byte(0)
	if f.Key {
		header = 0x08 // a new coded video sequence
	}
	b = append(b, header)
	for rest := f.Data; len(rest) > 0; {
		n, ok := obuSize(rest)
		if !ok {
			return b, errOBU
		}
		b = appendLEB128(b, n)
		b = append(b, rest[:n]...)
		rest = rest[n:]
	}
	return b, nil
}

// obuSize gives the length of the OBU (AV1 bitstream §5.3) that b begins with,
// its header included. One without a size field is all of b.
func obuSize(b []byte) (int, bool) {
	n := 1
	if b[0]&0x04 != 0 { // extension
		n++
	}
	if b[0]&0x02 == 0 {
		return len(b), true
	}
	size := 0
	for shift := 0; shift < 28; shift += 7 {
		if n >= len(b) {
			return 0, false
		}
		size |= int(b[n]&0x7f) << shift
		n++
		if b[n-1]&0x80 == 0 {
			return n + size, size <= len(b)-n
		}
	}
	return 0, false
}

func appendLEB128(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
