package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
)

// stdoutName is the --out that stands for stdout.
const stdoutName = "-"

// defaultSession is the template of the session's folder.
const defaultSession = "{room}/{start}"

// sink is where a session's files go.
type sink struct {
	store output.Store
	space func() (output.Space, error) // nil for stdout
	dir   string                       // the session's folder, absolute; "" for stdout
	outer *os.Root
	inner *os.Root
	lock  *os.File // held for as long as the session lasts
}

// openSink opens the folder that recordings go to, before the room is joined:
// what can't be stored need not be received.
func openSink(o recordOptions, std stdio) (*sink, error) {
	if o.out == stdoutName {
		if isTerminal(std.out) {
			return nil, usagef("--out - writes WebM to stdout, which is a terminal: send it to a file or a program")
		}
		// A reader that goes away is a storage error, not the end of us.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		return &sink{store: output.NewStream(std.out)}, nil
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return nil, fmt.Errorf("%w: making the folder %s: %w", recorder.ErrStorage, o.out, err)
	}
	root, err := os.OpenRoot(o.out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	return &sink{outer: root}, nil
}

// onlyStore is a Store for one file, which calls stop when that one can't be
// written to any more.
type onlyStore struct {
	output.Store
	stop func()
}

// Create is the Store's, and watches the file.
func (s onlyStore) Create(name, ext string) (output.File, error) {
	f, err := s.Store.Create(name, ext)
	if err != nil {
		return nil, err
	}
	return onlyFile{f, s.stop}, nil
}

type onlyFile struct {
	output.File
	stop func()
}

// Write is the file's.
func (f onlyFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	if err != nil {
		f.stop()
	}
	return n, err
}

// Close is the file's.
func (f onlyFile) Close() error {
	f.stop()
	return f.File.Close()
}

// begin makes the session's folder.
func (s *sink) begin(o recordOptions, start time.Time) error {
	if s.outer == nil {
		return nil
	}
	name, err := output.Expand(o.session, sessionVars(o.room, start))
	if err != nil {
		return usagef("--session: %w", err)
	}
	opts := output.DirOptions{PartialSuffix: o.partialSuffix, NoSync: o.fsync == recorder.FsyncNever}
	name, err = output.OpenDir(s.outer, opts).MakeDir(name)
	if err == nil {
		s.inner, err = s.outer.OpenRoot(name)
	}
	if err == nil {
		s.dir, err = filepath.Abs(filepath.Join(o.out, filepath.FromSlash(name)))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	if s.lock, err = s.inner.Open("."); err == nil {
		_, _ = lockFolder(s.lock) // where that can't be done, orphans are told by their age
	}
	d := output.OpenDir(s.inner, opts)
	s.store, s.space = d, d.Space
	return nil
}

func (s *sink) close() {
	if s.lock != nil {
		_ = s.lock.Close() // it was never written to
	}
	for _, root := range []*os.Root{s.inner, s.outer} {
		if root != nil {
			_ = root.Close() // nothing was written through it that is not synced
		}
	}
}

// sessionVars are the names that the template of the session's folder may use.
func sessionVars(room string, start time.Time) map[string]string {
	return map[string]string{"room": room, "start": start.UTC().Format("20060102T150405Z")}
}
