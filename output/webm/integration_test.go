//go:build integration

package webm

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/muxertest"
)

// tool runs a program and gives its output of both kinds; it must succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// clip makes a clip of real frames with ffmpeg and reads it.
func clip(t *testing.T, video string, args ...string) ([]Track, []muxertest.Frame) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clip.mkv")
	args = append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30:duration=5",
		"-f", "lavfi", "-i", "sine=frequency=440:duration=5:sample_rate=48000",
		"-c:v", video, "-g", "45", "-c:a", "libopus", "-b:a", "32k"}, args...)
	tool(t, "ffmpeg", append(args, file)...)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(bytes.NewReader(b))
	var fs []muxertest.Frame
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f := muxertest.Frame{Track: b.Track, Frame: media.Frame{Data: bytes.Clone(b.Data), Time: b.Time, Key: b.Key}}
		if r.Tracks()[b.Track-1].Codec == media.Opus {
			f.Duration = 20 * time.Millisecond
		}
		fs = append(fs, f)
	}
	if len(r.Faults()) > 0 || len(r.Tracks()) != 2 {
		t.Fatalf("reading ffmpeg's file: %d tracks, faults %v", len(r.Tracks()), r.Faults())
	}
	return r.Tracks(), fs
}

func create(t *testing.T, name string) (*os.File, *Writer) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w, err := NewWriter(f, Config{UID: name, Date: time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return f, w
}

// validate runs every program that has an opinion on the file.
func validate(t *testing.T, file string) {
	t.Helper()
	if out := tool(t, "ffmpeg", "-v", "warning", "-i", file, "-map", "0", "-f", "null", "-"); out != "" {
		t.Errorf("ffmpeg: %s", out)
	}
	if out := tool(t, "ffprobe", "-v", "warning", "-show_packets", "-of", "csv", file); strings.Contains(out, "[") {
		t.Errorf("ffprobe: %.300s", out)
	}
	if out := tool(t, "mkvinfo", "-a", file); strings.Contains(strings.ToLower(out), "error") || strings.Contains(out, "Warning") {
		t.Errorf("mkvinfo: %s", out)
	}
	if out := tool(t, "mediaconch", file); !strings.HasPrefix(out, "pass!") {
		t.Errorf("mediaconch: %s", out)
	}
	if strings.HasSuffix(file, ".webm") {
		if out := tool(t, "webm_info", "-i", file, "-all"); strings.Contains(out, "rror") || !strings.Contains(out, "Cues") {
			t.Errorf("webm_info: %s", out)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, err := Inspect(f, -1)
	if err != nil || len(rep.Faults) > 0 || !rep.Seekable || !rep.Finalized {
		t.Errorf("inspect: %+v, %v", rep, err)
	}
}

// comparePackets tells that ffprobe sees the packets that were written.
func comparePackets(t *testing.T, file string, tracks []media.Track, fs []muxertest.Frame) {
	t.Helper()
	var probe struct {
		Packets []struct {
			Stream int    `json:"stream_index"`
			PTS    int64  `json:"pts"`
			Size   string `json:"size"`
			Flags  string `json:"flags"`
		} `json:"packets"`
	}
	out := tool(t, "ffprobe", "-v", "error", "-show_packets", "-of", "json", file)
	if err := json.Unmarshal([]byte(out), &probe); err != nil {
		t.Fatal(err)
	}
	if len(probe.Packets) != len(fs) {
		t.Fatalf("ffprobe sees %d packets; %d frames were written", len(probe.Packets), len(fs))
	}
	for i, p := range probe.Packets {
		want := milliseconds(fs[i].Time)
		if tracks[fs[i].Track-1].Codec == media.Opus {
			want -= 7 // the codec delay as ffmpeg rounds it
		}
		if p.Stream != fs[i].Track-1 || p.PTS != want || p.Size != strconv.Itoa(len(fs[i].Data)) || (p.Flags[0] == 'K') != fs[i].Key {
			t.Fatalf("packet %d: ffprobe sees %+v; want %d ms, %d bytes, keyframe %v", i, p, want, len(fs[i].Data), fs[i].Key)
		}
	}
}

func TestPlayersTakeWhatIsWritten(t *testing.T) {
	for _, c := range []struct {
		encoder, ext string
		args         []string
	}{
		{"libvpx", ".webm", []string{"-deadline", "realtime", "-cpu-used", "8"}},
		{"libvpx-vp9", ".webm", []string{"-deadline", "realtime", "-cpu-used", "8"}},
		{"libaom-av1", ".webm", []string{"-usage", "realtime", "-cpu-used", "8"}},
		{"libx264", ".mkv", []string{"-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"}},
	} {
		t.Run(c.encoder, func(t *testing.T) {
			tracks, fs := clip(t, c.encoder, c.args...)
			list := []media.Track{tracks[0].Track, tracks[1].Track}
			f, w := create(t, "out"+c.ext)
			if got := Ext([]media.Codec{list[0].Codec, list[1].Codec}); got != c.ext {
				t.Errorf("the ending is %s", got)
			}
			for _, tr := range list {
				if _, err := w.AddTrack(tr); err != nil {
					t.Fatal(err)
				}
			}
			growing(t, f, w, fs)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			validate(t, f.Name())
			comparePackets(t, f.Name(), list, fs)
		})
	}
}

// growing writes frames, and shows each chunk's file to ffmpeg before the next:
// what a killed process leaves.
func growing(t *testing.T, f *os.File, w *Writer, fs []muxertest.Frame) {
	t.Helper()
	before := w.pos
	for _, fr := range fs {
		if err := w.WriteFrame(fr.Track, fr.Frame); err != nil {
			t.Fatal(err)
		}
		if w.pos != before {
			before = w.pos
			if out := tool(t, "ffmpeg", "-v", "warning", "-i", f.Name(), "-map", "0", "-f", "null", "-"); out != "" {
				t.Errorf("ffmpeg on a file that has grown to %d bytes: %s", w.pos, out)
			}
		}
	}
}

// TestPlayersTakeUnevenFrames has frames as senders have them, between the
// slots of any frame rate: ffmpeg complains when it puts two into one.
func TestPlayersTakeUnevenFrames(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	f, w := create(t, "uneven.webm")
	for _, tr := range tracks {
		if _, err := w.AddTrack(tr.Track); err != nil {
			t.Fatal(err)
		}
	}
	var last time.Duration
	for i := range fs {
		if fs[i].Track == 1 {
			fs[i].Time += 16*time.Millisecond + time.Duration(i*i%23-11)*time.Millisecond
			if i > 200 && i < 210 { // a browser that was busy for a moment
				fs[i].Time = last + 2*time.Millisecond
			}
			last = max(last, fs[i].Time)
		}
	}
	growing(t, f, w, fs)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	validate(t, f.Name())
}

func TestPlayersTakeLateTracks(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	_, wide := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-s", "640x360")
	f, w := create(t, "late.webm")
	// Sound alone for two seconds, then the picture, which becomes wider.
	if _, err := w.AddTrack(tracks[1].Track); err != nil {
		t.Fatal(err)
	}
	var all []muxertest.Frame
	for _, fr := range fs {
		fr.Track = 3 - fr.Track
		if fr.Track == 1 || fr.Time >= 3*time.Second {
			all = append(all, fr)
		}
	}
	for _, fr := range wide {
		fr.Track = 3 - fr.Track
		fr.Time += 6 * time.Second
		all = append(all, fr)
	}
	added := false
	var written []muxertest.Frame
	for _, fr := range all {
		if fr.Track == 2 && !added {
			if !fr.Key {
				continue
			}
			added = true
			if _, err := w.AddTrack(media.Track{Codec: media.VP8}); err != nil {
				t.Fatal(err)
			}
			fr.Width, fr.Height = 320, 240
		}
		growing(t, f, w, []muxertest.Frame{fr})
		written = append(written, fr)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	validate(t, f.Name())
	comparePackets(t, f.Name(), []media.Track{tracks[1].Track, tracks[0].Track}, written)
	out := tool(t, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0", f.Name())
	if strings.TrimSpace(out) != "320,240" {
		t.Errorf("the size that was not known at first is %q", out)
	}
}

func TestPlayersTakeAStream(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	f, err := os.Create(filepath.Join(t.TempDir(), "pipe.webm"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(muxertest.Pipe{W: f}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range tracks {
		if _, err := w.AddTrack(tr.Track); err != nil {
			t.Fatal(err)
		}
	}
	growing(t, f, w, fs)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out := tool(t, "ffmpeg", "-v", "warning", "-i", f.Name(), "-f", "null", "-"); out != "" {
		t.Error(out)
	}
	comparePackets(t, f.Name(), []media.Track{tracks[0].Track, tracks[1].Track}, fs)
	if out := tool(t, "mediaconch", f.Name()); !strings.HasPrefix(out, "pass!") {
		t.Error(out)
	}
}

// TestPicturesThatAreNearEachOtherKeepTheirTimes has them 1 ms apart, as those of
// a browser that is busy.
func TestPicturesThatAreNearEachOtherKeepTheirTimes(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	f, w := create(t, "near.webm")
	if _, err := w.AddTrack(tracks[0].Track); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fr := range fs {
		if fr.Track != 1 {
			continue
		}
		fr.Time = time.Duration(n/2*67+n%2) * ms
		n++
		if err := w.WriteFrame(1, fr.Frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	validate(t, f.Name())
	if n < 20 {
		t.Fatalf("only %d pictures", n)
	}
}

func TestPlayersTakeAFileWhoseClosingWasInterrupted(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	var h history
	w := start(t, &h, Config{}, tracks[0].Track, tracks[1].Track)
	for _, fr := range fs {
		if err := w.WriteFrame(fr.Track, fr.Frame); err != nil {
			t.Fatal(err)
		}
	}
	end(t, w)
	// After the last chunk, and after the index.
	for i := len(h.states) - 3; i < len(h.states)-1; i++ {
		name := filepath.Join(t.TempDir(), "closing.webm")
		if err := os.WriteFile(name, h.states[i], 0o600); err != nil {
			t.Fatal(err)
		}
		if out := tool(t, "ffmpeg", "-v", "warning", "-i", name, "-map", "0", "-f", "null", "-"); out != "" {
			t.Errorf("state %d of %d: %s", i, len(h.states), out)
		}
		comparePackets(t, name, []media.Track{tracks[0].Track, tracks[1].Track}, fs)
	}
}

func TestPlayersSeekByTheIndex(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	f, w := create(t, "seek.webm")
	for _, tr := range tracks {
		if _, err := w.AddTrack(tr.Track); err != nil {
			t.Fatal(err)
		}
	}
	for _, fr := range fs {
		if err := w.WriteFrame(fr.Track, fr.Frame); err != nil {
			t.Fatal(err)
		}
	}
	end(t, w)
	// Keyframes are 1.5 s apart.
	out := tool(t, "ffprobe", "-v", "warning", "-read_intervals", "3.2%+#1", "-select_streams", "v", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", f.Name())
	if !strings.HasPrefix(out, "3.00") || !strings.Contains(out, ",K") {
		t.Errorf("seeking to 3.2 s finds %q", out)
	}
}

// BenchmarkRemux copies a file of 64 MB by our reader and writer; beside it
// stands what ffmpeg takes for the same, with its start.
func BenchmarkRemux(b *testing.B) {
	dir := b.TempDir()
	name := filepath.Join(dir, "in.webm")
	in, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	w := start(b, in, Config{}, vp8)
	frame := media.Frame{Data: append([]byte{0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 48, 0}, make([]byte, 4086)...), Key: true}
	for i := range 16_000 {
		frame.Time = time.Duration(i) * 33 * time.Millisecond
		if err := w.WriteFrame(1, frame); err != nil {
			b.Fatal(err)
		}
	}
	end(b, w)
	if err := in.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("roomtape", func(b *testing.B) {
		b.SetBytes(16_000 * 4096)
		for range b.N {
			remux(b, name, filepath.Join(dir, "out.webm"))
		}
	})
	b.Run("ffmpeg", func(b *testing.B) {
		b.SetBytes(16_000 * 4096)
		for range b.N {
			out, err := exec.Command("ffmpeg", "-v", "error", "-y", "-i", name, "-c", "copy", filepath.Join(dir, "ff.webm")).CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}

func remux(b *testing.B, from, to string) {
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	r := NewReader(in)
	w := start(b, out, Config{}, vp8)
	for {
		x, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		if err := w.WriteFrame(x.Track, media.Frame{Data: x.Data, Time: x.Time, Key: x.Key}); err != nil {
			b.Fatal(err)
		}
	}
	end(b, w)
}

func TestPlayersTakeWhatAFullDiskLeft(t *testing.T) {
	tracks, fs := clip(t, "libvpx", "-deadline", "realtime", "-cpu-used", "8")
	for _, limit := range []int{20_000, 100_000, 150_001} {
		file := muxertest.File{Limit: limit}
		w, err := NewWriter(&file, Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range tracks {
			if _, err := w.AddTrack(tr.Track); err != nil {
				t.Fatal(err)
			}
		}
		for _, fr := range fs {
			if err = w.WriteFrame(fr.Track, fr.Frame); err != nil {
				break
			}
		}
		if err == nil {
			t.Fatalf("all fits into %d bytes", limit)
		}
		if w.Close() == nil {
			t.Fatal("the error is forgotten")
		}
		if len(file.Data) == 0 {
			continue // not even a chunk
		}
		name := filepath.Join(t.TempDir(), "full.webm")
		if err := os.WriteFile(name, file.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		validate(t, name)
	}
}

func TestReaderSeesWhatFFprobeSees(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(captures(t), "*", "*", "*", "*.webm"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			rep, err := Inspect(f, -1)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("ffprobe", "-v", "quiet", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", name).Output()
			if err != nil {
				t.Skip("ffprobe takes nothing of it")
			}
			for i, n := range strings.Fields(string(out)) {
				if n = strings.Trim(n, ","); n == "N/A" {
					continue // it could not open the file
				}
				if i < len(rep.Tracks) && strconv.Itoa(rep.Tracks[i].Frames) != n {
					t.Errorf("track %d: %d frames; ffprobe sees %s", i+1, rep.Tracks[i].Frames, n)
				}
			}
		})
	}
}
