package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Stdin is the name of a file that stands for Config.Stdin.
const Stdin = "-"

// ErrSpool means that what came from a pipe could not be kept for the second pass.
var ErrSpool = errors.New("keeping what the pipe gives")

// shelf opens files, and keeps a copy of what comes from pipes, which give it
// only once.
type shelf struct {
	ctx    context.Context //nolint:containedctx // a Read has none
	stdin  io.Reader
	copies map[string]*spool
}

// open is an opener.
func (s *shelf) open(name string) (io.ReadCloser, error) {
	if c := s.copies[name]; c != nil {
		return c.again()
	}
	var open func() (io.ReadCloser, error)
	if name == Stdin && s.stdin != nil {
		if f, ok := s.stdin.(*os.File); ok {
			if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
				if at, err := f.Seek(0, io.SeekCurrent); err == nil {
					return io.NopCloser(io.NewSectionReader(f, at, info.Size()-at)), nil
				}
			}
		}
		open = func() (io.ReadCloser, error) { return io.NopCloser(s.stdin), nil }
	} else {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		const pipes = fs.ModeNamedPipe | fs.ModeSocket | fs.ModeDevice
		if info.Mode()&pipes == 0 {
			return os.Open(name)
		}
		open = func() (io.ReadCloser, error) { return os.Open(name) }
	}
	c := &spool{src: newPipe(s.ctx, name, open), undecided: true}
	s.copies[name] = c
	return c, nil
}

// close removes the copies.
func (s *shelf) close() error {
	var errs []error
	for _, c := range s.copies {
		errs = append(errs, c.remove())
	}
	s.copies = nil
	return errors.Join(errs...)
}

// spool reads a pipe, and writes what it gives to a file.
type spool struct {
	src *pipe
	// undecided is set before it is known whether a copy is needed. What has
	// been read, a little, is in head.
	undecided bool
	head      []byte
	file      *os.File
	size      int64
	// name of the file, if it still has one.
	name string
}

// Read reads from the pipe.
func (s *spool) Read(b []byte) (int, error) {
	n, err := s.src.Read(b)
	switch {
	case s.undecided:
		s.head = append(s.head, b[:n]...)
	case s.file != nil && n > 0:
		if err := s.write(b[:n]); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (s *spool) write(b []byte) error {
	n, err := s.file.Write(b)
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return nil
}

// keep begins the copy.
func (s *spool) keep() error {
	f, err := os.CreateTemp("", "roomtape-pipe-")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil { // where an open file can't lose its name
		s.name = f.Name()
	}
	head := s.head
	s.forget()
	return s.write(head)
}

// forget says that no copy is needed.
func (s *spool) forget() { s.undecided, s.head = false, nil }

// again gives the copy.
func (s *spool) again() (io.ReadCloser, error) {
	if s.file == nil {
		return nil, fmt.Errorf("%w: it is read once", ErrSpool)
	}
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

// Close closes the pipe, and leaves the copy.
func (s *spool) Close() error { return s.src.Close() }

func (s *spool) remove() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	s.file = nil
	return err
}

// pipe reads, in a goroutine of its own, what may never come: opening a named
// pipe waits for who writes to it, and no read of stdin can be stopped.
type pipe struct {
	ctx  context.Context //nolint:containedctx // a Read has none
	name string
	full chan piece
	free chan []byte
	done chan struct{}
	now  piece
	at   int // how much of now is read
}

// piece is what one Read gave.
type piece struct {
	b   []byte
	err error
}

const pieceSize = 64 << 10

func newPipe(ctx context.Context, name string, open func() (io.ReadCloser, error)) *pipe {
	p := &pipe{ctx: ctx, name: name, full: make(chan piece), free: make(chan []byte, 2), done: make(chan struct{})}
	for range cap(p.free) {
		p.free <- make([]byte, pieceSize)
	}
	go p.run(open)
	return p
}

func (p *pipe) run(open func() (io.ReadCloser, error)) {
	r, err := open()
	if err == nil {
		stop := context.AfterFunc(p.ctx, func() { _ = r.Close() }) // ends a Read, if that can be
		defer func() {
			if stop() {
				_ = r.Close() // it was only read
			}
		}()
	}
	for {
		var b []byte
		select {
		case b = <-p.free:
		case <-p.done:
			return
		}
		n := 0
		if err == nil {
			n, err = r.Read(b[:pieceSize])
		}
		select {
		case p.full <- piece{b[:n], err}:
		case <-p.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read implements io.Reader.
func (p *pipe) Read(b []byte) (int, error) {
	for p.at == len(p.now.b) {
		if p.now.err != nil {
			return 0, p.now.err
		}
		if p.now.b != nil {
			p.free <- p.now.b
		}
		select {
		case p.now = <-p.full:
			p.at = 0
		case <-p.ctx.Done():
			p.now, p.at = piece{err: &fs.PathError{Op: "read", Path: p.name, Err: p.ctx.Err()}}, 0
		}
	}
	n := copy(b, p.now.b[p.at:])
	p.at += n
	return n, nil
}

// Close ends the goroutine, at once or with the Read that is under way.
func (p *pipe) Close() error {
	close(p.done)
	return nil
}
