package recorder

import (
	"io"

	"github.com/roomtape/roomtape/output"
)

// sink is a File as its muxer sees it. It notices what is written.
type sink struct {
	file output.File
	// writes counts the calls of Write, size the bytes of the file.
	writes int
	size   int64
	// err is the first error of a write.
	err error
}

// newSink gives the sink of f and the writer for its muxer, which is an
// io.WriterAt and has Truncate when f is and has.
func newSink(f output.File) (*sink, io.Writer) {
	k := &sink{file: f}
	at, ok := f.(io.WriterAt)
	if !ok {
		return k, k
	}
	if t, ok := f.(truncater); ok {
		return k, truncatableSink{seekableSink{k, at}, t}
	}
	return k, seekableSink{k, at}
}

func (k *sink) Write(b []byte) (int, error) {
	n, err := k.file.Write(b)
	k.writes++
	k.size += int64(n)
	k.note(err)
	return n, err
}

func (k *sink) note(err error) {
	if k.err == nil {
		k.err = err
	}
}

type seekableSink struct {
	*sink
	at io.WriterAt
}

func (k seekableSink) WriteAt(b []byte, off int64) (int, error) {
	n, err := k.at.WriteAt(b, off)
	k.size = max(k.size, off+int64(n))
	k.note(err)
	return n, err
}

// truncater is a file from which a chunk that was written in part can be taken
// back, such as an os.File.
type truncater interface{ Truncate(size int64) error }

type truncatableSink struct {
	seekableSink
	file truncater
}

func (k truncatableSink) Truncate(size int64) error {
	err := k.file.Truncate(size)
	if err == nil {
		k.size = size
	}
	return err
}
