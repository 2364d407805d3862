package ffmpeg

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
)

func TestArgumentsAreOneInput(t *testing.T) {
	for text, want := range map[string]string{
		"rtsp://camera/1":                "-i rtsp://camera/1",
		"-f v4l2 -i /dev/video0":         "-f v4l2 -i /dev/video0",
		"-rtsp_transport tcp rtsp://c/1": "-rtsp_transport tcp -i rtsp://c/1",
	} {
		f, err := Arguments(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		in := f(0)
		if got := strings.Join(in.Args, " "); got != want || !in.Live || in.Sole != strings.Contains(text, "v4l2") {
			t.Errorf("%q: %q, %+v", text, got, in)
		}
	}
	for _, text := range []string{"", " ", "-i a -i b", "-i a -y b", "-i -y", "-f v4l2"} {
		if _, err := Arguments(text); !errors.Is(err, capture.ErrName) && text != "-f v4l2" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestScreensHaveNamesThatDisplaysCanHave(t *testing.T) {
	t.Setenv("DISPLAY", "")
	if _, err := Screen(capture.Constraints{}, "", nil); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("no display: %v", err)
	}
	for _, name := range []string{"zz", ":1 -y", ":1+a,b", "-i", ":", ":1+1,1;x"} {
		if _, err := Screen(capture.Constraints{}, name, nil); !errors.Is(err, capture.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	f, err := Screen(capture.Constraints{Width: 640, Height: 480, FrameRate: 15, HideCursor: true}, ":1.0+10,20", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"-f", "x11grab", "-framerate", "15", "-draw_mouse", "0", "-video_size", "640x480", "-i", ":1.0+10,20"}
	if got := f(0).Args; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestEncodersAreToldWhatIsWished(t *testing.T) {
	in := Input{Args: []string{"-i", "x"}, Filter: "hflip", Live: true}
	for codec, encoder := range map[media.Codec]string{media.VP8: "libvpx", media.VP9: "libvpx-vp9", media.AV1: "libaom-av1"} {
		args, err := pictureArgs(in, capture.Constraints{Width: 640, Height: 360, FrameRate: 25, Video: codec}, 700_000)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(args, " ") + " "
		for _, part := range []string{"-c:v " + encoder + " ", "-b:v 700000 ", "-vf hflip,scale=640:360", "-copyts ", "-f ivf pipe:1 ", "-nostdin "} {
			if !strings.Contains(all, part) {
				t.Errorf("%v: no %q in %q", codec, part, all)
			}
		}
	}
	if _, err := pictureArgs(in, capture.Constraints{Video: media.Opus}, 1); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("pictures as Opus: %v", err)
	}
}

func TestWallClockOfAnInputIsBelieved(t *testing.T) {
	now := time.Now()
	if got := atWall(time.Duration(now.Add(-40*time.Millisecond).UnixNano()), now); now.Sub(got) != 40*time.Millisecond {
		t.Errorf("%v ago", now.Sub(got))
	}
	for _, since := range []time.Duration{0, time.Second, time.Duration(now.Add(time.Hour).UnixNano())} {
		if got := atWall(since, now); got != now {
			t.Errorf("%v: %v", since, got)
		}
	}
}
