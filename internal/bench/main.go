// Command bench measures what recording costs: it meets N synthetic publishers
// in a room over loopback, records them with the roomtape binary, and prints
// CPU seconds per track and minute, peak memory, and frames recorded of frames
// sent. Beside it, in turn and on the same machine, it runs a bare pion
// receiver with pion's default interceptors that throws every packet away.
//
//	go run ./internal/bench -publishers 10 -duration 60s -runs 3
//
// Publishers and server are a process of their own, so that only the
// receiver's CPU is counted. Each run starts everything anew.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/roomtape/roomtape/recorder"
)

// settings are the flags; the venue and the bare receiver get them too, since
// they are this binary started again.
type settings struct {
	publishers int
	bitrate    int
	duration   time.Duration
	runs       int
	role       string
	binary     string
	keep       string
}

func main() {
	var s settings
	flag.IntVar(&s.publishers, "publishers", 10, "how many publishers, each with one VP8 and one Opus track")
	flag.IntVar(&s.bitrate, "bitrate", 2_500_000, "video bits per second of each")
	flag.DurationVar(&s.duration, "duration", 30*time.Second, "media time of a run")
	flag.IntVar(&s.runs, "runs", 3, "runs of each receiver; medians are printed")
	flag.StringVar(&s.binary, "roomtape", "", "the binary to measure; built from this tree when empty")
	flag.StringVar(&s.keep, "keep", "", "keep the recordings below this folder")
	flag.StringVar(&s.role, "role", "", "internal: venue or bare")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var err error
	switch s.role {
	case "venue":
		err = runVenue(ctx, s)
	case "bare":
		err = runBare(ctx, s, flag.Arg(0))
	default:
		err = compare(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is what one run of one receiver cost.
type result struct {
	cpuPerTrackMinute float64 // seconds
	peakMB            float64
	sent, recorded    int64 // video frames
}

func compare(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "roomtape-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.binary == "" {
		s.binary = filepath.Join(dir, "roomtape")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.binary, "github.com/roomtape/roomtape/cmd/roomtape")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build roomtape: %w\n%s", err, out)
		}
	}
	fmt.Printf("%d publishers, VP8 at %d bit/s and Opus, %v a run, %d runs in turn\n",
		s.publishers, s.bitrate, s.duration, s.runs)
	fmt.Printf("%-9s %4s %22s %9s %15s\n", "receiver", "run", "CPU s/track-minute", "peak MB", "frames")
	var bare, tape []result
	var ratios []float64
	for run := range s.runs {
		b, err := measure(ctx, s, "bare", filepath.Join(dir, fmt.Sprint("bare", run)))
		if err != nil {
			return err
		}
		out := filepath.Join(dir, fmt.Sprint("run", run))
		if s.keep != "" {
			out = filepath.Join(s.keep, fmt.Sprint("run", run))
		}
		t, err := measure(ctx, s, "roomtape", out)
		if err != nil {
			return err
		}
		bare, tape = append(bare, b), append(tape, t)
		ratios = append(ratios, t.cpuPerTrackMinute/b.cpuPerTrackMinute)
		fmt.Printf("%-9s %4d %22.4f %9.1f\n", "bare", run+1, b.cpuPerTrackMinute, b.peakMB)
		fmt.Printf("%-9s %4d %22.4f %9.1f %7d/%d\n", "roomtape", run+1, t.cpuPerTrackMinute, t.peakMB, t.recorded, t.sent)
	}
	cpu := func(r result) float64 { return r.cpuPerTrackMinute }
	mem := func(r result) float64 { return r.peakMB }
	fmt.Printf("median: bare %.4f s, roomtape %.4f s, ratio %.2f; memory %.1f MB and %.1f MB\n",
		median(bare, cpu), median(tape, cpu), median(ratios, func(f float64) float64 { return f }),
		median(bare, mem), median(tape, mem))
	return nil
}

func median[T any](of []T, by func(T) float64) float64 {
	values := make([]float64, len(of))
	for i, v := range of {
		values[i] = by(v)
	}
	slices.Sort(values)
	if len(values)%2 == 1 {
		return values[len(values)/2]
	}
	return (values[len(values)/2-1] + values[len(values)/2]) / 2
}

// measure starts a venue, lets one receiver listen for s.duration, and reads
// what it cost from its process's resource usage.
func measure(ctx context.Context, s settings, receiver, out string) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.duration+2*time.Minute)
	defer cancel()

	venue := exec.CommandContext(ctx, self, "-role", "venue",
		"-publishers", fmt.Sprint(s.publishers), "-bitrate", fmt.Sprint(s.bitrate))
	venue.Stderr = os.Stderr
	orders, err := venue.StdinPipe()
	if err != nil {
		return result{}, err
	}
	answers, err := venue.StdoutPipe()
	if err != nil {
		return result{}, err
	}
	if err := venue.Start(); err != nil {
		return result{}, err
	}
	defer venue.Wait()
	defer orders.Close()
	lines := bufio.NewScanner(answers)
	if !lines.Scan() {
		return result{}, errors.New("the venue did not start")
	}
	url := lines.Text()

	var cmd *exec.Cmd
	if receiver == "bare" {
		cmd = exec.CommandContext(ctx, self, "-role", "bare", url)
	} else {
		cmd = exec.CommandContext(ctx, s.binary, "record", "--out", out, "--session", "session",
			"--until-empty", "1s", "--json", "--log-level", "warn", url)
	}
	var stdout strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	select {
	case <-time.After(s.duration):
	case <-ctx.Done():
	}
	if _, err := io.WriteString(orders, "stop\n"); err != nil {
		return result{}, fmt.Errorf("stop the venue: %w", err)
	}
	if !lines.Scan() {
		return result{}, errors.New("the venue did not say what it sent")
	}
	var sent map[string]int64
	if err := json.Unmarshal(lines.Bytes(), &sent); err != nil {
		return result{}, fmt.Errorf("read what the venue sent: %w", err)
	}
	if receiver == "bare" {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return result{}, err
		}
	}
	if err := cmd.Wait(); err != nil {
		return result{}, fmt.Errorf("%s: %w", receiver, err)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r := result{
		cpuPerTrackMinute: cpu.Seconds() / (float64(2*s.publishers) * s.duration.Minutes()),
		peakMB:            float64(usage.Maxrss) / 1024,
	}
	if receiver != "bare" {
		r.sent, r.recorded, err = countFrames([]byte(stdout.String()), sent)
	}
	return r, err
}

// countFrames sums the video frames that were sent, and those that the manifest
// says are written.
func countFrames(manifest []byte, by map[string]int64) (sent, recorded int64, err error) {
	var m recorder.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return 0, 0, fmt.Errorf("read the manifest: %w", err)
	}
	for _, n := range by {
		sent += n
	}
	for _, file := range m.Files {
		for _, track := range file.Tracks {
			if track.Kind == "video" {
				recorded += track.Frames.Written
			}
		}
	}
	return sent, recorded, nil
}
