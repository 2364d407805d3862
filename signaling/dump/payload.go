package dump

import (
	"math/bits"
	"time"

	"github.com/roomtape/roomtape/media"
)

func popcount(w uint64) int { return bits.OnesCount64(w) }

// vp8 looks at a payload descriptor and the frame header (RFC 7741 §4.2, RFC
// 6386 §9.1).
func (e *evidence) vp8(b []byte, at place) {
	t := &e.codecs[media.VP8]
	if b[0]&0x48 != 0 {
		t.mark(false)
		return
	}
	begins := b[0]&0x10 != 0 && b[0]&7 == 0
	n := 1
	if b[0]&0x80 != 0 {
		if len(b) < 2 || b[1]&0x0f != 0 {
			t.mark(false)
			return
		}
		x := b[1]
		n = 2
		if x&0x80 != 0 {
			if len(b) > n && b[n]&0x80 != 0 {
				n++
			}
			n++
		}
		if x&0x40 != 0 {
			n++
		}
		if x&0x30 != 0 {
			n++
		}
	}
	if len(b) <= n {
		t.mark(false)
		return
	}
	switch at {
	case placeFirst:
		t.mark(begins)
	case placeInside:
		t.mark(!begins)
	}
	if b = b[n:]; begins && b[0]&1 == 0 {
		key := len(b) >= 10 && b[3] == 0x9d && b[4] == 0x01 && b[5] == 0x2a
		t.mark(key)
		if key {
			t.certain++
		}
	}
}

// vp9 looks at a payload descriptor (RFC 9628 §4.2) and the frame header (VP9
// bitstream §6.2).
func (e *evidence) vp9(b []byte, at place, marker bool) {
	t := &e.codecs[media.VP9]
	const (
		hasID, predicted, layered, flexible = 0x80, 0x40, 0x20, 0x10
		begins, ends, structure             = 0x08, 0x04, 0x02
	)
	d, n := b[0], 1
	if d&hasID != 0 {
		if len(b) > n && b[n]&0x80 != 0 {
			n++
		}
		n++
	}
	if d&layered != 0 {
		n++
		if d&flexible == 0 {
			n++
		}
	}
	if d&flexible != 0 && d&predicted != 0 {
		for range 3 {
			n++
			if n > len(b) || b[n-1]&1 == 0 {
				break
			}
		}
	}
	if n >= len(b) {
		t.mark(false)
		return
	}
	if d&structure != 0 {
		if n = vp9Structure(b, n); n >= len(b) {
			t.mark(false)
			return
		}
	}
	switch at {
	case placeFirst:
		t.mark(d&begins != 0)
	case placeInside:
		t.mark(e.open.vp9Ended == (d&begins != 0))
	}
	e.open.vp9Ended = d&ends != 0
	if marker {
		t.mark(d&ends != 0)
	}
	if d&begins != 0 {
		b = b[n:]
		t.mark(b[0]>>6 == 2)
		if b[0]>>6 == 2 && len(b) >= 4 && b[1] == 0x49 && b[2] == 0x83 && b[3] == 0x42 {
			t.certain++
		}
	}
}

// vp9Structure passes over a scalability structure that begins at n.
func vp9Structure(b []byte, n int) int {
	head := b[n]
	n++
	if head&0x10 != 0 {
		n += 4 * (int(head>>5) + 1)
	}
	if head&0x08 == 0 || n >= len(b) {
		return n
	}
	pictures := int(b[n])
	n++
	for range pictures {
		if n >= len(b) {
			return n
		}
		n += 1 + int(b[n]>>2&3)
	}
	return n
}

