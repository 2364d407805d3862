// Command forward measures what forwarding costs: participants of one room
// publish a VP8 and an Opus track each over loopback, and each is sent those of
// some others, by `roomtape serve --sfu` and, in turn and on the same machine, by
// the VideoRoom of a Janus gateway. It prints CPU seconds per forwarded track
// and minute, memory, how many packets came of those that were sent, and how long
// they took.
//
//	go run ./internal/bench/forward -participants 20 -subscribers 3 -duration 30s -runs 3 -janus janus
//
// A forwarded track is one that is sent to one subscriber. Each server is a
// process of its own, and each run starts it anew; the participants, pion's
// connections with its default interceptors, are in this process and the same
// ones for both. What is measured begins when every track has reached everybody
// who is to have it. Janus is left out without -janus.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	participants, subscribers int
	bitrate                   int
	duration                  time.Duration
	runs                      int
	binary, janus             string
}

func main() {
	var s settings
	flag.IntVar(&s.participants, "participants", 20, "how many participants, each with one VP8 and one Opus track")
	flag.IntVar(&s.subscribers, "subscribers", 3, "to how many others each track is sent")
	flag.IntVar(&s.bitrate, "bitrate", 1_500_000, "video bits per second of each")
	flag.DurationVar(&s.duration, "duration", 30*time.Second, "time that is measured in a run")
	flag.IntVar(&s.runs, "runs", 3, "runs of each server; medians are printed")
	flag.StringVar(&s.binary, "roomtape", "", "the binary to measure; built from this tree when empty")
	flag.StringVar(&s.janus, "janus", "", "a Janus gateway to measure too, such as janus")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := compare(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

// result is what one run of one server gave.
type result struct {
	cpu            float64 // seconds per forwarded track and minute
	memory         float64 // MB, at the end
	sent, came     int     // packets that were to come, and did
	median, latest time.Duration
}

func compare(ctx context.Context, s settings) error {
	if s.participants < 2 || s.subscribers < 1 || s.subscribers >= s.participants {
		return errors.New("there must be two participants or more, and fewer subscribers than participants")
	}
	dir, err := os.MkdirTemp("", "roomtape-forward")
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
	servers := []venue{&roomtape{binary: s.binary}}
	if s.janus != "" {
		servers = append(servers, &janus{binary: s.janus, dir: dir})
	}
	fmt.Printf("%d participants, VP8 at %d bit/s and Opus, %d subscribers each: %d forwarded tracks; %v a run, %d runs in turn\n",
		s.participants, s.bitrate, s.subscribers, s.tracks(), s.duration, s.runs)
	fmt.Printf("%-9s %4s %20s %7s %17s %22s\n", "server", "run", "CPU s/track-minute", "MB", "packets", "delay median, 99 %")
	all := map[string][]result{}
	for run := range s.runs {
		for _, v := range servers {
			r, err := measure(ctx, s, v)
			if err != nil {
				return fmt.Errorf("%s: %w", v.name(), err)
			}
			all[v.name()] = append(all[v.name()], r)
			fmt.Printf("%-9s %4d %20.4f %7.1f %8d/%8d %10.1f ms %6.1f ms\n", v.name(), run+1, r.cpu, r.memory, r.came, r.sent,
				milliseconds(r.median), milliseconds(r.latest))
		}
	}
	for _, v := range servers {
		of := all[v.name()]
		fmt.Printf("median: %s %.4f CPU s per forwarded track and minute, %.1f MB\n", v.name(),
			median(of, func(r result) float64 { return r.cpu }), median(of, func(r result) float64 { return r.memory }))
	}
	return nil
}

// tracks is how many tracks are forwarded.
func (s settings) tracks() int { return 2 * s.participants * s.subscribers }

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

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

// measure starts a server, fills a room of it, and looks for s.duration what the
// server needs.
func measure(ctx context.Context, s settings, v venue) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, s.duration+2*time.Minute)
	defer cancel()
	process, err := v.start(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() {
		_ = process.Process.Signal(syscall.SIGTERM) // if it has ended, so much the better
		_ = process.Wait()                          // it was stopped
	}()
	c, err := gather(ctx, s, v)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	if err := c.settle(ctx); err != nil {
		return result{}, err
	}
	before, err := cpuTime(process.Process.Pid)
	if err != nil {
		return result{}, err
	}
	begun := time.Now()
	c.begin()
	select {
	case <-time.After(s.duration):
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	c.end()
	after, err := cpuTime(process.Process.Pid)
	if err != nil {
		return result{}, err
	}
	took := time.Since(begun)
	time.Sleep(drain)
	r := c.result()
	r.cpu = (after - before).Seconds() / (float64(s.tracks()) * took.Minutes())
	r.memory, err = memory(process.Process.Pid)
	return r, err
}

// drain is how long the last packets may be on their way.
const drain = 2 * time.Second
