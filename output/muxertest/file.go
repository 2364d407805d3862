package muxertest

import (
	"errors"
	"io"
)

// ErrDisk is what a File fails with.
var ErrDisk = errors.New("muxertest: the disk is full")

// File is a file in memory: an io.Writer and io.WriterAt that can be truncated,
// has only so much room, and counts the calls.
type File struct {
	Data []byte
	// Limit is how long the file can become, in bytes; 0 is no limit. What
	// fits of a write is written, then it fails with ErrDisk. Writing over
	// what is there never fails.
	Limit int
	// Short makes a write that does not fit return no error.
	Short bool
	// Writes and Patches count the calls of Write and WriteAt, and Failed
	// those that did not fit.
	Writes, Patches, Failed int
	// Ends has the length of the file after each Write.
	Ends []int

	cursor int
}

// Write writes at the cursor, as a file that is open for writing does.
func (f *File) Write(b []byte) (int, error) {
	f.Writes++
	n, err := f.put(b, f.cursor)
	f.cursor += n
	f.Ends = append(f.Ends, len(f.Data))
	return n, err
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(b []byte, offset int64) (int, error) {
	f.Patches++
	return f.put(b, int(offset))
}

func (f *File) put(b []byte, at int) (int, error) {
	n := len(b)
	if f.Limit > 0 && at+n > f.Limit && at+n > len(f.Data) {
		n = max(0, max(f.Limit, len(f.Data))-at)
	}
	if grow := at + n - len(f.Data); grow > 0 {
		f.Data = append(f.Data, make([]byte, grow)...)
	}
	copy(f.Data[at:], b[:n])
	if n < len(b) {
		f.Failed++
		if !f.Short {
			return n, ErrDisk
		}
	}
	return n, nil
}

// Truncate cuts the file off; as with a file of the system, the cursor stays.
func (f *File) Truncate(size int64) error {
	f.Data = f.Data[:size]
	return nil
}

// Pipe hides all of a File but Write.
type Pipe struct{ W io.Writer }

// Write writes to W.
func (p Pipe) Write(b []byte) (int, error) { return p.W.Write(b) }
