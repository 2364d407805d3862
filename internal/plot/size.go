package plot

import (
	"encoding/binary"

	"github.com/roomtape/roomtape/media"
)

// pictureSize gives the size that a keyframe has in its header, in pixels, or 0
// when the codec has it elsewhere.
func pictureSize(codec media.Codec, b []byte) (width, height int) {
	switch codec {
	case media.VP8: // RFC 6386 §9.1
		if len(b) >= 10 && b[0]&1 == 0 && b[3] == 0x9d && b[4] == 0x01 && b[5] == 0x2a {
			return int(binary.LittleEndian.Uint16(b[6:])) & 0x3fff, int(binary.LittleEndian.Uint16(b[8:])) & 0x3fff
		}
	case media.VP9:
		return vp9Size(bits{b: b})
	}
	return 0, 0
}

// vp9Size reads the uncompressed header of a keyframe (VP9 Bitstream §6.2).
func vp9Size(r bits) (width, height int) {
	marker := r.read(2)
	profile := r.read(1) | r.read(1)<<1
	if profile == 3 {
		r.read(1)
	}
	existing, inter := r.read(1), r.read(1)
	r.read(2) // shown, resilient
	if marker != 2 || existing == 1 || inter == 1 || r.read(24) != 0x498342 {
		return 0, 0
	}
	if profile >= 2 {
		r.read(1) // bit depth
	}
	const rgb = 7
	if r.read(3) != rgb {
		r.read(1) // range
		if profile&1 == 1 {
			r.read(3) // subsampling
		}
	} else if profile&1 == 1 {
		r.read(1)
	}
	width, height = int(r.read(16))+1, int(r.read(16))+1
	if r.at > 8*len(r.b) {
		return 0, 0
	}
	return width, height
}

// bits reads from a string of bits; behind its end there are zeros.
type bits struct {
	b  []byte
	at int
}

func (r *bits) read(n int) uint32 {
	var v uint32
	for range n {
		v <<= 1
		if i := r.at / 8; i < len(r.b) {
			v |= uint32(r.b[i]>>(7-r.at%8)) & 1
		}
		r.at++
	}
	return v
}
