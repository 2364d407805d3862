package synthetic

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"

	"github.com/roomtape/roomtape/media"
)

// opusFrame is how long each packet of a clip's sound lasts.
const opusFrame = 20 * time.Millisecond

// Clip is a picture and a sound that begin together and are played in a loop.
// It is not changed once it is read, so any number of participants may play it.
type Clip struct {
	// Codec is that of the picture: VP8 or VP9.
	Codec media.Codec
	// Width and Height of the picture in pixels.
	Width, Height int
	// FrameDuration is how long each video frame lasts.
	FrameDuration time.Duration
	// Video has the video frames; the first is a keyframe.
	Video [][]byte
	// Audio has the Opus packets, 20 ms each.
	Audio [][]byte

	// step is FrameDuration in RTP clock units, exactly.
	step uint32
}

// ReadClip reads a clip of constant frame rate from an IVF file and an Ogg file
// with one Opus packet of 20 ms a page, until both end. It holds all of it in
// memory, and so is for clips, not for films. When the sound is the longer of
// the two, what is over is left away; when it is shorter, the rest of each loop
// is silent.
func ReadClip(video, audio io.Reader) (*Clip, error) {
	c := &Clip{}
	if err := c.readVideo(video); err != nil {
		return nil, fmt.Errorf("synthetic: reading a clip's video: %w", err)
	}
	if err := c.readAudio(audio); err != nil {
		return nil, fmt.Errorf("synthetic: reading a clip's audio: %w", err)
	}
	return c, nil
}

// NewClip makes a clip of the frames that are given, and keeps them. The first
// video frame must be a keyframe, the audio packets must last 20 ms each, and
// the clip must not be shorter than one of them.
func NewClip(codec media.Codec, width, height int, frameDuration time.Duration, video, audio [][]byte) *Clip {
	return &Clip{
		Codec: codec, Width: width, Height: height, FrameDuration: frameDuration, Video: video, Audio: audio,
		// A duration in whole nanoseconds is often a little too short.
		step: uint32((int64(frameDuration)*int64(codec.ClockRate()) + int64(time.Second)/2) / int64(time.Second)),
	}
}

// Duration is the length of one loop.
func (c *Clip) Duration() time.Duration {
	return c.videoTime(len(c.Video))
}

// videoTime is when the video frame n of an endless loop is due.
func (c *Clip) videoTime(n int) time.Duration {
	ticks := int64(n) * int64(c.step)
	rate := int64(c.Codec.ClockRate())
	return time.Duration(ticks/rate)*time.Second + time.Duration(ticks%rate)*time.Second/time.Duration(rate)
}

// audioAt gives the packet n of an endless loop, or nil for silence.
func (c *Clip) audioAt(n int) []byte {
	loop := int(c.Duration() / opusFrame)
	if i := n % loop; i < len(c.Audio) {
		return c.Audio[i]
	}
	return nil
}

func (c *Clip) readVideo(r io.Reader) error {
	ivf, header, err := ivfreader.NewWith(r)
	if err != nil {
		return err
	}
	switch header.FourCC {
	case "VP80":
		c.Codec = media.VP8
	case "VP90":
		c.Codec = media.VP9
	default:
		return fmt.Errorf("codec %q is neither VP80 nor VP90", header.FourCC)
	}
	c.Width, c.Height = int(header.Width), int(header.Height)
	c.step = uint32(uint64(c.Codec.ClockRate()) * uint64(header.TimebaseNumerator) / uint64(header.TimebaseDenominator))
	c.FrameDuration = c.videoTime(1)
	for {
		frame, _, err := ivf.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		c.Video = append(c.Video, frame)
	}
	if c.Duration() < opusFrame {
		return errors.New("the clip is shorter than one packet of sound")
	}
	return nil
}

func (c *Clip) readAudio(r io.Reader) error {
	ogg, _, err := oggreader.NewWith(r)
	if err != nil {
		return err
	}
	for {
		packet, page, err := ogg.ParseNextPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, header := page.HeaderType(packet); !header {
			c.Audio = append(c.Audio, packet)
		}
	}
}
