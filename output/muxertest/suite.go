package muxertest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

func (s suite) roundTrip(t *testing.T) {
	var file File
	m := s.open(t, &file)
	fs := s.frames(5 * time.Second)
	write(t, m, fs)
	finish(t, m)
	s.check(t, file.Data, fs)
}

// reordered has frames that are presented before others that come before them, as
// far as they may be, across the ends of chunks too.
func (s suite) reordered(t *testing.T) {
	if !s.f.Tracks[0].Codec.Reorders() {
		t.Skip("the codec does not reorder")
	}
	for _, step := range []time.Duration{40 * time.Millisecond, 600 * time.Millisecond} {
		var file File
		m := s.open(t, &file)
		var fs []Frame
		for g := range 20 {
			for i := range media.MaxReorder + 1 {
				n := 17*g + i // the last one of a group comes first
				if i == 0 {
					n += media.MaxReorder + 1
				}
				fs = append(fs, Frame{Track: 1, Frame: media.Frame{
					Data: fmt.Appendf(nil, "picture %d", n), Time: time.Duration(n) * step, Key: i == 0,
				}})
			}
		}
		write(t, m, fs)
		finish(t, m)
		s.check(t, file.Data, fs)
	}

	// What goes back further is taken as the least that is allowed.
	for _, last := range []time.Duration{200 * time.Millisecond, media.MaxReorderTime + time.Hour} {
		var file File
		m := s.open(t, &file)
		var fs []Frame
		for i := range media.MaxReorder {
			fs = append(fs, Frame{Track: 1, Frame: media.Frame{Data: []byte{byte(i)}, Time: time.Duration(i+2) * 10 * time.Millisecond, Key: true}})
		}
		fs = append(fs, Frame{Track: 1, Frame: media.Frame{Data: []byte("last"), Time: last, Key: true}})
		late := Frame{Track: 1, Frame: media.Frame{Data: []byte("late")}}
		write(t, m, append(fs, late))
		finish(t, m)
		late.Time = max(20*time.Millisecond, last-media.MaxReorderTime)
		s.check(t, file.Data, append(fs, late))
	}
}

func (s suite) deterministic(t *testing.T) {
	var files [2]File
	for i := range files {
		m := s.open(t, &files[i])
		write(t, m, s.frames(5*time.Second))
		finish(t, m)
	}
	if !bytes.Equal(files[0].Data, files[1].Data) {
		t.Fatal("the same frames give different files")
	}
}

func (s suite) oneWrite(t *testing.T) {
	var file File
	m := s.open(t, &file)
	const n = 10
	for i := range n {
		before := file.Writes
		for _, f := range s.frames(Chunk / 2) {
			f.Time += time.Duration(i) * Chunk / 2
			if err := m.WriteFrame(f.Track, f.Frame); err != nil {
				t.Fatal(err)
			}
		}
		if file.Writes != before {
			t.Fatalf("half a chunk of frames makes %d writes before Flush", file.Writes-before)
		}
		if err := m.Flush(); err != nil {
			t.Fatal(err)
		}
		if file.Writes != before+1 {
			t.Fatalf("chunk %d takes %d writes", i, file.Writes-before)
		}
		if err := m.Flush(); err != nil || file.Writes != before+1 {
			t.Fatalf("Flush without a frame since the last: %d writes, %v", file.Writes-before-1, err)
		}
	}
	finish(t, m)

	// Without Flush no chunk is longer than it may be.
	file = File{}
	m = s.open(t, &file)
	for _, f := range s.frames(5 * time.Second) {
		write(t, m, []Frame{f})
		got := s.read(t, file.Data)
		if len(got) > 0 && f.Time-got[len(got)-1].Time > Chunk || len(got) == 0 && f.Time > Chunk {
			t.Fatalf("at %v the file holds only %d frames", f.Time, len(got))
		}
	}
	finish(t, m)
}

func (s suite) keepsNothing(t *testing.T) {
	var file File
	m := s.open(t, &file)
	fs := s.frames(2 * time.Second)
	want := clone(fs)
	for _, f := range fs {
		write(t, m, []Frame{f})
		clear(f.Data)
	}
	finish(t, m)
	s.check(t, file.Data, want)
}

func (s suite) lateTrack(t *testing.T) {
	var file File
	m := s.open(t, &file)
	fs := s.frames(3 * time.Second)
	half := len(fs) / 2
	write(t, m, fs[:half])
	n, err := m.AddTrack(s.f.Late)
	if errors.Is(err, output.ErrFixedTracks) {
		t.Skip("the format has fixed tracks")
	}
	if err != nil || n != len(s.f.Tracks)+1 {
		t.Fatalf("AddTrack gives %d, %v", n, err)
	}
	s.read(t, file.Data) // the file is whole between the two
	late := Frame{Track: n, Frame: media.Frame{Data: []byte("late"), Time: fs[half].Time, Key: true, Width: s.f.Late.Width, Height: s.f.Late.Height}}
	fs = append(fs[:half:half], append([]Frame{late}, fs[half:]...)...)
	write(t, m, fs[half:])

	// At some number of tracks the room ends, which harms nothing.
	for range 10000 {
		if _, err = m.AddTrack(s.f.Late); err != nil {
			break
		}
	}
	if !errors.Is(err, output.ErrFixedTracks) {
		t.Fatalf("after very many tracks: %v; want ErrFixedTracks", err)
	}
	finish(t, m)
	s.check(t, file.Data, fs)
}

