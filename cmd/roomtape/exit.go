package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// The exit codes are a contract with scripts; exitTable says what they mean.
const (
	exitOK       = 0
	exitInternal = 1
	exitUsage    = 2
	exitJoin     = 3
	exitNoMedia  = 4
	exitStorage  = 5
	exitLost     = 6
	exitDamaged  = 7
	exitSource   = 8
	exitForced   = 130
)

var exitTable = map[int]string{
	exitOK:       "done; what was asked for is recorded and final",
	exitInternal: "an unexpected internal error",
	exitUsage:    "usage: bad flag, URL or file argument",
	exitJoin:     "the room could not be joined: unreachable, refused, unauthorised, timed out",
	exitNoMedia:  "joined, but no media arrived",
	exitStorage:  "storage failed (disk full, permission): what was written is final and playable, the recording is incomplete",
	exitLost:     "the connection was lost and could not be restored: what was recorded is final, the recording is incomplete",
	exitDamaged:  "input is damaged: some of it could be used, or none; the message says which",
	exitSource:   "what is to be published cannot be captured: no such screen, device or program, or it ended by itself",
	exitForced:   "stopped at once by a second signal",
}

// errDamaged is wrapped by errors about input that is not whole.
var errDamaged = errors.New("damaged")

// errDiffers: a replay gives something else than its golden file expects.
var errDiffers = errors.New("not as expected")

// damagedErrors are those that have the exit code for damaged input.
var damagedErrors = []error{
	errDamaged, errDiffers, output.ErrCodec, dump.ErrDamaged, dump.ErrFormat, dump.ErrEncrypted, dump.ErrCodec, dump.ErrNoMedia,
	capture.ErrDamaged,
}

// usageError is a mistake in how the program was called.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef makes a usageError as fmt.Errorf makes an error.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// separateErrors is several errors that get a line each.
type separateErrors []error

func (l separateErrors) Error() string {
	return joined(l, error.Error)
}

func (l separateErrors) Unwrap() []error { return l }

// listErrors gives those of errs that are errors: nil when there is none.
func listErrors(errs ...error) error {
	l := slices.DeleteFunc(separateErrors(errs), func(err error) bool { return err == nil })
	if len(l) == 0 {
		return nil
	}
	return l
}

// eachError gives the errors of a list, or err alone when it is none.
func eachError(err error) []error {
	var l separateErrors
	switch {
	case err == nil:
		return nil
	case errors.As(err, &l):
		return l
	}
	return []error{err}
}

// exitCode tells which exit code stands for err. When several would, the one
// that says most about what is on disk wins.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.Is(err, capture.ErrName):
		return exitUsage
	case errors.Is(err, recorder.ErrStorage):
		return exitStorage
	case errors.Is(err, signaling.ErrJoin):
		return exitJoin
	case errors.Is(err, signaling.ErrLost):
		return exitLost
	case slices.ContainsFunc(damagedErrors, func(target error) bool { return errors.Is(err, target) }):
		return exitDamaged
	case errors.Is(err, capture.ErrUnavailable), errors.Is(err, capture.ErrEnded):
		return exitSource
	case errors.Is(err, recorder.ErrNoMedia):
		return exitNoMedia
	case errors.Is(err, errSignal):
		return exitForced
	}
	return exitInternal
}
