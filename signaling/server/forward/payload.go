package forward

import "github.com/roomtape/roomtape/media"

// picture is what the numbers are that a payload descriptor has of its picture.
// An offset of 0 means that there is no such number.
type picture struct {
	id, idSize int // where PictureID is, and its size in bytes
	tl0        int // where TL0PICIDX is
	key        bool

	// layered is set when the packet says which layers it is of. intra: nothing
	// before its picture is referred to. up: pictures of higher temporal layers may
	// be taken from here on (VP9), or this one may (VP8). ends: it is the last of
	// its spatial layer.
	layered, intra, up, ends bool
	layers                   Layers
}

// look reads the payload of a packet. What is cut short or of another codec has
// no numbers and is no keyframe.
func look(codec media.Codec, b []byte) picture {
	switch codec {
	case media.VP8:
		return lookVP8(b)
	case media.VP9:
		return lookVP9(b)
	case media.H264:
		return picture{key: keyH264(b)}
	case media.AV1:
		// N: the first packet of a coded video sequence (AV1 RTP §4.4).
		return picture{key: len(b) > 0 && b[0]&0x08 != 0}
	}
	return picture{}
}

// lookVP8 reads a VP8 payload descriptor (RFC 7741 §4.2).
func lookVP8(b []byte) picture {
	var p picture
	if len(b) < 1 {
		return p
	}
	at := 1
	if b[0]&0x80 != 0 {
		if len(b) < 2 {
			return picture{}
		}
		flags := b[1]
		at = 2
		if flags&0x80 != 0 {
			if len(b) <= at {
				return picture{}
			}
			p.id, p.idSize = at, 1
			if b[at]&0x80 != 0 {
				p.idSize = 2
			}
			at += p.idSize
		}
		if flags&0x40 != 0 {
			p.tl0 = at
			at++
		}
		if flags&0x30 != 0 {
			if flags&0x20 != 0 && len(b) > at {
				p.layered, p.up, p.layers.Temporal = true, b[at]&0x20 != 0, int8(b[at]>>6)
			}
			at++
		}
	}
	if len(b) < at {
		return picture{}
	}
	p.key = b[0]&0x17 == 0x10 && len(b) > at && b[at]&1 == 0
	p.intra = p.key
	return p
}

// lookVP9 reads a VP9 payload descriptor (RFC 9628 §4.2).
func lookVP9(b []byte) picture {
	var p picture
	if len(b) < 1 {
		return p
	}
	at, spatial := 1, byte(0)
	if b[0]&0x80 != 0 {
		if len(b) <= at {
			return picture{}
		}
		p.id, p.idSize = at, 1
		if b[at]&0x80 != 0 {
			p.idSize = 2
		}
		at += p.idSize
	}
	if b[0]&0x20 != 0 {
		if len(b) <= at {
			return picture{}
		}
		spatial = b[at] >> 1 & 7
		p.layered, p.up, p.layers = true, b[at]&0x10 != 0, Layers{int8(spatial), int8(b[at] >> 5)}
		at++
		if b[0]&0x10 == 0 {
			p.tl0 = at
			at++
		}
	}
	if len(b) < at {
		return picture{}
	}
	p.intra, p.ends = b[0]&0x40 == 0 && spatial == 0, b[0]&0x04 != 0
	p.key = p.intra && b[0]&0x08 != 0 // the beginning
	return p
}

// keyH264 tells whether a payload has the parameter sets that an IDR picture begins
// with (RFC 6184 §5.4): without them nobody can begin to decode, and with those of
// another encoding it would be done wrong.
func keyH264(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	begins := func(t byte) bool { return t == 7 }
	switch t := b[0] & 0x1f; t {
	case 24: // STAP-A
		for at := 1; at+2 < len(b); {
			if begins(b[at+2] & 0x1f) {
				return true
			}
			at += 2 + int(b[at])<<8 + int(b[at+1])
		}
		return false
	case 28: // FU-A
		return b[1]&0x80 != 0 && begins(b[1]&0x1f)
	default:
		return begins(t)
	}
}

// Key tells whether a payload begins a keyframe, at which a receiver can begin.
// Of sound every packet does.
func Key(codec media.Codec, payload []byte) bool {
	return codec.Kind() == media.Audio || look(codec, payload).key
}

// getID reads a PictureID of 7 or 15 bits.
func (p picture) getID(b []byte) uint16 {
	if p.idSize == 2 {
		return uint16(b[p.id]&0x7f)<<8 | uint16(b[p.id+1])
	}
	return uint16(b[p.id] & 0x7f)
}

func (p picture) setID(b []byte, id uint16) {
	if p.idSize == 2 {
		b[p.id], b[p.id+1] = 0x80|byte(id>>8), byte(id)
		return
	}
	b[p.id] = byte(id & 0x7f)
}

// Pixels gives the size of the picture that a payload begins, if it is that of a
// keyframe and says so (RFC 6386 §9.1), else 0.
func Pixels(codec media.Codec, b []byte) int {
	if codec != media.VP8 {
		return 0
	}
	p := lookVP8(b)
	if !p.key {
		return 0
	}
	at := 1
	if b[0]&0x80 != 0 {
		at = 2 + p.idSize
		if p.tl0 > 0 {
			at++
		}
		if b[1]&0x30 != 0 {
			at++
		}
	}
	if len(b) < at+10 {
		return 0
	}
	size := b[at+6:]
	return (int(size[0]) | int(size[1]&0x3f)<<8) * (int(size[2]) | int(size[3]&0x3f)<<8)
}
