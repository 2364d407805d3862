//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
)

// beginning is how a file begins, all in ms: when the first picture and the
// first sound are, less than 0 for none, and what comes then.
type beginning struct {
	picture, sound int
	// soundFirst puts sound before a picture of the same time.
	soundFirst bool
	// pictureGap and soundGap follow the first frame of their track.
	pictureGap, soundGap int
	// chunks is how many of the first frames are each a chunk of their own.
	chunks int
}

func (c beginning) String() string {
	return fmt.Sprintf("p%d_s%d_%v_%d_%d_%d", c.picture, c.sound, c.soundFirst, c.pictureGap, c.soundGap, c.chunks)
}

// write makes the file of a clip of two seconds.
func (c beginning) write(t *testing.T, dir string) string {
	t.Helper()
	clip, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, c.String()+".webm"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := webm.NewWriter(file, webm.Config{UID: c.String()})
	if err != nil {
		t.Fatal(err)
	}
	type track struct {
		n, i  int
		at    time.Duration
		step  time.Duration
		gap   time.Duration
		sound bool
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	var tracks []*track
	if c.picture >= 0 {
		n, err := w.AddTrack(media.Track{Codec: media.VP8, Width: clip.Width, Height: clip.Height})
		if err != nil {
			t.Fatal(err)
		}
		tracks = append(tracks, &track{n: n, at: ms(c.picture), step: clip.FrameDuration, gap: ms(c.pictureGap)})
	}
	if c.sound >= 0 {
		n, err := w.AddTrack(media.Track{Codec: media.Opus, Channels: 2})
		if err != nil {
			t.Fatal(err)
		}
		tracks = append(tracks, &track{n: n, at: ms(c.sound), step: ms(20), gap: ms(c.soundGap), sound: true})
	}
	for i := 0; ; i++ {
		next := tracks[0]
		for _, o := range tracks[1:] {
			if o.at < next.at || o.at == next.at && c.soundFirst {
				next = o
			}
		}
		if next.at > 1500*time.Millisecond {
			break
		}
		f := media.Frame{Time: next.at, Key: next.i == 0}
		if next.sound {
			f.Data, f.Duration, f.Key = clip.Audio[next.i], next.step, true
		} else {
			f.Data, f.Width, f.Height = clip.Video[next.i], clip.Width, clip.Height
		}
		if err := w.WriteFrame(next.n, f); err != nil {
			t.Fatal(err)
		}
		if i < c.chunks {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if next.at += next.step; next.i == 0 {
			next.at += next.gap
		}
		next.i++
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// playback tells how far a player has got with a file.
type playback struct {
	Name string
	// Took is how long that has taken, in ms, and Time the place, in s.
	Took, Time float64
	Ready      int
	Error      string
}

// play has players load files as far as they do by themselves, and then play,
// some at a time.
func play(t *testing.T, b *browser.Browser, dir string, names []string) []playback {
	t.Helper()
	p := player(t, b, dir)
	var all []playback
	for some := range slices.Chunk(names, 6) {
		list, err := json.Marshal(some)
		if err != nil {
			t.Fatal(err)
		}
		var got []playback
		p.Eval(fmt.Sprintf(`Promise.all(%s.map((name) => new Promise((resolve) => {
			const v = document.createElement('video'), began = performance.now();
			v.muted = true;
			v.preload = 'metadata';
			v.src = '/files/' + name;
			document.body.append(v);
			let error = '';
			v.onloadeddata = () => setTimeout(() => v.play().catch((err) => { error = String(err) }), 400);
			const look = () => {
				const took = performance.now() - began;
				if (v.error) error = v.error.message;
				if (v.currentTime <= 0.3 && took < 20000 && !error) return setTimeout(look, 20);
				resolve({name, took, time: v.currentTime, ready: v.readyState, error});
				v.removeAttribute('src');
				v.load();
				v.remove();
			};
			look();
		})))`, list), &got)
		all = append(all, got...)
	}
	return all
}

// TestBeginningsPlay plays files that begin in all the ways in which recordings may.
// Players take 6.5 ms off the times of sound, so what matters is who is first then,
// and whether the other is in the same chunk.
func TestBeginningsPlay(t *testing.T) {
	dir := t.TempDir()
	var cases []beginning
	for chunks := range 3 {
		for d := -8; d <= 9; d++ {
			cases = append(cases, beginning{picture: max(0, -d), sound: max(0, d), chunks: chunks})
		}
		for _, c := range []beginning{
			{soundFirst: true},
			{picture: 7, sound: 7},
			{picture: 7, sound: 8},
			{picture: 7, sound: 13},
			{sound: 30},
			{picture: 30},
			{sound: 300},
			{picture: 300},
			{sound: 300, pictureGap: 500},
			{sound: 3, pictureGap: 500},
			{sound: 3, soundGap: 300},
			{soundGap: 300},
			{sound: -1},
			{picture: -1},
			{picture: -1, sound: 7},
		} {
			c.chunks = chunks
			cases = append(cases, c)
		}
	}
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = filepath.Base(c.write(t, dir))
	}
	for _, r := range play(t, browser.Start(t), dir, names) {
		if r.Error != "" || r.Time <= 0.3 {
			t.Errorf("%s stands at %.3f s after %.0f ms, ready %d: %s", r.Name, r.Time, r.Took, r.Ready, r.Error)
		}
	}
	t.Logf("%d files played", len(names))
}
