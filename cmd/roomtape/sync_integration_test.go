//go:build integration

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
)

// witness is a room that notes what the senders said of their clocks, so that
// a recording can be held against it.
type witness struct {
	signaling.Room
	mu     sync.Mutex
	tracks map[media.Kind]*heard
}

// heard is what arrived of one track.
type heard struct {
	timestamps []uint32 // of each frame, in the order of their first packets
	reports    []signaling.SenderReport
}

func (w *witness) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	e, err := w.Room.Next(ctx, deadline)
	if err != nil || e.Track == nil {
		return e, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.tracks[e.Track.Kind]
	if h == nil {
		h = &heard{}
		w.tracks[e.Track.Kind] = h
	}
	switch e.Kind {
	case signaling.PacketArrived:
		// What is not newer is a probe, made of packets that came before.
		if n := len(h.timestamps); len(e.Packet.Payload) > 0 && (n == 0 || int32(e.Packet.Timestamp-h.timestamps[n-1]) > 0) {
			h.timestamps = append(h.timestamps, e.Packet.Timestamp)
		}
	case signaling.Reported:
		h.reports = append(h.reports, e.Report)
	}
	return e, err
}

// wallTimes gives when each frame was sent by the sender's own wall clock, in
// seconds. Chromium's reports of audio are off by some milliseconds either way,
// so the median of them all counts; here, wall and media clock are the same
// crystal, so that no skew need be fitted through that noise.
func (h *heard) wallTimes(t *testing.T, rate float64) []float64 {
	t.Helper()
	if len(h.reports) < 3 {
		t.Fatalf("only %d sender reports", len(h.reports))
	}
	first := h.reports[0]
	var epochs []float64 // the wall time of the first report, as each one has it
	for _, r := range h.reports {
		media := float64(int32(r.RTP-first.RTP)) / rate
		epochs = append(epochs, math.Mod(float64(r.NTP)/(1<<32), 86400*365)-media)
	}
	slices.Sort(epochs)
	wall := make([]float64, len(h.timestamps))
	for i, ts := range h.timestamps {
		wall[i] = epochs[len(epochs)/2] + float64(int32(ts-first.RTP))/rate
	}
	return wall
}

// line fits y = slope·x + intercept by least squares.
func line(x, y []float64) (slope, intercept float64) {
	var mx, my, xy, xx float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(y))
	}
	for i := range x {
		xy, xx = xy+(x[i]-mx)*(y[i]-my), xx+(x[i]-mx)*(x[i]-mx)
	}
	return xy / xx, my - xy/xx*mx
}

