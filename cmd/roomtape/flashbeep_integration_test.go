//go:build integration

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"
)

// flashes gives when the picture turns white, and beeps when the sound begins,
// both in the file's own time, by decoding the file with ffmpeg.

func flashes(t *testing.T, file string) []time.Duration {
	t.Helper()
	// One grey value for the middle of each picture: the flash fills it.
	levels := decode(t, "-i", file, "-map", "0:v:0", "-fps_mode", "passthrough",
		"-vf", "crop=iw/2:ih/2,scale=1:1:flags=area,format=gray", "-f", "rawvideo", "-")
	times := frameTimes(t, file, "v:0")
	if len(levels) != len(times) {
		t.Fatalf("%s: %d pictures decoded, %d listed", file, len(levels), len(times))
	}
	var on []time.Duration
	lit := true // a file that begins in a flash has no onset to see
	for i, level := range levels {
		now := level > 200
		if now && !lit {
			on = append(on, times[i].at)
		}
		lit = now
	}
	return on
}

func beeps(t *testing.T, file string) []time.Duration {
	t.Helper()
	const rate = 48000
	// Not by ffmpeg's own decoder, which gets the loudness wrong where a browser
	// that is told of losses changes between Opus' hybrid mode and CELT: there
	// some beeps can't be heard, and others go on.
	raw := decode(t, "-c:a", "libopus", "-i", file, "-map", "0:a:0", "-ac", "1", "-ar", strconv.Itoa(rate), "-f", "f32le", "-")
	frames := frameTimes(t, file, "a:0")
	var on []time.Duration
	quietSince := -1 // samples of silence before this one, -1 at the start
	sample := 0
	for _, frame := range frames {
		for i := range frame.samples {
			if 4*(sample+1) > len(raw) {
				return on
			}
			level := math.Abs(float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*sample:]))))
			sample++
			switch {
			case level < 0.05:
				quietSince++
			case quietSince > rate/5:
				on = append(on, frame.at+time.Duration(i)*time.Second/rate)
				quietSince = 0
			default:
				quietSince = 0
			}
		}
	}
	return on
}

type decodedFrame struct {
	at      time.Duration
	samples int
}

// frameTimes lists when ffprobe says that each decoded frame of a stream is due.
func frameTimes(t *testing.T, file, stream string) []decodedFrame {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-select_streams", stream,
		"-show_entries", "frame=pts_time,nb_samples", "-of", "json", file).Output()
	if err != nil {
		t.Fatalf("ffprobe %s: %v", file, err)
	}
	var list struct {
		Frames []struct {
			PTS     string `json:"pts_time"`
			Samples int    `json:"nb_samples"`
		} `json:"frames"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("ffprobe %s: %v", file, err)
	}
	frames := make([]decodedFrame, len(list.Frames))
	for i, f := range list.Frames {
		seconds, err := strconv.ParseFloat(f.PTS, 64)
		if err != nil {
			t.Fatalf("ffprobe %s: frame %d has no time: %v", file, i, err)
		}
		frames[i] = decodedFrame{at: time.Duration(seconds * float64(time.Second)), samples: f.Samples}
	}
	return frames
}

func decode(t *testing.T, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ffmpeg", append([]string{"-v", "error"}, args...)...).Output()
	if err != nil {
		t.Fatalf("ffmpeg %v: %v", args, err)
	}
	return out
}

// offsets pairs each flash with the beep nearest to it and gives beep - flash.
// Flashes without a beep within half a second are not counted.
func offsets(flashes, beeps []time.Duration) (at, offset []time.Duration) {
	for _, f := range flashes {
		i := slices.IndexFunc(beeps, func(b time.Duration) bool { return (b - f).Abs() < 500*time.Millisecond })
		if i >= 0 {
			at, offset = append(at, f), append(offset, beeps[i]-f)
		}
	}
	return at, offset
}

// TestFlashAndBeepAreFoundWhereTheyAre proves the measure itself on a file
// whose offset is known.
func TestFlashAndBeepAreFoundWhereTheyAre(t *testing.T) {
	file := t.TempDir() + "/known.webm"
	const late = 40 * time.Millisecond
	decode(t, "-f", "lavfi", "-i", "color=black:s=320x180:r=25:d=5,drawbox=c=white:t=fill:enable='lt(mod(t+0.52,1),0.1)'",
		"-f", "lavfi", "-i", fmt.Sprintf("aevalsrc='0.8*sin(2000*PI*t)*lt(mod(t+0.52-%f,1),0.1)':d=5:s=48000", late.Seconds()),
		"-c:v", "libvpx", "-b:v", "1M", "-c:a", "libopus", file)
	_, got := offsets(flashes(t, file), beeps(t, file))
	if len(got) < 4 {
		t.Fatalf("found %d flashes with a beep, want 4 or more", len(got))
	}
	for _, o := range got {
		if (o - late).Abs() > 8*time.Millisecond {
			t.Errorf("beep comes %v after the flash, want about %v", o, late)
		}
	}
}
