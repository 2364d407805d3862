// Command soak has many people in one room for a long time while everything
// goes wrong that can, and then looks at each frame.
//
//	make soak                    # five minutes
//	make soak DURATION=1h
//	go run ./internal/soak -duration 1h -keep /tmp/soak
//
// Twenty synthetic participants play true VP8 and Opus to a recorder over real
// sockets, through a relay that loses 3 % in each direction. They come and go at
// random, now and then without a word or back at once; every five minutes (one,
// in a short run) the room server is ended, by a signal or by kill -9, and
// started again: most participants join it anew, as a newcomer who offers, and
// some go on without it.
//
// The recorder is the roomtape binary, built with the tag debug, by which the
// Go runtime can be looked into; its memory, goroutines, file descriptors and CPU
// time are noted all the time. In the end every frame that was sent must be in a
// file and every file whole, what the manifest says must add up, and nothing may
// have grown. The summary goes to stdout, progress to stderr, and the exit code
// is 1 when something is not as it should be.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	duration   time.Duration
	publishers int
	loss       float64
	delay      time.Duration
	restart    time.Duration
	seed       uint64
	roomtape   string
	clips      string
	keep       string
	decode     int
	json       bool
}

func main() {
	var s settings
	flag.DurationVar(&s.duration, "duration", 5*time.Minute, "how long people come and go")
	flag.IntVar(&s.publishers, "publishers", 20, "how many of them there are")
	flag.Float64Var(&s.loss, "loss", 0.03, "packets lost in each direction, from 0 to 1")
	flag.DurationVar(&s.delay, "delay", 20*time.Millisecond, "how long packets are on their way, in each direction")
	flag.DurationVar(&s.restart, "restart", 0, "from one end of the room server to the next; a twelfth of duration, but at least 1m, when 0")
	flag.Uint64Var(&s.seed, "seed", 1, "what everything random is drawn from")
	flag.StringVar(&s.roomtape, "roomtape", "", "the binary, built with -tags debug; built from this tree when empty")
	flag.StringVar(&s.clips, "clips", "cmd/roomtape/clips", "the folder with alice.ivf and alice.ogg")
	flag.StringVar(&s.keep, "keep", "", "keep recordings and logs in this folder")
	flag.IntVar(&s.decode, "decode", 20, "how many files ffmpeg decodes in the end")
	flag.BoolVar(&s.json, "json", false, "the summary as JSON")
	flag.Parse()
	if s.restart == 0 {
		s.restart = max(s.duration/12, time.Minute)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (ok bool, err error) {
	dir := s.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "roomtape-soak"); err != nil {
			return false, err
		}
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	if s.roomtape == "" {
		s.roomtape = filepath.Join(dir, "roomtape")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "debug", "-o", s.roomtape, "./cmd/roomtape")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return false, fmt.Errorf("building roomtape: %w\n%s", err, out)
		}
	}
	sum, err := soak(ctx, s, dir)
	if err != nil {
		return false, err
	}
	if s.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", " ")
		err = e.Encode(sum)
	} else {
		fmt.Print(sum)
	}
	return len(sum.Wrong) == 0, err
}
