package webm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

// What every Opus track is declared with (RFC 7845 §5.1, Matroska codec
// mapping "A_OPUS").
const (
	// opusPreSkip is the look-ahead of the Opus encoder in browsers, in
	// samples at 48 kHz: 2.5 ms of the codec and 4 ms of delay compensation.
	opusPreSkip = 312
	opusDelay   = opusPreSkip * time.Second / 48000
	// opusDelayMS is no less than opusDelay, in ms.
	opusDelayMS     = 7
	opusSeekPreRoll = 80 * time.Millisecond
	// opusChannels is 2 whatever was negotiated: a sender may turn stereo at
	// any packet (RFC 7587 §3.4), and decoders play mono packets on both.
	opusChannels = 2
)

// Track types of RFC 9559 §5.1.4.1.3.
const (
	typeVideo = 1
	typeAudio = 2
)

// codecs maps each codec to what Matroska calls it; private means that a
// CodecPrivate is required, and webm that WebM has the codec.
var codecs = map[media.Codec]struct {
	id            string
	private, webm bool
}{
	media.VP8:  {id: "V_VP8", webm: true},
	media.VP9:  {id: "V_VP9", webm: true},
	media.AV1:  {id: "V_AV1", private: true, webm: true},
	media.H264: {id: "V_MPEG4/ISO/AVC", private: true},
	media.Opus: {id: "A_OPUS", webm: true},
}

// Ext gives the ending, with its dot, of a file with tracks of these codecs:
// ".webm", or ".mkv" when WebM lacks one of them.
func Ext(cs []media.Codec) string {
	for _, c := range cs {
		if !codecs[c].webm {
			return ".mkv"
		}
	}
	return ".webm"
}

// track is what the Writer knows of one of its tracks.
type track struct {
	media.Track
	used bool
	// begun is set when there is a block, whose time in ms is first, and written
	// when its chunk has been written.
	begun, written bool
	first          int64
	// order has the blocks' times, in ms as in the file. Of those in order of
	// presentation, shown is the latest and step how long after the one before
	// it is, in ms.
	order media.Order
	shown int64
	step  int64
	end   int64 // when the latest block with a known duration ends, in ms
	// least is the shortest time between two blocks so far, in ms, or 0.
	least int64
}

// What a video track's DefaultDuration is at least and at most. ffmpeg does not
// believe a rate of 1000 or more, and reduces it to a fraction of numbers up to
// 30000: the least here becomes 29999/30, of which no two ms share a slot but
// one pair in each half minute.
const (
	minDefaultDuration = 1000033 * time.Nanosecond
	maxDefaultDuration = time.Second
)

// follow notes a block at start, and tells whether that changes the track's
// DefaultDuration.
func (t *track) follow(start int64) bool {
	before := t.defaultDuration()
	if !t.begun {
		t.begun, t.first = true, start
	}
	t.order.Push(time.Duration(start) * time.Millisecond)
	for at, ok := t.order.Pop(); ok; at, ok = t.order.Pop() {
		if t.used {
			t.step = at.Milliseconds() - t.shown
			if t.step > 0 && (t.least == 0 || t.step < t.least) {
				t.least = t.step
			}
		}
		t.used, t.shown = true, at.Milliseconds()
	}
	return t.defaultDuration() != before
}

// defaultDuration is the finest step of a picture, or 0 when there is
// none yet. Programs take its inverse for the frame rate and round times to it:
// ffmpeg would guess a mean, and give two frames that are closer than that the
// same time.
func (t *track) defaultDuration() time.Duration {
	if t.least == 0 || t.Codec.Kind() != media.Video {
		return 0
	}
	return min(max(time.Duration(t.least)*time.Millisecond, minDefaultDuration), maxDefaultDuration)
}

func checkTrack(t media.Track) error {
	c, ok := codecs[t.Codec]
	if !ok {
		return fmt.Errorf("webm: adding a track of codec %v: %w", t.Codec, output.ErrCodec)
	}
	if c.private && len(t.Private) == 0 {
		return fmt.Errorf("webm: adding a track of codec %v: %w", t.Codec, errPrivate)
	}
	if len(t.Private) > maxPrivate {
		return fmt.Errorf("webm: adding a track of codec %v: decoder configuration of %d bytes, more than %d", t.Codec, len(t.Private), maxPrivate)
	}
	return nil
}

// maxPrivate bounds a decoder configuration record, in bytes.
const maxPrivate = 4096

var errPrivate = errors.New("the codec needs a decoder configuration record")

// entry describes track number n (from 1) as an element.
func (t *track) entry(seed string, n int) trackEntry {
	e := trackEntry{
		TrackNumber:  uint64(n),
		TrackUID:     uid(seed, "track "+strconv.Itoa(n)),
		FlagLacing:   0,
		Language:     "und",
		CodecID:      codecs[t.Codec].id,
		CodecPrivate: t.Private,

		DefaultDuration: uint64(t.defaultDuration()),
	}
	if t.Codec.Kind() == media.Audio {
		e.TrackType = typeAudio
		e.CodecPrivate = opusHead()
		e.CodecDelay = uint64(opusDelay)
		e.SeekPreRoll = uint64(opusSeekPreRoll)
		e.Audio = &audio{SamplingFrequency: 48000, Channels: opusChannels}
		return e
	}
	e.TrackType = typeVideo
	// Zero is not a legal size; 1 stands for "not known yet".
	e.Video = &video{
		FlagInterlaced: 2, // progressive
		PixelWidth:     uint64(max(t.Width, 1)),
		PixelHeight:    uint64(max(t.Height, 1)),
	}
	return e
}

// opusHead gives the identification header of RFC 7845 §5.1.
func opusHead() []byte {
	b := append([]byte("OpusHead"), 1, opusChannels)
	b = binary.LittleEndian.AppendUint16(b, opusPreSkip)
	b = binary.LittleEndian.AppendUint32(b, 48000)
	return append(b, 0, 0, 0) // output gain, mapping family
}

// uid gives an identifier that is a function of the seed and of what it is for,
// so that the same recording has the same bytes. It has 56 bits, which is what
// every reader can hold, and is never 0.
func uid(seed, what string) uint64 {
	sum := sha256.Sum256([]byte(what + "\x00" + seed))
	return binary.BigEndian.Uint64(sum[:8])>>8 | 1
}

// uuid is uid for the elements that have 128 bits.
func uuid(seed, what string) []byte {
	sum := sha256.Sum256([]byte(what + "\x00" + seed))
	return sum[:16]
}