// recordPage records the room in this process for a while, and gives the file
// of the one who is in it and what the witness heard.
func recordPage(t *testing.T, room string, during func(), d time.Duration) (string, *witness) {
	t.Helper()
	dir := t.TempDir()
	o := recordOptions{
		out: dir, session: "s", name: recorder.DefaultName, format: formats[0], codecs: videoCodecs(),
		chunk: recorder.DefaultChunk, maxWaitLoss: recorder.DefaultMaxWaitLoss, peerID: "recorder",
		joinTimeout: 10 * time.Second, wait: 20 * time.Second, duration: d, announce: true,
	}
	var err error
	if o.kind, o.url, o.room, err = findRoom(room, ""); err != nil {
		t.Fatal(err)
	}
	w := &witness{tracks: map[media.Kind]*heard{}}
	dial := o.kind.dial
	o.kind.dial = func(ctx context.Context, jo joinOptions) (signaling.Room, error) {
		r, err := dial(ctx, jo)
		w.Room = r
		return w, err
	}
	done := make(chan error, 1)
	go func() {
		_, err := recordRoom(t.Context(), o, stdio{out: t.Output(), err: t.Output()}, slog.New(slog.DiscardHandler))
		done <- err
	}()
	if during != nil {
		during()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	files := recordings(t, filepath.Join(dir, "s"))
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	return files[0], w
}

// spread describes offsets as the issue of sync is judged.
type spread struct {
	median, within80, within95, worst, driftPerMinute time.Duration
}

func (s spread) String() string {
	return fmt.Sprintf("median %v, 95 %% within %v of it, worst %v, drift %v a minute",
		s.median.Round(100*time.Microsecond), s.within95.Round(100*time.Microsecond),
		s.worst.Round(100*time.Microsecond), s.driftPerMinute.Round(100*time.Microsecond))
}

func judge(at, offset []time.Duration) spread {
	sorted := slices.Sorted(slices.Values(offset))
	s := spread{median: sorted[len(sorted)/2]}
	away := make([]time.Duration, len(offset))
	x, y := make([]float64, len(at)), make([]float64, len(at))
	for i, o := range offset {
		away[i] = (o - s.median).Abs()
		x[i], y[i] = at[i].Minutes(), float64(o)
	}
	slices.Sort(away)
	s.within80, s.within95, s.worst = away[len(away)*80/100], away[len(away)*95/100], away[len(away)-1]
	slope, _ := line(x, y)
	s.driftPerMinute = time.Duration(slope)
	return s
}

// againstReports gives, for each audio frame of the file, how much later the
// file has it than the video beside it, against what sender reports say.
func againstReports(t *testing.T, file string, w *witness) (at, offset []time.Duration) {
	t.Helper()
	type placed struct{ file, wall float64 }
	var tracks [2][]placed
	for i, kind := range []media.Kind{media.Audio, media.Video} {
		blocks := blockTimes(t, file, kind)
		wall := w.tracks[kind].wallTimes(t, map[media.Kind]float64{media.Audio: 48000, media.Video: 90000}[kind])
		if len(blocks) > len(wall) {
			t.Fatalf("%s: %d frames in the file, %d arrived", kind, len(blocks), len(wall))
		}
		for j, b := range blocks {
			tracks[i] = append(tracks[i], placed{b.Seconds(), wall[j]})
		}
	}
	audio, video := tracks[0], tracks[1]
	j := 0
	for _, a := range audio {
		for j+1 < len(video) && video[j+1].file <= a.file {
			j++
		}
		off := (a.file - a.wall) - (video[j].file - video[j].wall)
		at = append(at, time.Duration(a.file*float64(time.Second)))
		offset = append(offset, time.Duration(off*float64(time.Second)))
	}
	return at, offset
}

// TestFlashAndBeepStayTogether records a real Chromium for a minute, whose page
// flashes and beeps in the same instant each second.
func TestFlashAndBeepStayTogether(t *testing.T) {
	room := openRoom(t)
	alice := page(t, browser.Start(t), room, "alice")
	alice.Wait(`roomtape.flashes.length >= 2`)
	file, w := recordPage(t, room, nil, time.Minute)

	at, offset := againstReports(t, file, w)
	s := judge(at, offset)
	t.Logf("audio against video by sender reports: %v", s)
	if s.median.Abs() > 40*time.Millisecond || s.within95 > 8*time.Millisecond || s.driftPerMinute.Abs() > 3*time.Millisecond {
		t.Errorf("audio against video by sender reports: %v; want 40, 8 and 3 ms", s)
	}
	first := judge(at[:50], offset[:50])
	t.Logf("in the first second: %v", first)

	at, offset = offsets(flashes(t, file), beeps(t, file))
	if len(offset) < 50 {
		t.Fatalf("%d flashes with a beep in a minute", len(offset))
	}
	s = judge(at, offset)
	t.Logf("beep after flash: %v", s)
	// A Chromium that gets too little of a busy machine plays late, and that is
	// in the file as it is in the room: a fifth of the beeps may be such.
	if s.median.Abs() > 25*time.Millisecond || s.within80 > 8*time.Millisecond {
		t.Errorf("beep after flash: %v, 80 %% within %v", s, s.within80)
	}
}

// TestSilenceStaysWhereItWas pauses the sound by replaceTrack(null), while
// Chromium's RTP timestamps stand still.
func TestSilenceStaysWhereItWas(t *testing.T) {
	room := openRoom(t)
	alice := page(t, browser.Start(t), room, "alice")
	alice.Wait(`roomtape.flashes.length >= 2`)
	const pause = 4 * time.Second
	file, _ := recordPage(t, room, func() {
		alice.Wait(`roomtape.recorders.length === 1`)
		after(t, 6*time.Second)
		alice.Eval(`roomtape.setAudioTrack(null)`, nil)
		after(t, pause)
		alice.Eval(`roomtape.setAudioTrack()`, nil)
	}, 25*time.Second)

	times := blockTimes(t, file, media.Audio)
	var longest time.Duration
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i]-times[i-1])
	}
	if (longest - pause).Abs() > 300*time.Millisecond {
		t.Errorf("the longest silence is %v, want about %v", longest, pause)
	}
	at, offset := offsets(flashes(t, file), beeps(t, file))
	if len(offset) < 15 {
		t.Fatalf("%d flashes with a beep", len(offset))
	}
	s := judge(at, offset)
	t.Logf("beep after flash: %v; silence %v", s, longest)
	late := 0
	for i := range at {
		if (offset[i] - s.median).Abs() > 50*time.Millisecond {
			t.Logf("at %v the beep is %v after the flash", at[i], offset[i])
			late++
		}
	}
	if late > len(at)/5 {
		t.Errorf("%d of %d beeps are not with their flash: %v", late, len(at), s)
	}
}
