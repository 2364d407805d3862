package ffmpeg

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roomtape/roomtape/capture"
)

// Pattern gives the inputs of a moving test picture with the number of the frame,
// and a white square and a beep in the first tenth of each second of the source.
// With text, the time of day and the number stand large in its middle, for which
// ffmpeg needs a font.
func Pattern(c capture.Constraints, text bool) (picture, sound func(elapsed time.Duration) Input) {
	width, height, rate := c.Width, c.Height, c.FrameRate
	if width == 0 {
		width, height = 1280, 720
	}
	if rate == 0 {
		rate = 30
	}
	picture = func(elapsed time.Duration) Input {
		filter := fmt.Sprintf("drawbox=x=0:y=0:w=iw/8:h=ih/8:color=white:t=fill:enable='lt(mod(t+%s,1),0.1)'", seconds(elapsed))
		if text {
			frame := int(math.Round(elapsed.Seconds() * float64(rate)))
			filter = fmt.Sprintf("drawtext=text='%%{localtime} frame %%{eif\\:n+%d\\:d}':x=(w-tw)/2:y=h/2-th:fontsize=h/14:fontcolor=white:box=1:boxcolor=black@0.8:boxborderw=8,", frame) + filter
		}
		return Input{
			Args:   []string{"-re", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%dx%d:rate=%d", width, height, rate)},
			Filter: filter,
		}
	}
	sound = func(elapsed time.Duration) Input {
		return Input{Args: []string{
			"-re", "-f", "lavfi", "-i",
			fmt.Sprintf("aevalsrc=exprs='if(lt(mod(t+%s,1),0.1),0.5*sin(2*PI*1000*t),0)':s=48000", seconds(elapsed)),
		}}
	}
	return picture, sound
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }

// display is an X display with an optional corner of the part that is captured.
var display = regexp.MustCompile(`^([A-Za-z0-9.\-]*:[0-9]+(?:\.[0-9]+)?)(\+[0-9]+,[0-9]+)?$`)

// Screen gives the input of a screen: name is an X display (":1.0"), maybe with
// the upper left corner of the part of the size of c ("+X,Y"); "" is the default
// one. On macOS it is the number of a screen, on Windows "desktop". env is added
// to the environment. The error wraps capture.ErrUnavailable or capture.ErrName.
func Screen(c capture.Constraints, name string, env []string) (func(time.Duration) Input, error) {
	rate := c.FrameRate
	if rate == 0 {
		rate = 30
	}
	mouse := "1"
	if c.HideCursor {
		mouse = "0"
	}
	var args []string
	switch runtime.GOOS {
	case "darwin":
		if name == "" {
			name = "1"
		}
		args = []string{"-f", "avfoundation", "-framerate", strconv.Itoa(rate), "-capture_cursor", mouse, "-i", name + ":none"}
	case "windows":
		if name == "" {
			name = "desktop"
		}
		args = []string{"-f", "gdigrab", "-framerate", strconv.Itoa(rate), "-draw_mouse", mouse, "-i", name}
	default:
		if name == "" {
			name = os.Getenv("DISPLAY")
		}
		if name == "" {
			return nil, fmt.Errorf("%w: there is no screen: DISPLAY is not set", capture.ErrUnavailable)
		}
		part := display.FindStringSubmatch(name)
		if part == nil {
			return nil, fmt.Errorf("%w: %q is no X display: want one as :1 or :1.0+X,Y", capture.ErrName, name)
		}
		args = []string{"-f", "x11grab", "-framerate", strconv.Itoa(rate), "-draw_mouse", mouse}
		if part[2] != "" && c.Width > 0 {
			args = append(args, "-video_size", fmt.Sprintf("%dx%d", c.Width, c.Height))
		}
		args = append(args, "-i", name)
	}
	return func(time.Duration) Input { return Input{Args: args, Env: env, Live: true} }, nil
}

// SystemSound is the input of what this machine plays, by PulseAudio or PipeWire's
// pulse server. name is a source of theirs; "" is the monitor of the default
// output.
func SystemSound(name string, env []string) func(time.Duration) Input {
	if name == "" {
		name = "@DEFAULT_MONITOR@"
	}
	return func(time.Duration) Input {
		return Input{Args: []string{"-f", "pulse", "-fragment_size", "3840", "-i", name}, Env: env, Live: true}
	}
}

// File gives the input of a media file that ffmpeg reads at its own pace; loop
// begins it again at its end.
func File(path string, loop bool) func(elapsed time.Duration) Input {
	return func(elapsed time.Duration) Input {
		args := []string{"-re"}
		if loop {
			args = append(args, "-stream_loop", "-1")
		}
		// Only files: a name must not become a URL.
		return Input{Args: append(args, "-ss", seconds(elapsed), "-i", "file:"+path)}
	}
}

// Arguments gives the input that is described in ffmpeg's own words, such as
// "-f v4l2 -i /dev/video0" or "rtsp://camera/1": words are parted by spaces, and
// without "-i" the last one is what is read. The error wraps capture.ErrName.
func Arguments(text string) (func(time.Duration) Input, error) {
	args := strings.Fields(text)
	if len(args) == 0 {
		return nil, fmt.Errorf("%w: no input stands after \"ffmpeg:\"", capture.ErrName)
	}
	if !slices.Contains(args, "-i") {
		args = slices.Insert(args, len(args)-1, "-i")
	}
	// One input, at the end: what follows it would be an output.
	if slices.Index(args, "-i") != len(args)-2 || strings.HasPrefix(args[len(args)-1], "-") {
		return nil, fmt.Errorf("%w: %q: want options of one input, and then -i INPUT", capture.ErrName, text)
	}
	in := Input{Args: args, Live: true}
	for _, device := range []string{"v4l2", "avfoundation", "dshow", "decklink"} {
		in.Sole = in.Sole || slices.Contains(args, device)
	}
	return func(time.Duration) Input { return in }, nil
}
