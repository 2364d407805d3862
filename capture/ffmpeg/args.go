package ffmpeg

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
)

// soundFrame is how long an Opus packet is.
const soundFrame = 20 * time.Millisecond

// common are the arguments that every ffmpeg gets: it must not read our terminal,
// and begin at once.
func common(in Input) []string {
	args := []string{"-hide_banner", "-nostdin", "-loglevel", "error"}
	if in.Live {
		args = append(args, "-probesize", "32", "-analyzeduration", "0", "-fflags", "nobuffer")
	}
	return append(args, in.Args...)
}

// pictureArgs are the arguments for an ffmpeg that gives pictures.
func pictureArgs(in Input, c capture.Constraints, bitrate int) ([]string, error) {
	encode, err := videoArgs(c, bitrate)
	if err != nil {
		return nil, err
	}
	args := append(common(in), "-map", "0:v:0", "-an")
	filter := in.Filter
	if c.Width > 0 {
		if filter != "" {
			filter += ","
		}
		filter += fmt.Sprintf("scale=%d:%d:force_original_aspect_ratio=decrease:force_divisible_by=2", c.Width, c.Height)
	}
	if filter != "" {
		args = append(args, "-vf", filter)
	}
	if in.Live {
		// The times of what is captured, in microseconds of the wall clock.
		args = append(args, "-copyts", "-fps_mode", "passthrough", "-enc_time_base", "-1")
	}
	args = append(args, encode...)
	container := "ivf"
	if c.Video == media.H264 {
		container = "avi"
	}
	return append(args, "-flush_packets", "1", "-f", container, "pipe:1"), nil
}

// videoArgs are the arguments for the encoder.
func videoArgs(c capture.Constraints, bitrate int) ([]string, error) {
	rate := strconv.Itoa(bitrate)
	args := []string{
		"-pix_fmt", "yuv420p", "-b:v", rate, "-maxrate", rate, "-bufsize", strconv.Itoa(bitrate / 2),
		// Keyframes come when they are asked for; this one is for whoever can't ask.
		"-g", strconv.Itoa(30 * max(c.FrameRate, 1)),
	}
	encoder := c.Encoder
	usual := encoder == ""
	switch c.Video {
	case media.VP8:
		if usual {
			encoder = "libvpx"
			args = append(args, "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-error-resilient", "default", "-max-intra-rate", "900", "-static-thresh", "100")
		}
	case media.VP9:
		if usual {
			encoder = "libvpx-vp9"
			args = append(args, "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-error-resilient", "default", "-row-mt", "1", "-tile-columns", "1", "-tune-content", "screen", "-aq-mode", "3")
		}
	case media.AV1:
		if usual {
			encoder = "libaom-av1"
			args = append(args, "-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-row-mt", "1", "-tile-columns", "1")
		}
	case media.H264:
		// Constrained baseline is what every browser takes.
		args = append(args, "-profile:v", "baseline", "-bf", "0")
		if usual {
			encoder = "libx264"
			args = append(args, "-preset", "ultrafast", "-tune", "zerolatency")
		}
	default:
		return nil, fmt.Errorf("%w: no encoder for %v", capture.ErrUnavailable, c.Video)
	}
	return slices.Concat([]string{"-c:v", encoder}, args), nil
}

// soundArgs are the arguments for an ffmpeg that gives sound.
func soundArgs(in Input) []string {
	return append(common(in), "-map", "0:a:0", "-vn",
		"-c:a", "libopus", "-b:a", "64k", "-ar", "48000", "-ac", "2", "-application", "audio",
		"-frame_duration", strconv.Itoa(int(soundFrame/time.Millisecond)),
		"-page_duration", strconv.Itoa(int(soundFrame/time.Microsecond)),
		"-flush_packets", "1", "-f", "ogg", "pipe:1")
}
