// Package output has what it means to be a recording: a Muxer turns frames into
// the bytes of a format, and a Store keeps the files.
//
// Each format is a folder below this one (webm, and later ivf and ogg) that
// implements Muxer and passes the suite in muxertest. Nothing here reads a
// clock, starts a goroutine or draws a random number: the bytes of a file are a
// function of the frames and the configuration.
package output

import (
	"errors"
	"io"

	"github.com/roomtape/roomtape/media"
)

// Errors that muxers wrap, so that a caller can tell them apart with errors.Is.
var (
	// ErrFixedTracks: the file's list of tracks can't grow any more; the track
	// needs a file of its own.
	ErrFixedTracks = errors.New("output: no track can be added to this file any more")
	// ErrCodec: the format has no place for this codec.
	ErrCodec = errors.New("output: the format does not carry this codec")
)

// Muxer writes the frames of one recording as one file. It is made on an
// io.Writer, which it never closes; when that also is an io.WriterAt, the file
// is made seekable on Close.
//
// A Muxer is used by one goroutine. Its write errors are sticky: the call whose
// write failed returns the error, and so does every later call but Close, which
// still tries to leave a file that plays.
type Muxer interface {
	// AddTrack declares a track and returns its number, from 1. It may be
	// called at any time before Close; when the format or the file can't take
	// the track any more, the error wraps ErrFixedTracks, and when the format
	// can't carry the codec, ErrCodec. Neither is sticky.
	AddTrack(media.Track) (int, error)
	// WriteFrame adds a frame to the track. It does not keep f.Data. The frames
	// of a track come in decode order. Their times must not fall, but for a
	// codec that Reorders, where one must not be below what media.Order has as
	// its floor: no more than media.MaxReorder frames before it may be
	// presented after it, none of them later by more than
	// media.MaxReorderTime. Tracks should be interleaved by the time when a
	// frame must be decoded.
	WriteFrame(track int, f media.Frame) error
	// Flush ends the chunk that is being built and writes it. With no frame
	// since the last chunk it does nothing.
	Flush() error
	// Close flushes, completes the file and returns the sticky error if there
	// is one. It does not close the underlying writer. Further calls fail.
	Close() error
}

// File is a recording being written. It is used by one goroutine.
//
// A file that also implements io.WriterAt can be completed in place; one that
// does not is a stream, such as a pipe.
type File interface {
	io.Writer
	// Name is the file's final path, relative to the store, slash-separated.
	Name() string
	// Sync makes what was written survive a power cut.
	Sync() error
	// Close ends writing and gives the file its final name.
	Close() error
}

// Store keeps the files of a session. It is used by one goroutine.
type Store interface {
	// Create makes a new file and never replaces one: when name (a relative,
	// slash-separated path of safe elements, without the ending) is taken, it
	// is given the suffix -2, -3 and so on. ext is the ending with its dot.
	// The file may appear only with its first Write, and be gone when it is
	// empty at its Close; its Name may change until then.
	Create(name, ext string) (File, error)
	// WriteFile replaces the file as a whole: after a crash it holds either
	// what it held before or data, which is not kept.
	WriteFile(name string, data []byte) error
	// Open opens a finished or growing file by its Name for reading.
	Open(name string) (io.ReadCloser, error)
}
