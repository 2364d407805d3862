//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchPictures is how many pictures the bare ffmpeg of BenchmarkPublish encodes:
// about as many as the others do.
const benchPictures = 300

// BenchmarkPublish compares, by the CPU of the whole process tree, what publishing
// a moving screen of 1280x720 at 30 pictures a second costs: with one viewer, with
// four, and by a bare ffmpeg that grabs and encodes the same screen with the same
// settings into nothing.
func BenchmarkPublish(b *testing.B) {
	path, err := program()
	if err != nil {
		b.Fatal(err)
	}
	display := movingScreen(b)
	var alone, one, four float64 // seconds a picture
	for b.Loop() {
		alone += grab(b, display)
		one += publishTo(b, path, display, 1)
		four += publishTo(b, path, display, 4)
	}
	n := float64(b.N) / 1000
	b.ReportMetric(alone/n, "ms/picture-ffmpeg")
	b.ReportMetric(one/n, "ms/picture-1-viewer")
	b.ReportMetric(four/n, "ms/picture-4-viewers")
	b.ReportMetric(one/alone, "publish/ffmpeg")
	b.ReportMetric(four/one, "4-viewers/1")
	b.ReportMetric(0, "ns/op")
}

// movingScreen starts an X display on which something moves.
func movingScreen(b *testing.B) string {
	b.Helper()
	const display = ":97"
	x := exec.CommandContext(b.Context(), "Xvfb", display, "-screen", "0", "1280x720x24", "-nolisten", "tcp")
	if err := x.Start(); err != nil {
		b.Skipf("no display to publish: %v", err)
	}
	b.Cleanup(func() { _, _ = x.Process.Signal(syscall.SIGTERM), x.Wait() })
	page := filepath.Join(b.TempDir(), "p.html")
	if err := os.WriteFile(page, []byte(counterPage), 0o600); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat("/tmp/.X11-unix/X97"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			b.Fatal("the display does not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
	c := exec.CommandContext(b.Context(), "chromium", "--no-sandbox", "--kiosk", "--no-first-run", "--user-data-dir="+filepath.Join(b.TempDir(), "profile"),
		"--window-size=1280,720", "--window-position=0,0", "file://"+page)
	c.Env = append(os.Environ(), "DISPLAY="+display)
	if err := c.Start(); err != nil {
		b.Skipf("nothing that moves: %v", err)
	}
	b.Cleanup(func() { _, _ = c.Process.Kill(), c.Wait() })
	time.Sleep(3 * time.Second) // until the page moves; a benchmark has nothing to lose by waiting
	return display
}

// cpu is what a process and those that it has waited for have used, in seconds.
func cpu(p *os.ProcessState) float64 { return (p.UserTime() + p.SystemTime()).Seconds() }

// grab runs a bare ffmpeg with the arguments that publish gives it.
func grab(b *testing.B, display string) float64 {
	b.Helper()
	args := "-hide_banner -nostdin -loglevel error -probesize 32 -analyzeduration 0 -fflags nobuffer -f x11grab -framerate 30 -draw_mouse 1 -i " + display +
		" -map 0:v:0 -an -frames:v " + strconv.Itoa(benchPictures) + " -copyts -fps_mode passthrough -enc_time_base -1 -c:v libvpx -pix_fmt yuv420p -b:v 2500000 -maxrate 2500000 -bufsize 1250000 -g 900" +
		" -deadline realtime -cpu-used 8 -lag-in-frames 0 -error-resilient default -max-intra-rate 900 -static-thresh 100 -f null -"
	c := exec.CommandContext(b.Context(), "ffmpeg", strings.Fields(args)...)
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return cpu(c.ProcessState) / benchPictures
}

// publishTo runs publish with so many viewers.
func publishTo(b *testing.B, path, display string, viewers int) float64 {
	b.Helper()
	server, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.stop() }()
	room := server.url("ws") + "/ws/bench"
	var watching []*exec.Cmd
	for i := range viewers {
		c := exec.CommandContext(b.Context(), path, "record", "--out", b.TempDir(), "--peer-id", fmt.Sprintf("viewer-%d", i), "--log-level", "error", room)
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		watching = append(watching, c)
	}
	time.Sleep(time.Second) // until they are in the room
	c := exec.CommandContext(b.Context(), path, "publish", "--source", "screen:"+display, "--duration", "10s", "--log-level", "error", "--json", room)
	out, err := c.Output()
	if err != nil {
		b.Fatal(err)
	}
	var sent published
	if err := json.Unmarshal(out, &sent); err != nil {
		b.Fatal(err)
	}
	for _, w := range watching {
		_ = w.Process.Signal(syscall.SIGTERM) // it is running
		_ = w.Wait()                          // how it ends is of no interest here
	}
	return cpu(c.ProcessState) / float64(sent.Pictures)
}