// av1 looks at the aggregation header and the OBUs' (AV1 RTP §4.4, AV1 §5.3.2).
func (e *evidence) av1(b []byte, at place) {
	t := &e.codecs[media.AV1]
	const sequenceHeader = 1
	h := b[0]
	continues, more, count, fresh := h&0x80 != 0, h&0x40 != 0, int(h>>4&3), h&0x08 != 0
	if h&7 != 0 || len(b) < 2 || continues && fresh {
		t.mark(false)
		return
	}
	switch at {
	case placeFirst:
		t.mark(!continues && !e.open.av1)
	case placeInside:
		t.mark(continues == e.open.av1)
	}
	e.open.av1 = more
	b = b[1:]
	for i := 0; len(b) > 0; i++ {
		element := b
		if count == 0 || i < count-1 {
			size, n := leb128(b)
			if n == 0 || size == 0 || size > len(b)-n {
				t.mark(false)
				return
			}
			element, b = b[n:n+size], b[n+size:]
		} else {
			b = nil
		}
		if i == 0 && continues {
			continue
		}
		kind := element[0] >> 3 & 15
		ok := element[0]&0x81 == 0 && (kind >= 1 && kind <= 8 || kind == 15)
		t.mark(ok)
		if ok && fresh && kind == sequenceHeader && i == 0 && len(element) >= 6 {
			t.certain++
		}
	}
}

// leb128 reads a number of at most four bytes; n is 0 when there is none.
func leb128(b []byte) (value, n int) {
	for n < len(b) && n < 4 {
		value |= int(b[n]&0x7f) << (7 * n)
		n++
		if b[n-1]&0x80 == 0 {
			return value, n
		}
	}
	return 0, 0
}

// h264 looks at NAL unit headers (RFC 6184 §5.2 to §5.8).
func (e *evidence) h264(b []byte, at place) {
	t := &e.codecs[media.H264]
	const stapA, fuA, sps = 24, 28, 7
	kind := b[0] & 0x1f
	if b[0]&0x80 != 0 || len(b) < 2 {
		t.mark(false)
		return
	}
	wasOpen := e.open.fuOpen
	e.open.fuOpen = false
	switch {
	case kind == fuA:
		begins, ends, inner := b[1]&0x80 != 0, b[1]&0x40 != 0, b[1]&0x1f
		ok := b[1]&0x20 == 0 && (!begins || !ends) && h264Type(inner)
		if ok && at != placeUnknown {
			ok = begins != wasOpen && (begins || inner == e.open.fu)
		}
		t.mark(ok)
		if ok && at == placeInside && !begins {
			t.certain++
		}
		e.open.fuOpen, e.open.fu = !ends, inner
	case kind == stapA:
		rest, ok := b[1:], true
		for len(rest) > 0 && ok {
			size := 0
			if len(rest) > 2 {
				size = int(rest[0])<<8 | int(rest[1])
			}
			if ok = size > 0 && size <= len(rest)-2 && h264Type(rest[2]&0x1f); ok {
				if rest[2]&0x1f == sps && h264Profile(rest[3:2+size]) {
					t.certain++
				}
				rest = rest[2+size:]
			}
		}
		t.mark(ok)
	case h264Type(kind):
		if at != placeUnknown && wasOpen {
			t.mark(false)
			return
		}
		t.mark(true)
		if kind == sps && h264Profile(b[1:]) {
			t.certain++
		}
	default:
		t.mark(false)
	}
}

func h264Type(t byte) bool { return t >= 1 && t <= 12 }

// h264Profile tells whether b begins with a profile and level there are.
func h264Profile(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch b[0] {
	case 66, 77, 88, 100, 110, 122, 244:
		return b[1]&3 == 0 && b[2] >= 9 && b[2] <= 62
	}
	return false
}

// opus looks at whether time goes on by as much as the packet before lasts (RFC
// 6716 §3.1, RFC 7587 §4.2).
func (e *evidence) opus(b []byte, next bool, step uint32, marker bool) {
	t := &e.codecs[media.Opus]
	d, ok := media.OpusDuration(b)
	length := uint32(d * 48 / time.Millisecond) // samples of 48 kHz
	if !ok {
		t.mark(false)
		e.open.opusLength = 0
		return
	}
	if next && e.open.opusLength != 0 {
		switch {
		case step == e.open.opusLength:
			t.mark(true)
		case marker && step%120 == 0 && step > e.open.opusLength: // after silence
		case step%960 == 0 && step > e.open.opusLength: // DTX
		default:
			t.mark(false)
		}
	}
	e.open.opusLength = length
}
