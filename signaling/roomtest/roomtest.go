// Package roomtest is the conformance suite of package signaling: what every
// kind of room must do, whatever protocol it speaks.
//
// A kind of room runs it in a test of its own, over real connections:
//
//	func TestConformance(t *testing.T) { roomtest.Run(t, newVenue) }
package roomtest

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// Maker makes a venue for one test. It fails the test when it can't.
type Maker func(t *testing.T) Venue

// Venue is one room of the kind under test, with what is needed to be in it: a
// server, for instance. Its network loses nothing. Its methods are called by one
// goroutine.
type Venue interface {
	// Join joins the room as the one who records. It is called once.
	Join(ctx context.Context) (signaling.Room, error)
	// Enter brings a participant into the room who sends, from when they can
	// until they leave, some 100 packets a second in one track of each codec,
	// of which there are at most one for audio and one for video: the
	// consecutive numbers from 0 as Payload has them, under consecutive RTP
	// sequence numbers. When somebody with this id is in the room, they come
	// in place of that one, as after a reload.
	Enter(id string, codecs ...media.Codec) (Sender, error)
	// Close ends the venue and all that belongs to it.
	Close() error
}

// Sender is a participant that a Venue has brought in.
type Sender interface {
	// Leave stops sending, and then leaves the room. It returns how many
	// packets were sent in each track, in the order of the codecs.
	Leave() ([]uint64, error)
}

// payloadSize is the size of each packet's payload in bytes.
const payloadSize = 200

// Payload makes the RTP payload of packet n of a track: a whole frame of the
// codec, as far as those who forward it look into it. Only VP8 and Opus have
// more than the number.
func Payload(codec media.Codec, n uint64) []byte {
	b := make([]byte, payloadSize)
	switch codec {
	case media.VP8:
		// The start of a partition, then the header of a keyframe of 16x16
		// (RFC 7741 §4.2, RFC 6386 §9.1).
		copy(b, []byte{0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x10, 0x00, 0x10, 0x00})
	case media.Opus:
		b[0] = 0xfc // 20 ms of stereo (RFC 6716 §3.1)
	}
	for i := 16; i < payloadSize-8; i++ {
		b[i] = byte(n) + byte(i)
	}
	binary.BigEndian.PutUint64(b[payloadSize-8:], n)
	return b
}

// number reads what Payload has written, or gives false for anything else.
func number(b []byte) (uint64, bool) {
	if len(b) != payloadSize {
		return 0, false
	}
	n := binary.BigEndian.Uint64(b[payloadSize-8:])
	for i := 16; i < payloadSize-8; i++ {
		if b[i] != byte(n)+byte(i) {
			return 0, false
		}
	}
	return n, true
}
