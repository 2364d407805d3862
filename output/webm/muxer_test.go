package webm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/muxertest"
)

var (
	vp8  = media.Track{Codec: media.VP8, Width: 640, Height: 480}
	vp9  = media.Track{Codec: media.VP9, Width: 1280, Height: 720}
	opus = media.Track{Codec: media.Opus, Channels: 2}
	h264 = media.Track{Codec: media.H264, Width: 640, Height: 480, Private: []byte{1, 0x42, 0, 30, 0xFF, 0xE0, 0}}
)

func newMuxer(w io.Writer, chunk time.Duration) (output.Muxer, error) {
	return NewWriter(w, Config{Chunk: chunk, UID: "test"})
}

func TestMuxer(t *testing.T) {
	muxertest.Run(t, muxertest.Format{New: newMuxer, Tracks: []media.Track{vp8, opus}, Late: vp9, Read: readFrames})
}

func TestMuxerMatroska(t *testing.T) {
	muxertest.Run(t, muxertest.Format{New: newMuxer, Tracks: []media.Track{h264, opus}, Late: vp8, Read: readFrames})
}

// readFrames gives the frames of a file that may be cut off, but has no other
// fault.
func readFrames(file []byte) ([]muxertest.Frame, error) {
	r := NewReader(bytes.NewReader(file))
	var fs []muxertest.Frame
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		fs = append(fs, muxertest.Frame{Track: b.Track, Frame: media.Frame{
			Data: bytes.Clone(b.Data), Time: b.Time, Key: b.Key, Hidden: b.Hidden, Droppable: b.Droppable,
		}})
	}
	for _, f := range r.Faults() {
		if !strings.HasPrefix(f.What, "the file ends") && f.What != "the file is empty" {
			return nil, fmt.Errorf("at %d: %s", f.Offset, f.What)
		}
	}
	if len(r.Faults()) > 1 {
		return nil, fmt.Errorf("a cut is reported as %d faults: %v", len(r.Faults()), r.Faults())
	}
	return fs, nil
}
