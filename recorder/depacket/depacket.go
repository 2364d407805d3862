// Package depacket makes frames of RTP packets, codec by codec.
//
// A [Depacketizer] takes the packets of one track in order and gives complete
// frames only, and only those that can be decoded: after a loss it follows what
// the lost frames were good for, as far as the payload tells, and when the chain
// of references is broken it drops frames until the next keyframe. So a file
// made of its frames never holds a frame that can't be decoded.
//
// Payloads are untrusted: what can't be right is dropped and counted. A
// Depacketizer is used by one goroutine and allocates nothing per packet once
// its buffers have grown.
package depacket

import (
	"errors"
	"fmt"
	"time"

	"github.com/roomtape/roomtape/media"
)

// DefaultMaxFrameSize is the default of Config.MaxFrameSize in bytes: some times
// what a keyframe of a 4K screen needs.
const DefaultMaxFrameSize = 4 << 20

// ErrCodec is returned, wrapped, by New for a codec that can't be depacketized.
var ErrCodec = errors.New("depacket: no depacketizer for this codec")

// Config has what a depacketizer must know besides the codec. The zero value is
// ready to use.
type Config struct {
	// AbsCaptureTime is the id of the abs-capture-time header extension, or 0
	// when it is not negotiated.
	AbsCaptureTime uint8
	// Dependencies is the id of the dependency descriptor header extension, or 0
	// when it is not negotiated.
	Dependencies uint8
	// RED has the payload types whose packets are RED (RFC 2198), and Codecs the
	// codec of each payload type, which says what may be inside; nil: anything.
	// Both are read only, and only for Opus.
	RED    map[uint8]bool
	Codecs map[uint8]media.Codec
	// MaxFrameSize bounds a frame in bytes; larger ones are dropped. 0 means
	// DefaultMaxFrameSize.
	MaxFrameSize int
	// ParameterSets are H264 parameter sets that the sender gave outside the
	// stream: NAL units without start codes, as in sprop-parameter-sets
	// (RFC 6184 §8.1) once decoded. What is no parameter set is ignored.
	ParameterSets [][]byte
}

// Frame is one complete frame: a VP8, VP9 or AV1 picture with all its layers, an
// H264 access unit, or an Opus packet.
//
// AV1 comes in the low-overhead bitstream format without temporal delimiters
// (AV1 bitstream specification §5.2), H264 as NAL units that each have their
// length in four bytes before them (ISO/IEC 14496-15). A keyframe of either has
// with it all parameters that its decoder needs, so that they may change in the
// middle of a file.
type Frame struct {
	// Data belongs to the caller, until it is given back with Recycle.
	Data []byte
	// Timestamp is the RTP timestamp.
	Timestamp uint32
	// Arrival is when the first of its packets arrived, of those that did not
	// come by retransmission, or when it should have.
	Arrival time.Time
	// Duration is how long the frame lasts; for audio, by the TOC byte; 0 for
	// video.
	Duration time.Duration
	// Packets is how many RTP packets the frame was made of: 0 when another
	// frame's packet repeated it (RED).
	Packets int
	// Key is set on a frame that can be decoded without any before it; on every
	// audio frame.
	Key bool
	// Hidden is set on a frame that is decoded but not shown.
	Hidden bool
	// Droppable is set on a frame that no other frame refers to, for sure.
	Droppable bool
	// Recovered is set when all of its packets came by retransmission, or after
	// others that follow them, so that Arrival does not tell when it was sent.
	Recovered bool
	// Reorders is set when frames may be presented in another order than they
	// are given in, which is decode order; Reordered on one that by its picture
	// order count is presented before one that was given before it. Their
	// timestamps are of presentation, and fall there.
	Reorders, Reordered bool
	// Open is set on a keyframe after which frames may come that are presented
	// before it and refer to what is before it. It is no place to begin another
	// file at.
	Open bool
	// Width and Height in pixels are set on keyframes of video.
	Width, Height int
	// Private is the decoder configuration of the keyframe that the frame
	// follows: for AV1 the av1C record, for H264 avcC, else nil. It is shared
	// by the frames it is for, and must not be changed.
	Private []byte
	// LostPackets is how many packets were lost, and DroppedFrames how many
	// frames were not given though something is known of them, between the
	// frame given before and this one.
	LostPackets, DroppedFrames int
	// Restarted is set on the first frame after Restart.
	Restarted bool
	// CaptureTime is when the sender captured the frame, in its NTP time (32.32
	// fixed point), or 0 when the sender does not say.
	CaptureTime uint64
}

