package output

import (
	"errors"
	"io"
	"io/fs"
)

// ErrOneFile is returned by the Create of a stream's store for every file but
// the first.
var ErrOneFile = errors.New("output: a stream holds one recording only")

// stream is the Store of NewStream.
type stream struct {
	w    io.Writer
	used bool
}

// NewStream makes a Store on w, such as a pipe: the first file that is created
// is written there, and Create fails with ErrOneFile for every other. The file
// is no io.WriterAt, its Sync does nothing and its Close does not close w.
// WriteFile drops what it is given, and Open finds nothing.
func NewStream(w io.Writer) Store { return &stream{w: w} }

func (s *stream) Create(name, ext string) (File, error) {
	if s.used {
		return nil, ErrOneFile
	}
	s.used = true
	return streamFile{s.w, name + ext}, nil
}

func (s *stream) WriteFile(string, []byte) error { return nil }

func (s *stream) Open(name string) (io.ReadCloser, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// streamFile hides all of w but its Write: that os.Stdout has a WriteAt does not
// mean that it works.
type streamFile struct {
	w    io.Writer
	name string
}

func (f streamFile) Write(b []byte) (int, error) { return f.w.Write(b) }
func (f streamFile) Name() string                { return f.name }
func (f streamFile) Sync() error                 { return nil }
func (f streamFile) Close() error                { return nil }