func (s suite) stream(t *testing.T) {
	var file File
	m := s.open(t, Pipe{&file})
	fs := s.frames(3 * time.Second)
	write(t, m, fs[:len(fs)/2])
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.AddTrack(s.f.Late); !errors.Is(err, output.ErrFixedTracks) {
		t.Fatalf("a track in a stream that has begun: %v; want ErrFixedTracks", err)
	}
	write(t, m, fs[len(fs)/2:])
	finish(t, m)
	if file.Patches != 0 {
		t.Fatalf("%d calls of WriteAt on a pipe", file.Patches)
	}
	s.check(t, file.Data, fs)
}

func (s suite) refuses(t *testing.T) {
	var file File
	m := s.open(t, &file)
	if _, err := m.AddTrack(media.Track{}); !errors.Is(err, output.ErrCodec) {
		t.Errorf("an unknown codec: %v; want ErrCodec", err)
	}
	for _, n := range []int{-1, 0, len(s.f.Tracks) + 1} {
		if err := m.WriteFrame(n, media.Frame{Data: []byte("x")}); err == nil {
			t.Errorf("a frame of track %d, which was not added, is taken", n)
		}
	}
	fs := s.frames(2 * time.Second)
	write(t, m, fs) // none of these errors is sticky
	finish(t, m)
	s.check(t, file.Data, fs)
}

func (s suite) extremes(t *testing.T) {
	var file File
	m := s.open(t, &file)
	var fs []Frame
	for i, at := range []time.Duration{0, 33 * time.Second, 70 * time.Second, 2 * time.Hour, 30 * 24 * time.Hour} {
		if s.f.MaxGap > 0 && len(fs) > 0 && at-fs[len(fs)-1].Time > s.f.MaxGap {
			break
		}
		for n := range s.f.Tracks {
			fs = append(fs, Frame{Track: n + 1, Frame: media.Frame{
				Data: bytes.Repeat([]byte{byte(i)}, 1+i*i*(300<<10)), Time: at, Key: true,
			}})
		}
	}
	write(t, m, fs)
	finish(t, m)
	s.check(t, file.Data, fs)

	// A frame without data is left out or kept, but harms nothing; and a muxer
	// without frames can be closed.
	m = s.open(t, &file)
	if err := m.WriteFrame(1, media.Frame{Key: true}); err != nil {
		t.Fatal(err)
	}
	finish(t, m)
}

// cut looks at each state that a crash can leave.
func (s suite) cut(t *testing.T) {
	var file File
	m := s.open(t, &file)
	fs := s.frames(4 * time.Second)
	write(t, m, fs)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	step := max(1, len(file.Data)/5000)
	for n := 0; n <= len(file.Data); n += step {
		got := s.read(t, file.Data[:n])
		for i := range got {
			if err := s.same(got[i], fs[i]); err != nil {
				t.Fatalf("cut at %d: frame %d %v", n, i, err)
			}
		}
		// All chunks but the one that was cut are whole.
		end := 0
		for _, e := range file.Ends {
			if e <= n {
				end = e
			}
		}
		if whole := s.read(t, file.Data[:end]); len(got) < len(whole) {
			t.Fatalf("cut at %d there are %d frames, and at %d there are %d", n, len(got), end, len(whole))
		}
	}
	s.check(t, file.Data, fs)
}

// failures lets the disk become full at many lengths of the file.
func (s suite) failures(t *testing.T) {
	var whole File
	m := s.open(t, &whole)
	fs := s.frames(4 * time.Second)
	write(t, m, fs)
	finish(t, m)

	for limit := 1; limit < len(whole.Data); limit += max(1, len(whole.Data)/200) {
		file := File{Limit: limit}
		m := s.open(t, &file)
		failed := false
		for _, f := range fs {
			err := m.WriteFrame(f.Track, f.Frame)
			if file.Failed > 0 != (err != nil) || err != nil && !errors.Is(err, ErrDisk) {
				t.Fatalf("room for %d bytes: WriteFrame gives %v after %d failed writes", limit, err, file.Failed)
			}
			failed = failed || err != nil
		}
		if failed {
			if err := m.Flush(); !errors.Is(err, ErrDisk) {
				t.Fatalf("room for %d bytes: Flush after a failure gives %v", limit, err)
			}
			if _, err := m.AddTrack(s.f.Late); !errors.Is(err, ErrDisk) {
				t.Fatalf("room for %d bytes: AddTrack after a failure gives %v", limit, err)
			}
		}
		if err := m.Close(); file.Failed > 0 != (err != nil) || err != nil && !errors.Is(err, ErrDisk) {
			t.Fatalf("room for %d bytes: Close gives %v after %d failed writes", limit, err, file.Failed)
		}
		for i, got := range s.read(t, file.Data) {
			if err := s.same(got, fs[i]); err != nil {
				t.Fatalf("room for %d bytes: frame %d %v", limit, i, err)
			}
		}
	}
}

func (s suite) shortWrite(t *testing.T) {
	file := File{Limit: 1000, Short: true}
	m := s.open(t, &file)
	var err error
	for _, f := range s.frames(4 * time.Second) {
		if err = m.WriteFrame(f.Track, f.Frame); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatal("writes that write less than they were given are taken for good")
	}
	if m.Close() == nil {
		t.Fatal("Close forgets the error")
	}
}

func (s suite) closed(t *testing.T) {
	var file File
	m := s.open(t, &file)
	fs := s.frames(time.Second)
	write(t, m, fs)
	finish(t, m)
	_, err := m.AddTrack(s.f.Late)
	if err == nil || m.WriteFrame(1, fs[0].Frame) == nil || m.Flush() == nil || m.Close() == nil {
		t.Fatal("a closed muxer takes calls")
	}
	s.check(t, file.Data, fs)
}
