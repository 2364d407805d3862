package netsim

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/roomtape/roomtape/media"
)

// headerSize is the room that a made-up frame takes for the codec's header and
// its number and checksum.
const headerSize = 32

// Frame gives the n-th frame of a track: a codec's true header, then n, a
// checksum, and noise, size bytes in all (at least 32). It is the same bytes at
// each call, so a test can compare what was recorded with what was sent. A
// decoder would find noise; a depacketizer finds all it looks for. Width and
// height are those of video keyframes.
func Frame(c media.Codec, n, size int, key bool, width, height int) []byte {
	b := make([]byte, max(size, headerSize))
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	at := 0
	switch c {
	case media.Opus:
		b[0] = 31<<3 | 1<<2 // one stereo CELT frame of 20 ms (RFC 6716 §3.1)
		at = 1
	case media.VP8:
		at = vp8Header(b, key, width, height)
	case media.VP9:
		at = vp9Header(b, key, width, height)
	}
	binary.BigEndian.PutUint64(b[at:], uint64(n))
	binary.BigEndian.PutUint32(b[at+8:], 0)
	binary.BigEndian.PutUint32(b[at+8:], crc32.ChecksumIEEE(b))
	return b
}

// Number gives the number of a frame that Frame made, or false when it is
// damaged.
func Number(c media.Codec, frame []byte) (int, bool) {
	if len(frame) < headerSize {
		return 0, false
	}
	at := 1
	switch {
	case c == media.VP8 && frame[0]&1 == 0:
		at = 10
	case c == media.VP8:
		at = 3
	case c == media.VP9 && frame[0]&0x04 == 0:
		at = 10
	}
	n := binary.BigEndian.Uint64(frame[at:])
	sum := binary.BigEndian.Uint32(frame[at+8:])
	clean := append([]byte(nil), frame...)
	binary.BigEndian.PutUint32(clean[at+8:], 0)
	return int(n), crc32.ChecksumIEEE(clean) == sum
}

// vp8Header writes a frame tag (RFC 6386 §9.1) and gives its length.
func vp8Header(b []byte, key bool, width, height int) int {
	first := min(len(b)-10, 1<<19-1) // size of the first partition
	tag := uint32(first)<<5 | 1<<4   // shown
	if !key {
		tag |= 1
	}
	b[0], b[1], b[2] = byte(tag), byte(tag>>8), byte(tag>>16)
	if !key {
		return 3
	}
	copy(b[3:], []byte{0x9d, 0x01, 0x2a})
	binary.LittleEndian.PutUint16(b[6:], uint16(width))
	binary.LittleEndian.PutUint16(b[8:], uint16(height))
	return 10
}

// vp9Header writes the start of an uncompressed header (VP9 bitstream §6.2),
// profile 0, and gives its length in whole bytes.
func vp9Header(b []byte, key bool, width, height int) int {
	if !key {
		b[0] = 0b10_00_0_1_1_0 // marker, profile, not shown again, no key, shown, not resilient
		return 1
	}
	b[0] = 0b10_00_0_0_1_0
	copy(b[1:], []byte{0x49, 0x83, 0x42})
	// Colour space (3 bits) 1, range (1 bit) 0, width-1, height-1 (16 bits
	// each), same size for display (1 bit).
	bits := uint64(1)<<61 | uint64(uint16(width-1))<<44 | uint64(uint16(height-1))<<28
	var tail [8]byte
	binary.BigEndian.PutUint64(tail[:], bits)
	copy(b[4:], tail[:6])
	return 10
}
