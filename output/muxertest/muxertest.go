// Package muxertest has the suite that every output.Muxer passes.
//
// A format runs it in its own test:
//
//	func TestMuxer(t *testing.T) {
//		muxertest.Run(t, muxertest.Format{
//			New:    func(w io.Writer, chunk time.Duration) (output.Muxer, error) { … },
//			Tracks: []media.Track{…}, Late: media.Track{…}, Read: readAll,
//		})
//	}
package muxertest

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

// Chunk is how long a chunk is in the suite.
const Chunk = time.Second

// Format is what the suite has to know of a format.
type Format struct {
	// New makes a muxer whose chunks are at most chunk long.
	New func(w io.Writer, chunk time.Duration) (output.Muxer, error)
	// Tracks are the tracks of the suite's recordings: the first one is video
	// or audio, and all others are audio.
	Tracks []media.Track
	// NoKeys is set when a file does not say which frames are keyframes.
	NoKeys bool
	// MaxGap is the longest pause that the format is made for; 0: any.
	MaxGap time.Duration
	// Late is a video track that can be added while a file grows.
	Late media.Track
	// Read gives the frames of a file, in its order. When the file was cut off
	// or is still growing, it gives those that are whole; the error is for
	// files that are damaged in other ways.
	Read func(file []byte) ([]Frame, error)
}

// Frame is one frame of a file, as Format.Read gives it.
type Frame struct {
	Track int
	media.Frame
}

// Run runs the suite.
func Run(t *testing.T, f Format) {
	s := suite{f}
	t.Run("gives back every frame", s.roundTrip)
	t.Run("keeps the order of decoding", s.reordered)
	t.Run("is a function of its input", s.deterministic)
	t.Run("writes each chunk in one call", s.oneWrite)
	t.Run("keeps no frame's memory", s.keepsNothing)
	t.Run("takes a track while the file grows", s.lateTrack)
	t.Run("is a live stream without WriterAt", s.stream)
	t.Run("refuses what it can't carry", s.refuses)
	t.Run("takes gaps and large frames", s.extremes)
	t.Run("is readable when cut anywhere", s.cut)
	t.Run("reports a failed write at once and for good", s.failures)
	t.Run("reports a short write", s.shortWrite)
	t.Run("is done after Close", s.closed)
}

type suite struct{ f Format }

// open makes a muxer with the format's tracks; their numbers are 1, 2, ….
func (s suite) open(t *testing.T, w io.Writer) output.Muxer {
	t.Helper()
	m, err := s.f.New(w, Chunk)
	if err != nil {
		t.Fatal(err)
	}
	for i, tr := range s.f.Tracks {
		n, err := m.AddTrack(tr)
		if err != nil || n != i+1 {
			t.Fatalf("AddTrack gives %d, %v; want %d", n, err, i+1)
		}
	}
	return m
}

// frames makes a recording: video at 25 frames per second with a keyframe every
// 1.2 s, and audio every 20 ms in each other track.
func (s suite) frames(d time.Duration) []Frame {
	var fs []Frame
	for at := time.Duration(0); at < d; at += 20 * time.Millisecond {
		for i := range s.f.Tracks {
			f := Frame{Track: i + 1, Frame: media.Frame{Time: at, Duration: 20 * time.Millisecond, Key: true}}
			size := 3 + int(at/time.Millisecond)%11
			if i == 0 && s.f.Tracks[0].Codec.Kind() == media.Video {
				if at%(40*time.Millisecond) != 0 {
					continue
				}
				f.Duration = 0
				f.Key = at%(1200*time.Millisecond) == 0
				size *= 20
				if f.Key {
					f.Width, f.Height = s.f.Tracks[0].Width, s.f.Tracks[0].Height
				}
			}
			f.Data = fmt.Appendf(nil, "%d at %v ", f.Track, at)
			for len(f.Data) < size {
				f.Data = append(f.Data, byte(len(fs)))
			}
			fs = append(fs, f)
		}
	}
	return fs
}

func write(t *testing.T, m output.Muxer, fs []Frame) {
	t.Helper()
	for _, f := range fs {
		if err := m.WriteFrame(f.Track, f.Frame); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t *testing.T, m output.Muxer) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// check tells that a file has exactly the frames that are wanted.
func (s suite) check(t *testing.T, file []byte, want []Frame) {
	t.Helper()
	got := s.read(t, file)
	if len(got) != len(want) {
		t.Fatalf("the file has %d frames; want %d", len(got), len(want))
	}
	for i := range want {
		if err := s.same(got[i], want[i]); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
}

func (s suite) read(t *testing.T, file []byte) []Frame {
	t.Helper()
	got, err := s.f.Read(file)
	if err != nil {
		t.Fatalf("reading a file of %d bytes: %v", len(file), err)
	}
	return got
}

// same compares what any format keeps; times may be rounded to a millisecond.
func (s suite) same(got, want Frame) error {
	switch d := got.Time - want.Time; {
	case got.Track != want.Track:
		return fmt.Errorf("is of track %d; want %d", got.Track, want.Track)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Errorf("is %.40q; want %.40q", got.Data, want.Data)
	case d > time.Millisecond || d < -time.Millisecond:
		return fmt.Errorf("is at %v; want %v", got.Time, want.Time)
	case got.Key != want.Key && !s.f.NoKeys:
		return fmt.Errorf("is a keyframe: %v; want %v", got.Key, want.Key)
	}
	return nil
}

func clone(fs []Frame) []Frame {
	out := make([]Frame, len(fs))
	for i, f := range fs {
		out[i] = f
		out[i].Data = bytes.Clone(f.Data)
	}
	return out
}
