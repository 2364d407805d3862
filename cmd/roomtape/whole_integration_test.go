//go:build integration

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// film is a picture whose frames are all different, with a keyframe only when
// somebody asks for one, and a note of what was sent.
type film struct {
	codec media.Codec

	mu     sync.Mutex
	frames [][]byte
	first  int // keyframe
	sent   []time.Time
}

// picture is synthetic.Config.Picture.
func (f *film) picture(n int, asked bool) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := netsim.Frame(f.codec, n, 4000, asked, 640, 360)
	if asked && f.first < 0 {
		f.first = n
	}
	f.frames, f.sent = append(f.frames, b), append(f.sent, time.Now())
	return b
}

// blocks reads the frames of a file, which may be growing, by kind.
func blocks(t *testing.T, file string) (map[media.Kind][][]byte, []webm.Fault) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frames := map[media.Kind][][]byte{}
	r := webm.NewReader(f)
	for {
		b, err := r.Next()
		if err != nil {
			return frames, r.Faults() // not yet a WebM file, or its end so far
		}
		for _, track := range r.Tracks() {
			if track.Number == b.Track {
				frames[track.Codec.Kind()] = append(frames[track.Codec.Kind()], bytes.Clone(b.Data))
			}
		}
	}
}

// enterFilms lets two people into the room who send a keyframe only when they are
// asked for one, one of them VP8 and the other VP9, with the sound of a clip.
func enterFilms(t *testing.T, url string) (*synthetic.Clip, map[string]*film, map[string]*synthetic.Peer) {
	t.Helper()
	clip, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	films := map[string]*film{"vp8": {codec: media.VP8, first: -1}, "vp9": {codec: media.VP9, first: -1}}
	people := map[string]*synthetic.Peer{}
	for id, f := range films {
		c := synthetic.NewClip(f.codec, 640, 360, clip.FrameDuration, clip.Video, clip.Audio)
		p, err := synthetic.Join(t.Context(), synthetic.Config{
			URL: url, Room: "test", PeerID: id, Clip: c, Reserved: true, Loopback: true, Picture: f.picture,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		people[id] = p
	}
	return clip, films, people
}

// TestNothingIsMissing records people who send a keyframe only when they are
// asked, and who leave at once after their last frame. From the first keyframe
// and the first Opus packet on, everything must be in the files, byte for byte,
// and the beginning must be there at once.
func TestNothingIsMissing(t *testing.T) {
	for run := range 10 {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			url, dir := openRoom(t), t.TempDir()
			clip, films, people := enterFilms(t, url)
			p := start(t, "record", "--out", dir, "--session", "s", "--until-empty", "200ms", url)
			appeared := map[string]time.Time{}
			waitFor(t, "the first keyframes in the files", 20*time.Second, func() bool {
				for id := range films {
					file := filepath.Join(dir, "s", id+".webm")
					if _, err := os.Stat(file); err != nil || !appeared[id].IsZero() {
						continue
					}
					now := time.Now()
					if frames, _ := blocks(t, file); len(frames[media.Video]) > 0 {
						appeared[id] = now
					}
				}
				return len(appeared) == len(films)
			})
			last := time.Now()
			waitFor(t, "some more", 5*time.Second, func() bool { return time.Since(last) > 1500*time.Millisecond })
			audio := map[string]int64{}
			for id, person := range people {
				person.Stop()
				_, audio[id] = person.Sent()
				if err := person.Close(); err != nil {
					t.Error(err)
				}
			}
			if code := p.exit(t); code != 0 {
				t.Fatalf("exit code %d\n%s", code, &p.stderr)
			}
			for id, f := range films {
				if f.first < 0 {
					t.Errorf("%s: no keyframe was asked for", id)
					continue
				}
				got, faults := blocks(t, filepath.Join(dir, "s", id+".webm"))
				if len(faults) > 0 {
					t.Errorf("%s: %v", id, faults)
				}
				same(t, id+": video", got[media.Video], f.frames[f.first:])
				var sound [][]byte
				for i := range audio[id] {
					sound = append(sound, clip.Audio[int(i)%len(clip.Audio)])
				}
				same(t, id+": audio", got[media.Audio], sound)
				asked, there := f.sent[f.first].Sub(f.sent[0]), appeared[id].Sub(f.sent[0])
				t.Logf("%s: the keyframe was sent %v after the first frame, and in the file after %v", id, asked, there)
				if there > 500*time.Millisecond {
					t.Errorf("%s: the first keyframe is in the file %v after the track began", id, there)
				}
			}
		})
	}
}

// same fails the test unless two lists of frames are the same.
func same(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d frames in the file, %d were sent", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("%s: frame %d is not the one that was sent", what, i)
			return
		}
	}
}
