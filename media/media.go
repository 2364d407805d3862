// Package media has the words that the rest of Roomtape is written in: what
// codec a track has, what an RTP packet is, and what a frame is.
//
// It knows nothing but the standard library, and holds no behaviour beyond
// reading an RTP header and putting times in order. Signaling makes packets, the recorder turns packets
// into frames, and output writes frames; all three meet here.
package media

import (
	"strings"
	"time"
)

// Kind tells sound from picture.
type Kind uint8

// The kinds of media a track can carry.
const (
	KindUnknown Kind = iota
	Audio
	Video
)

// String gives the kind as SDP and the manifest spell it: "audio" or "video".
func (k Kind) String() string {
	switch k {
	case Audio:
		return "audio"
	case Video:
		return "video"
	}
	return "unknown"
}

// Codec names an encoding that Roomtape can record.
type Codec uint8

// The codecs that can be recorded, with the RTP payload format of each.
const (
	CodecUnknown Codec = iota
	VP8                // RFC 7741
	VP9                // RFC 9628
	AV1                // AOMedia "RTP Payload Format For AV1"
	H264               // RFC 6184
	Opus               // RFC 7587
)

var codecNames = [...]string{"unknown", "VP8", "VP9", "AV1", "H264", "Opus"}

// String gives the codec's name as the manifest spells it, such as "VP8".
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return codecNames[CodecUnknown]
}

// ParseCodec reads a codec's name in any case, with or without the MIME type
// before it ("vp8", "video/VP8", "audio/opus"). It returns CodecUnknown for
// every other name.
func ParseCodec(name string) Codec {
	if _, sub, ok := strings.Cut(name, "/"); ok {
		name = sub
	}
	for c := VP8; int(c) < len(codecNames); c++ {
		if strings.EqualFold(name, codecNames[c]) {
			return c
		}
	}
	return CodecUnknown
}

// Kind tells whether the codec is for audio or video.
func (c Codec) Kind() Kind {
	switch c {
	case VP8, VP9, AV1, H264:
		return Video
	case Opus:
		return Audio
	}
	return KindUnknown
}

// ClockRate gives the codec's RTP clock rate in Hz (90000 for video, 48000 for
// Opus), and 0 for CodecUnknown.
func (c Codec) ClockRate() uint32 {
	switch c.Kind() {
	case Video:
		return 90000
	case Audio:
		return 48000
	}
	return 0
}

// Track describes one track of a recording: what a muxer must know of it
// before its first frame.
type Track struct {
	Codec Codec
	// Width and Height are the size in pixels of the first frame, before any
	// change mid-stream; 0 for audio.
	Width, Height int
	// Channels is the number of audio channels; 0 for video.
	Channels int
	// Private is the decoder configuration record of the codecs that need one
	// outside the frames (av1C, avcC); nil for VP8, VP9 and Opus.
	Private []byte
}

// Frame is one complete encoded unit: one VP8, VP9 or AV1 picture with all its
// layers, one H264 access unit, or one Opus packet.
//
// Whoever holds a Frame owns Data until it is handed on; each function that
// takes a Frame says whether it keeps Data.
type Frame struct {
	Data []byte
	// Time is when the frame is presented, from the start of the session. The
	// frames of a track come in decode order. Their times never fall, but for
	// a codec that Reorders: there a frame may be presented before up to
	// MaxReorder frames that came before it, and MaxReorderTime before one of
	// them at most. Order says what that allows.
	Time time.Duration
	// Duration is how long it lasts, or 0 when that is not known (video).
	Duration time.Duration
	// Key is set on a frame that can be decoded without any before it.
	// Every audio frame is one.
	Key bool
	// Hidden is set on a frame that is decoded but not shown.
	Hidden bool
	// Droppable is set on a frame that no other frame refers to.
	Droppable bool
	// Width and Height in pixels; set on video keyframes, else 0.
	Width, Height int
}
