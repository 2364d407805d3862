// Package capture has what is published into a room: a [Source] gives encoded
// frames, and takes two wishes, a keyframe now and another bitrate.
//
// Each kind of source is a folder below this one. What they share stands here;
// how frames get to viewers is the business of signaling/peer.
package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Errors that sources wrap, so that a caller can tell them apart with errors.Is.
var (
	// ErrUnavailable means that what was asked for can't be captured here: a
	// program is missing, there is no such display, device or file, or it
	// can't be opened.
	ErrUnavailable = errors.New("cannot be captured")
	// ErrName means that what is asked for has a name that nothing can have, or
	// names a file that is not there.
	ErrName = errors.New("not a source")
	// ErrDamaged means that a media file is broken, or of a kind or codec that
	// is not known.
	ErrDamaged = errors.New("media file cannot be used")
	// ErrEnded means that a source that should have gone on has ended by
	// itself, and could not be started again.
	ErrEnded = errors.New("the source has ended by itself")
)

// Sample is one encoded frame and when it was captured.
type Sample struct {
	Kind media.Kind
	// Frame's Data belongs to whoever gets the sample. Of its other fields only
	// Key is set, and Duration for sound.
	Frame media.Frame
	// Captured is on the clock of time.Now. It rises within each kind.
	Captured time.Time
}

// Source is something that can be published. It is running when it is made.
//
// One goroutine calls Next; the other methods may be called by any.
type Source interface {
	// Tracks gives the codecs of what the source gives, CodecUnknown for what it
	// does not. They do not change.
	Tracks() (video, audio media.Codec)
	// Next waits for the next sample. The error is io.EOF when the source has
	// come to its end or was closed, ctx's error when ctx is done, and else
	// wraps one of the errors above. After an error there are no more samples.
	Next(ctx context.Context) (Sample, error)
	// RequestKeyframe wishes for a keyframe soon. A source limits how often it
	// makes one; a wish that comes too early is fulfilled later. Where it is
	// not the source that encodes, the next keyframe comes when it comes.
	RequestKeyframe()
	// SetBitrate wishes for another video bitrate, in bit/s. A source may
	// ignore small changes, and all of them when it does not encode.
	SetBitrate(bitsPerSecond int)
	// Close ends the source and everything it has started, before it returns.
	// It may be called more than once.
	Close() error
}

// Constraints are what is wished of a source, in the terms of the W3C's Screen
// Capture and Media Capture: ideal values, which a source comes as close to as it
// can. Zero values leave the choice to the source.
type Constraints struct {
	// Width and Height are in pixels, FrameRate in frames a second.
	Width, Height int
	FrameRate     int
	// HideCursor leaves the pointer out.
	HideCursor bool
	// Video is the codec of the pictures, Audio that of sound; CodecUnknown
	// leaves the kind out. With AnyVideo, a source that has encoded pictures
	// gives them as they are, whatever their codec.
	Video, Audio media.Codec
	AnyVideo     bool
	// Bitrate of the video is in bit/s.
	Bitrate int
	// Encoder names an encoder of the program that encodes, such as
	// "h264_vaapi", in place of the usual one for the codec.
	Encoder string
}

// Step is how much later than the sample before a sample is made that would not be:
// enough for players that round times to milliseconds.
const Step = 5 * time.Millisecond

// Limits of Constraints.
const (
	MaxSide      = 7680
	MaxFrameRate = 120
	MinBitrate   = 50_000
	MaxBitrate   = 50_000_000
)

// Check tells whether the values are possible.
func (c Constraints) Check() error {
	switch {
	case c.Width < 0 || c.Height < 0 || c.Width > MaxSide || c.Height > MaxSide:
		return fmt.Errorf("a size of %dx%d is not within %dx%d", c.Width, c.Height, MaxSide, MaxSide)
	case (c.Width == 0) != (c.Height == 0):
		return fmt.Errorf("a size of %dx%d lacks one side", c.Width, c.Height)
	case c.FrameRate < 0 || c.FrameRate > MaxFrameRate:
		return fmt.Errorf("%d frames a second are not within 1 to %d", c.FrameRate, MaxFrameRate)
	case c.Bitrate != 0 && (c.Bitrate < MinBitrate || c.Bitrate > MaxBitrate):
		return fmt.Errorf("%d bit/s are not within %d to %d", c.Bitrate, MinBitrate, MaxBitrate)
	}
	return nil
}

// IsKey tells whether an encoded picture is a keyframe, by its own header: VP8
// (RFC 6386 §9.1), VP9 (bitstream §6.2), AV1 (a temporal unit with a sequence
// header, §7.5), H264 (Annex B with an IDR slice).
func IsKey(c media.Codec, frame []byte) bool {
	if len(frame) == 0 {
		return false
	}
	switch c {
	case media.VP8:
		return frame[0]&1 == 0
	case media.VP9:
		return vp9Key(frame[0])
	case media.AV1:
		return av1Key(frame)
	case media.H264:
		return h264Key(frame)
	}
	return true
}

// vp9Key reads frame_marker (2 bits), the profile (2, and a reserved bit for
// profile 3), show_existing_frame and frame_type.
func vp9Key(b byte) bool {
	at := 4
	if b>>4&0b11 == 0b11 {
		at++
	}
	return b<<at&0x80 == 0 && b<<(at+1)&0x80 == 0
}

// av1Key walks the OBUs, all of which must have their size, as they have in IVF
// and Matroska.
func av1Key(b []byte) bool {
	const sequenceHeader = 1
	for len(b) > 0 {
		kind, extended, sized := b[0]>>3&0xf, b[0]&4 != 0, b[0]&2 != 0
		if kind == sequenceHeader {
			return true
		}
		b = b[1:]
		if extended && len(b) > 0 {
			b = b[1:]
		}
		if !sized {
			return false
		}
		size, n := uint64(0), 0
		for ; n < len(b) && n < 8; n++ {
			size |= uint64(b[n]&0x7f) << (7 * n)
			if b[n]&0x80 == 0 {
				break
			}
		}
		if n >= len(b) || size > uint64(len(b)-n-1) {
			return false
		}
		b = b[n+1+int(size):]
	}
	return false
}

func h264Key(b []byte) bool {
	const idr = 5
	for i := 0; i+3 < len(b); i++ {
		if b[i] == 0 && b[i+1] == 0 && b[i+2] == 1 && b[i+3]&0x1f == idr {
			return true
		}
	}
	return false
}
