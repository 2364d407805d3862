package marked

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/roomtape/roomtape/media"
)

// size is the length of a mark in bytes: a word to know it by, the connection's
// number, the frame's number, and a checksum of all the frame.
const size = 16

var magic = [4]byte{'m', 'a', 'r', 'k'}

// markVideo gives a VP8 frame with a mark behind it.
func markVideo(frame []byte, conn, n uint32) []byte {
	return finish(append(make([]byte, 0, len(frame)+size), frame...), conn, n)
}

// markAudio gives an Opus packet with a mark in its padding. The packet must be
// one of code 0, that is, of one frame.
func markAudio(packet []byte, conn, n uint32) []byte {
	b := make([]byte, 0, len(packet)+2+size)
	const oneFrameWithPadding = 0x41
	b = append(b, packet[0]|3, oneFrameWithPadding, size)
	return finish(append(b, packet[1:]...), conn, n)
}

func finish(b []byte, conn, n uint32) []byte {
	b = append(b, magic[:]...)
	b = binary.BigEndian.AppendUint32(b, conn)
	b = binary.BigEndian.AppendUint32(b, n)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// read gives what a mark says, or false when there is none or the frame is not
// as it was sent.
func read(b []byte) (conn, n uint32, ok bool) {
	if len(b) < size {
		return 0, 0, false
	}
	m := b[len(b)-size:]
	ok = [4]byte(m[:4]) == magic && binary.BigEndian.Uint32(m[12:]) == crc32.ChecksumIEEE(b[:len(b)-4])
	return binary.BigEndian.Uint32(m[4:]), binary.BigEndian.Uint32(m[8:]), ok
}

// isKey tells whether a VP8 frame is a keyframe (RFC 6386 §9.1).
func isKey(frame []byte) bool { return len(frame) > 0 && frame[0]&1 == 0 }

// kinds are those that are marked, in the order of what is kept of each.
var kinds = [2]media.Kind{media.Video, media.Audio}
