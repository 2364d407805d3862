//go:build integration

package webm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// repairTo repairs a file on the disk to another one.
func repairTo(t testing.TB, from, to string) Rescue {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	got, err := Repair(out, in, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestPlayersTakeWhatIsRepaired cuts files of each codec at random.
func TestPlayersTakeWhatIsRepaired(t *testing.T) {
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
			f, w := create(t, "out"+c.ext)
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
			b, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 5 {
				n := len(b)/10 + rng.IntN(len(b)*9/10)
				cut, mended := filepath.Join(t.TempDir(), "cut"+c.ext), filepath.Join(t.TempDir(), "mended"+c.ext)
				if err := os.WriteFile(cut, b[:n], 0o600); err != nil {
					t.Fatal(err)
				}
				repairTo(t, cut, mended)
				validate(t, mended)
			}
		})
	}
}

// complaints counts the lines that a program says of a file.
func complaints(t *testing.T, file string) (int, string) {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-i", file, "-map", "0", "-f", "null", "-").CombinedOutput()
	if err != nil {
		out = append(out, err.Error()...)
	}
	return strings.Count(string(out), "\n"), string(out)
}

// TestRepairedFilesOfOthersAreNotWorse repairs what browsers have made. Where a
// player takes offence at the media, it does so at no more of it than before.
func TestRepairedFilesOfOthersAreNotWorse(t *testing.T) {
	dir := captures(t)
	for name, odd := range map[string]bool{
		// Chrome's lacks a DefaultDuration, without which ffmpeg rounds
		// times until some are the same.
		"legokichi-ts-ebml/test/chrome57.webm": true, "legokichi-ts-ebml/test/firefox53.webm": false,
		"at-wat-ebml-go/examples/webm-roundtrip/sample.webm": true,
		"mozilla-nestegg/test/media/bug1592193.webm":         true, "mozilla-nestegg/test/media/dancer1.webm": true,
		"mozilla-nestegg/test/media/demo_short.webm": true, "mozilla-nestegg/test/media/split.webm": true,
		"mozilla-nestegg/test/media/detodos.webm": true, "mozilla-nestegg/test/media/bug1480003.webm": true,
		"webmproject-libwebm/testing/testdata/bbb_480p_vp9_opus_1second.webm": true,
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			from, to := filepath.Join(dir, name), filepath.Join(t.TempDir(), "mended.webm")
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if frames, _ := framesOf(t, b); len(frames) == 0 {
				t.Skip("there is no frame in it")
			}
			got := repairTo(t, from, to)
			t.Logf("%+v", got)
			if got.Whole {
				return
			}
			if out := tool(t, "mediaconch", to); !strings.HasPrefix(out, "pass!") {
				before, _ := exec.Command("mediaconch", from).CombinedOutput()
				if !odd || strings.HasPrefix(string(before), "pass!") {
					t.Errorf("mediaconch: %s\nand before: %s", out, before)
				}
			}
			if out := tool(t, "ffmpeg", "-v", "error", "-i", to, "-map", "0", "-c", "copy", "-f", "null", "-"); out != "" && !odd {
				t.Errorf("ffmpeg: %s", out)
			}
			before, _ := complaints(t, from)
			after, what := complaints(t, to)
			if after > before || !odd && after > 0 {
				t.Errorf("%d complaints, %d before: %s", after, before, what)
			}
		})
	}
}

// tenMinutes makes the recording of a call of ten minutes with 2.5 Mbit/s.
func tenMinutes(tb testing.TB, name string) {
	tb.Helper()
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	w := start(tb, f, Config{UID: "ten"}, vp8, opus)
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 40_000)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	copy(data, []byte{0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 48, 0})
	for i := range 30_000 { // of 20 ms
		at := time.Duration(i) * 20 * time.Millisecond
		if err := w.WriteFrame(2, media.Frame{Data: data[500:580], Time: at, Key: true, Duration: 20 * time.Millisecond}); err != nil {
			tb.Fatal(err)
		}
		if i%2 == 0 {
			if err := w.WriteFrame(1, media.Frame{Data: data[:10_000+rng.IntN(4000)], Time: at, Key: i%200 == 0}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	end(tb, w)
}

// cpuOf gives the user and system time that a program takes, the least of three.
func cpuOf(t *testing.T, name string, args ...string) time.Duration {
	t.Helper()
	least := time.Hour
	for range 3 {
		c := exec.Command(name, args...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		least = min(least, c.ProcessState.UserTime()+c.ProcessState.SystemTime())
	}
	return least
}

// TestRepairIsNoSlowerThanARemux holds the program against mkvmerge, which
// copies the frames of the same file into a new one.
func TestRepairIsNoSlowerThanARemux(t *testing.T) {
	if _, err := exec.LookPath("mkvmerge"); err != nil {
		t.Skip("mkvmerge is not installed")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "roomtape")
	tool(t, "go", "build", "-o", program, "github.com/roomtape/roomtape/cmd/roomtape")
	in := filepath.Join(dir, "in.webm")
	tenMinutes(t, in)
	info, err := os.Stat(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(in, info.Size()-100_000); err != nil {
		t.Fatal(err)
	}
	// One of its files at a time, so that the disk does not fill up.
	ours := cpuOf(t, "sh", "-c", fmt.Sprintf("rm -f %[2]s/in.repaired.webm; exec %[1]s repair %[2]s/in.webm", program, dir))
	theirs := cpuOf(t, "mkvmerge", "-q", "--webm", "-o", filepath.Join(dir, "mkvmerge.webm"), in)
	t.Logf("%d MB: repair takes %v of CPU, mkvmerge %v: %.2f of it", info.Size()/1e6, ours, theirs, float64(ours)/float64(theirs))
	if ours > theirs {
		t.Errorf("repair takes %v of CPU, mkvmerge %v", ours, theirs)
	}
	validateTimes(t, filepath.Join(dir, "in.repaired.webm"))
	inspected := cpuOf(t, program, "inspect", filepath.Join(dir, "in.repaired.webm"))
	t.Logf("inspect takes %v: %.2f s for 1 GB", inspected, inspected.Seconds()*1e9/float64(info.Size()))
}

// validateTimes tells that mkvinfo takes a long file.
func validateTimes(t *testing.T, file string) {
	t.Helper()
	if out := tool(t, "mkvinfo", "-v", file); strings.Contains(strings.ToLower(out), "error") {
		t.Errorf("mkvinfo: %.300s", out)
	}
}

// TestRepairTakesLittleMemory repairs a file of 190 MB.
func TestRepairTakesLittleMemory(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.webm")
	tenMinutes(t, in)
	b, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Repair(nowhere{}, bytes.NewReader(b[:len(b)-1]), int64(len(b)-1)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 20<<20 {
		t.Errorf("%d bytes are allocated in all", took)
	}
}

type nowhere struct{}

func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