// PacketStats counts packets by what became of them. Each packet that was
// pushed is counted once, when that is decided; after Flush the fields add up to
// the packets pushed.
type PacketStats struct {
	Used    uint64 // in a frame that was given
	Padding uint64 // no payload: sent to probe the network or fill a rate
	// Malformed packets have a payload that can't be right, or belong to a
	// frame whose own header can't.
	Malformed   uint64
	Oversize    uint64 // of a frame that is larger than Config.MaxFrameSize
	Incomplete  uint64 // of a frame of which another packet was lost
	Undecodable uint64 // of a complete frame whose references were lost
	Foreign     uint64 // RED with something else inside
}

// Total adds up all fields.
func (s PacketStats) Total() uint64 { return s.Used + s.Discarded() }

// Discarded adds up all fields but Used.
func (s PacketStats) Discarded() uint64 {
	return s.Padding + s.Malformed + s.Oversize + s.Incomplete + s.Undecodable + s.Foreign
}

// FrameStats counts frames.
type FrameStats struct {
	Given uint64
	Key   uint64 // keyframes of those given
	// Dropped frames were not given; those of which every packet was lost are
	// counted where the payload numbers its frames.
	Dropped uint64
}

// Stats counts what became of packets and frames.
type Stats struct {
	Packets PacketStats
	Frames  FrameStats
	// Recovered is how many packets were lost whose frames were given all the
	// same, since later packets repeated them. They are not in LostPackets.
	Recovered uint64
}

// Depacketizer makes frames of the packets of one track.
type Depacketizer interface {
	// Push takes the next packet in order; lost is how many packets before it
	// never came. The depacketizer owns p. Call Next until it gives no more
	// after each Push.
	Push(p *media.Packet, lost int)
	// Restart says that the sender began anew: the next packet has nothing to
	// do with those before.
	Restart()
	// Ready tells whether Next has a frame, for less than Next takes: most
	// packets of video complete none.
	Ready() bool
	// Next gives the next complete and decodable frame, if there is one.
	Next() (Frame, bool)
	// Flush says that the track has ended: what is complete is given by Next,
	// all else is dropped. Packets pushed after it begin anew.
	Flush()
	// NeedsKeyframe tells whether frames are being dropped until a keyframe
	// comes. It is so from the start for video, and never for audio.
	NeedsKeyframe() bool
	// Stats gives the counts so far.
	Stats() Stats
	// Recycle takes back the Data of a frame, which the caller must not touch
	// afterwards.
	Recycle(data []byte)
}

// Foreseer is a Depacketizer that can tell what a loss would break before it is
// certain.
type Foreseer interface {
	// Breaks tells whether frames would be dropped until a keyframe comes if
	// lost packets before p, which is the next to be pushed, never came. It
	// keeps nothing of p.
	Breaks(p *media.Packet, lost int) bool
}

// Follows tells whether frames of decoder configuration next may be in one file
// after those of configuration first, which the file declares; both are of
// Frame.Private. A change of size may: keyframes bring their parameters along. A
// change of profile, chroma format or bit depth may not, since a player chooses
// its decoder by what the file declares.
func Follows(codec media.Codec, first, next []byte) bool {
	switch codec {
	case media.AV1:
		return len(first) >= 4 && len(next) >= 4 && first[1]&0xe0 == next[1]&0xe0 && first[2]&0x7c == next[2]&0x7c
	case media.H264:
		return followsAVC(first, next)
	}
	return true
}

// New makes a depacketizer for a codec. The error wraps ErrCodec.
func New(codec media.Codec, cfg Config) (Depacketizer, error) {
	if cfg.MaxFrameSize <= 0 {
		cfg.MaxFrameSize = DefaultMaxFrameSize
	}
	switch codec {
	case media.VP8:
		return newVP8(cfg), nil
	case media.VP9:
		return newVP9(cfg), nil
	case media.AV1:
		return newAV1(cfg), nil
	case media.H264:
		return newH264(cfg), nil
	case media.Opus:
		return newOpus(cfg), nil
	}
	return nil, fmt.Errorf("%w: %v", ErrCodec, codec)
}
