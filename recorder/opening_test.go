package recorder

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/roomtape/roomtape/output"
)

// firstChunk is how many bytes of a file were written first.
type firstChunk struct {
	*memory
	size int
}

func (c *firstChunk) Create(name, ext string) (output.File, error) {
	f, err := c.memory.Create(name, ext)
	return &firstWrite{f.(*memoryFile), c}, err
}

type firstWrite struct {
	*memoryFile
	c *firstChunk
}

func (f *firstWrite) Write(b []byte) (int, error) {
	if f.c.size == 0 {
		f.c.size = len(b)
	}
	return f.memoryFile.Write(b)
}

// Sound that begins within the delay of Opus after the picture is in the same
// chunk as that, at its own time; what begins later is not waited for.
func TestTheFirstChunkHasSoundThatBelongsToIt(t *testing.T) {
	for late := range 12 {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			room := &script{}
			v, a := room.start(0, videoTrack(nil)), room.start(0, audioTrack())
			v.video(ms(100), ms(2000))
			a.audio(ms(101+late), ms(2000)) // a picture is complete after 1 ms
			m := &firstChunk{memory: newMemory()}
			cfg := config(m.memory)
			cfg.Store = m
			s, err := NewSession(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context(), room); err != nil {
				t.Fatal(err)
			}
			file := s.Manifest().Files[0]
			data := m.files[file.Path].data
			var sound time.Duration
			for _, f := range readBack(t, data) {
				if f.track == 2 {
					sound = f.at
					break
				}
			}
			tracks := map[int]int{}
			for _, f := range readBack(t, data[:m.size]) {
				tracks[f.track]++
			}
			if sound < 7*time.Millisecond && tracks[2] == 0 {
				t.Errorf("the first chunk has %d pictures and no sound, which begins at %v", tracks[1], sound)
			}
			if want := ms(late); (sound - want).Abs() > ms(1) {
				t.Errorf("sound begins at %v, want %v", sound, want)
			}
			if tracks[1] > 2 {
				t.Errorf("the first chunk has %d pictures", tracks[1])
			}
		})
	}
}

// A file can be watched as soon as there is something to see, also when its sound
// is some frames older than its first picture.
func TestTheFirstPictureIsWrittenAtOnce(t *testing.T) {
	for early := range 10 {
		t.Run(fmt.Sprint(10*early), func(t *testing.T) {
			m := newMemory()
			room := &script{}
			v, a := room.start(0, videoTrack(nil)), room.start(0, audioTrack())
			v.video(ms(100), ms(2000))
			for n := range 100 { // unevenly, so that its place is decided later than the picture's
				a.opus(ms(100 - 10*early + 20*n + []int{0, 2, 0, 9, 4}[n%5]))
			}
			keyStart := []byte{0x9d, 0x01, 0x2a} // RFC 6386 §9.1
			var there time.Duration
			room.before = func(now time.Time) {
				for _, f := range m.files {
					if there == 0 && bytes.Contains(f.data, keyStart) {
						there = now.Sub(t0)
					}
				}
			}
			s, err := NewSession(config(m))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context(), room); err != nil {
				t.Fatal(err)
			}
			if there == 0 || there > ms(500) {
				t.Errorf("the picture of 100 ms is in the file at %v", there)
			}
		})
	}
}
