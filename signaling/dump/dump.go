// Package dump is a room that has already happened: it reads RTP dumps and gives
// what is in them as the events of a signaling.Room.
//
// It reads rtpdump (rtptools), pcap and pcapng, Janus' .mjr, packets framed as
// RFC 4571 has it, and what [Writer] writes. Which of them a file is, is told by
// its content.
//
// # Two passes
//
// Other people's dumps do not say what is in them. Such a dump is read twice: what
// comes from a pipe is copied. The first pass goes through all of it and keeps a few facts of each
// stream, in a table of bounded size: how often each payload type came, what
// the payloads look like, who sent it, and what SIP, SDP and RTCP say. From
// these it decides what is a track and whose. The second pass gives the events.
// Neither keeps more than one packet, whatever the size of the dump. A dump that
// [Writer] has written says itself what is in it, and is read once.
//
// # Streams, tracks, participants
//
// A stream is an SSRC between two addresses, and goes on when one of them
// changes. Streams of codecs that can be
// recorded are tracks; retransmission, FEC, telephone events, comfort noise and
// unsupported codecs are counted and set aside. Streams with one canonical name
// (RFC 3550 §6.5.1) and sending host are one participant's; without such a name
// those between the same hosts are, one of each kind at a time; and all files
// without addresses that are opened together are.
package dump

import (
	"errors"
	"fmt"
	"io"
)

// Errors that Open and Room.Next wrap.
var (
	// ErrFormat: a file is of no known format, or of a link type that is not
	// read.
	ErrFormat = errors.New("not a dump that can be read")
	// ErrDamaged: a file is cut short or damaged. What comes before the damage
	// is used.
	ErrDamaged = errors.New("damaged")
	// ErrEncrypted: the media is encrypted, and no key or a wrong one is
	// given.
	ErrEncrypted = errors.New("encrypted")
	// ErrCodec: there is media, but of no codec that can be recorded.
	ErrCodec = errors.New("no codec that can be recorded")
	// ErrNoMedia: there is no RTP.
	ErrNoMedia = errors.New("no RTP")
)

// DamageError tells where a file is damaged. It is an ErrDamaged.
type DamageError struct {
	File string
	// Offset is where the damaged record begins, in bytes from the start of
	// the file (of its content, when it is compressed).
	Offset int64
	// What is wrong there.
	What string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: damaged at byte %d: %s", e.File, e.Offset, e.What)
}

// Is tells that the error is an ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// UnusableError is why nothing of a dump can be replayed, and what is in it
// nonetheless. It wraps ErrEncrypted, ErrCodec, ErrNoMedia or ErrDamaged.
type UnusableError struct {
	Summary Summary
	Err     error
}

func (e *UnusableError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *UnusableError) Unwrap() error { return e.Err }

// Config says how to read a dump. The zero Config is ready for use.
type Config struct {
	// Map says what payload types are. It overrules all else.
	Map map[uint8]Format
	// SDP is a session description (RFC 8866) that says what payload types
	// are. It overrules the dump.
	SDP []byte
	// SRTPKey is the master key and salt of SRTP with the profile
	// AES_CM_128_HMAC_SHA1_80 (RFC 3711, RFC 4568 §6.2), 30 bytes; nil when
	// the dump is not encrypted.
	SRTPKey []byte
	// Glance lets Open look only at the beginning of Janus' files, which say
	// themselves what is in them. Should one hold something else too, Next
	// gives ErrUnforeseen where that begins: then the dump has to be opened
	// without Glance. Until then the events are the same; Summary tells what has
	// come so far.
	Glance bool
	// Stdin is what the name Stdin stands for; nil: a file of that name.
	Stdin io.Reader
}

// Limits.
const (
	// MaxStreams is how many streams of a dump are told apart. Packets of
	// further ones are counted and set aside.
	MaxStreams = 4096
	// MaxFiles is how many files are opened together.
	MaxFiles = 64
	// maxRecord is the largest record of a file: tcpdump's greatest snapshot
	// length. A longer one is damage.
	maxRecord = 256 << 10
	// maxPayloadTypes is how many payload types of one stream are told apart.
	maxPayloadTypes = 16
	// maxNames is how many canonical names are remembered.
	maxNames = 4096
)
