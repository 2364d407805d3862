//go:build integration

package recorder

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"

	"github.com/roomtape/roomtape/media"
)

// probed gives the presentation times of a file's pictures, as packets hold them
// or as a decoder gives them out.
func probed(t *testing.T, path, what string) (times []time.Duration) {
	t.Helper()
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Skip("ffprobe is not on this machine")
	}
	out, err := exec.Command("ffprobe", "-v", "warning", "-select_streams", "v:0", "-show_entries", what+"=pts_time", "-of", "csv=p=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	for _, line := range strings.Fields(string(out)) {
		s, err := strconv.ParseFloat(strings.Trim(line, ","), 64)
		if err != nil {
			t.Fatalf("ffprobe: %s", line)
		}
		times = append(times, time.Duration(s*float64(time.Second)).Round(time.Microsecond))
	}
	return times
}

// reordered lets x264 make a video whose pictures come in another order than
// they are presented in.
func reordered(t *testing.T, args ...string) (units []encoded) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.mp4")
	b := encode(t, "h264", x264(args...)...)
	if err := os.WriteFile(path+".264", b, 0o600); err != nil {
		t.Fatal(err)
	}
	// The parser of raw H264 gives no times; an encoder in a container does.
	_ = encode(t, "null", append(x264(args...), "-f", "mp4", "-y", path)...)
	times := probed(t, path, "packet")
	units = units264(b)
	if len(times) != len(units) || slices.IsSorted(times) {
		t.Fatalf("%d times for %d pictures: %v", len(times), len(units), times)
	}
	for i := range units {
		units[i].pts = times[i] - slices.Min(times)
	}
	return units
}

// TestReorderedPicturesPlayEvenly compares when the pictures of a recording are
// presented with when the encoder had them be.
func TestReorderedPicturesPlayEvenly(t *testing.T) {
	for name, args := range map[string][]string{
		"three B-frames":             {"-bf", "3", "-g", "30", "-x264-params", "b-adapt=0:b-pyramid=none"},
		"b-pyramid":                  {"-bf", "3", "-g", "30", "-x264-params", "b-adapt=0:b-pyramid=normal"},
		"as many as go":              {"-bf", "16", "-g", "60", "-x264-params", "b-adapt=0:ref=16"},
		"as x264 likes it":           {"-bf", "3", "-g", "30"},
		"open GOP":                   {"-bf", "3", "-g", "30", "-x264-params", "open-gop=1:b-adapt=0"},
		"without keyframe intervals": {"-bf", "3", "-g", "1000", "-x264-params", "b-adapt=0"},
	} {
		t.Run(name, func(t *testing.T) {
			units := reordered(t, args...)
			files, m := record(t, packetized(media.H264, &codecs.H264Payloader{}, units, nil))
			if len(files) != 1 || inspected(t, files[0]) != len(units) {
				t.Fatalf("%d files, %+v of %d units", len(files), m.Files, len(units))
			}
			var want []time.Duration
			for _, u := range units {
				want = append(want, u.pts)
			}
			for _, what := range []string{"packet", "frame"} {
				got := probed(t, files[0], what)
				if what == "frame" {
					slices.Sort(want)
				}
				if len(got) != len(want) {
					t.Fatalf("%d %ss of %d", len(got), what, len(want))
				}
				for i := range got {
					if d := got[i] - got[0] - (want[i] - want[0]); d < -ms(2) || d > ms(2) {
						t.Errorf("%s %d is presented at %v, want %v", what, i, got[i]-got[0], want[i]-want[0])
					}
				}
			}
			if d := m.Files[0].DurationMS; d != 4000 {
				t.Errorf("the manifest's duration is %d ms", d)
			}
			if g := m.Files[0].Tracks[0].Gaps; len(g) != 0 {
				t.Errorf("gaps: %v", g)
			}
			out, err := exec.Command("ffprobe", "-v", "warning", "-show_entries", "format=duration:stream=avg_frame_rate,r_frame_rate", "-of", "csv=p=0", files[0]).CombinedOutput()
			if err != nil || string(out) != "25/1,25/1\n4.000000\n" {
				t.Errorf("ffprobe: %v, %s", err, out)
			}
		})
	}
}

// TestRecordingBeginsAtAnOpenGroupOfPictures has pictures before the first
// keyframe that refer to what nobody has.
func TestRecordingBeginsAtAnOpenGroupOfPictures(t *testing.T) {
	units := reordered(t, "-bf", "3", "-g", "15", "-x264-params", "b-adapt=0:scenecut=0:open-gop=1")
	for _, skip := range []int{3, 20, 33} {
		files, m := record(t, packetized(media.H264, &codecs.H264Payloader{}, units[skip:], nil))
		if len(files) != 1 {
			t.Fatalf("%d files", len(files))
		}
		track := m.Files[0].Tracks[0]
		if n := inspected(t, files[0]); int64(n) != track.Frames.Written || n < len(units)-skip-15-4 {
			t.Errorf("from picture %d on, %d decoded: %+v", skip, n, track)
		}
		times := probed(t, files[0], "frame")
		for i := 1; i < len(times); i++ {
			if d := times[i] - times[i-1]; d < ms(38) || d > ms(42) {
				t.Errorf("from picture %d on, %d is %v after the one before", skip, i, d)
			}
		}
	}
}
