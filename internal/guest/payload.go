package guest

import (
	"math/rand/v2"

	"github.com/pion/rtp/codecs"

	"github.com/roomtape/roomtape/media"
)

// maxPayload is how large payloads are, about as browsers have it.
const maxPayload = 1100

// payloader cuts the pictures of one encoding into payloads.
type payloader struct {
	codec   media.Codec
	layered bool
	id      uint16 // PictureID, of 15 bits
	tl0     uint8
	h264    codecs.H264Payloader
}

func newPayloader(codec media.Codec, layered bool, random *rand.Rand) *payloader {
	return &payloader{codec: codec, layered: layered, id: uint16(random.IntN(1 << 15)), tl0: uint8(random.IntN(1 << 8))}
}

func (y *payloader) payloads(p *Picture) (out [][]byte) {
	if y.codec == media.H264 {
		return y.h264.Payload(maxPayload, p.Data)
	}
	y.id = (y.id + 1) & 0x7fff
	if p.Layer == 0 {
		y.tl0++
	}
	for rest := p.Data; len(rest) > 0; {
		n := min(len(rest), maxPayload)
		last := n == len(rest)
		head := y.vp8
		if y.codec == media.VP9 {
			head = y.vp9
		}
		out = append(out, append(head(p, len(out) == 0, last), rest[:n]...))
		rest = rest[n:]
	}
	return out
}

// vp8 is the payload descriptor (RFC 7741 §4.2).
func (y *payloader) vp8(p *Picture, first, _ bool) []byte {
	b := []byte{0x80, 0xc0, 0x80 | byte(y.id>>8), byte(y.id), y.tl0} // X; I and L
	if first {
		b[0] |= 0x10 // S
	}
	if p.Layer == 2 {
		b[0] |= 0x20 // N
	}
	if y.layered {
		b[1] |= 0x20 // T
		t := p.Layer << 6
		if p.Sync {
			t |= 0x20 // Y
		}
		b = append(b, t)
	}
	return b
}

// vp9 is the payload descriptor (RFC 9628 §4.2), of one layer, in non-flexible
// mode.
func (y *payloader) vp9(p *Picture, first, last bool) []byte {
	b := []byte{0xa0, 0x80 | byte(y.id>>8), byte(y.id), 0, y.tl0} // I, L
	if !p.Key {
		b[0] |= 0x40 // P
	}
	if first {
		b[0] |= 0x08 // B
	}
	if last {
		b[0] |= 0x04 // E
	}
	return b
}
