// Command roomtape joins WebRTC rooms as a bot and records every participant to
// a WebM file of their own.
//
// Each command is one file here: flags in, a call of a function that knows
// nothing of flags, an exit code out. The registry lists the kinds of rooms and
// the formats.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// errSignal is the cause of a context that ended because we were asked to stop.
var errSignal = errors.New("stopped by a signal")

// stdio is where a command reads and writes.
type stdio struct {
	in  io.Reader
	out io.Writer // results
	err io.Writer // progress and logs
}

func main() {
	// There is little garbage, and memory is dearer to who runs many recorders
	// than the CPU that collecting it twice as often takes.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	code := make(chan int, 2)
	go watchSignals(stop, code)
	go func() { code <- run(ctx, os.Args, stdio{os.Stdin, os.Stdout, os.Stderr}) }()
	os.Exit(<-code)
}

// echo is for how long the first signal's copies are no second signal: timeout(1)
// sends each both to the program and to its process group, and who wraps programs
// passes on what a terminal has sent to all of them.
const echo = 5 * time.Millisecond

// watchSignals ends the context at the first signal and the program at the
// second.
func watchSignals(stop context.CancelCauseFunc, code chan<- int) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	first := <-signals
	stop(errSignal)
	for began := time.Now(); ; {
		if again := <-signals; again != first || time.Since(began) > echo {
			code <- exitForced
			return
		}
	}
}

// run runs one command line and returns its exit code. An error is one line on
// stderr; so is a panic, so that scripts see a documented code.
func run(ctx context.Context, args []string, std stdio) int {
	err := guarded(func() error { return newApp(std).RunContext(ctx, interleaved(args)) })
	var unknown cli.ExitCoder // help for a command that is none
	if errors.As(err, &unknown) {
		err = usageError{err}
	}
	for _, e := range eachError(err) {
		fmt.Fprintf(std.err, "roomtape: %s\n", printable(e.Error()))
	}
	return exitCode(err)
}

// guarded calls f and makes an error of its panic.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error: %v (please report it)", r)
		}
	}()
	return f()
}

// untilSignal calls f, which can't be stopped, and returns its error; or
// errSignal when ctx is done before, so that the program can end.
func untilSignal(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- guarded(f) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errSignal
	}
}
