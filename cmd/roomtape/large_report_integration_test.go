//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/recorder"
)

// TestReportOfTwentyPeopleAndAnHour: players load nothing before they are asked
// to, and then all twenty follow one clock, over HTTP/1 too, where a browser has
// six connections.
func TestReportOfTwentyPeopleAndAnHour(t *testing.T) {
	const people = 20
	dir := t.TempDir()
	demo := start(t, "demo", "--duration", "6s", "--out", filepath.Join(dir, "demo"))
	if code := demo.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &demo.stderr)
	}
	clips, err := filepath.Glob(filepath.Join(dir, "demo", "demo", "*", "alice.webm"))
	if err != nil || len(clips) != 1 {
		t.Fatal(clips, err)
	}
	sessions := filepath.Join(dir, "sessions")
	folder := filepath.Join(sessions, "standup", "one")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	m := recorder.Manifest{
		Version: 1, Room: "standup", State: recorder.StateComplete,
		StartedAt: time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC), EndedAt: time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC),
	}
	hour := filepath.Join(dir, "hour.webm")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", clips[0], "-c", "copy", "-t", "3600", hour).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	for i := range people {
		name := fmt.Sprintf("p%d", i)
		if err := os.Link(hour, filepath.Join(folder, name+".webm")); err != nil {
			t.Fatal(err)
		}
		m.Participants = append(m.Participants, recorder.ParticipantEntry{ID: name})
		m.Files = append(m.Files, recorder.FileEntry{
			Path: name + ".webm", Participant: name, OffsetMS: int64(100 * i), DurationMS: 3_590_000,
			Tracks: []recorder.TrackEntry{{Kind: "video", Codec: "VP8", Width: 480, Height: 270}},
		})
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, recorder.ManifestName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(sessions)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r, err := startRooms(serveOptions{listen: "127.0.0.1:0", recordings: root}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.stop() }()

	p := browser.Start(t).Open(r.url("http") + "/recordings/standup/one/")
	var loaded int
	p.Eval(`performance.getEntriesByType('resource').length`, &loaded)
	if loaded > 0 {
		t.Errorf("%d files are loaded before anybody has asked", loaded)
	}
	const playing = `[...document.querySelectorAll('figure')].map((f) => [...f.querySelectorAll('video, audio')].find((v) => v.src))`
	p.Eval(`document.getElementById('play').click()`, nil)
	p.Eval(`(() => { const s = document.getElementById('seek'); s.value = 1800000; s.dispatchEvent(new Event('input')); return true })()`, nil)
	// The page waits for them as long as this.
	waitFor(t, "twenty players at work", 90*time.Second, func() bool {
		var n int
		p.Eval(playing+`.filter((v) => v && !v.paused && !v.seeking && v.currentTime > 1799).length`, &n)
		return n == people
	})
	var apart float64
	waitFor(t, "twenty players together", 60*time.Second, func() bool {
		p.Eval(`(() => { const at = `+playing+`.map((v, i) => v.currentTime + i * 0.1); return Math.max(...at) - Math.min(...at) })()`, &apart)
		return apart < 0.3
	})
	var pictures int
	p.Eval(playing+`.filter((v) => v.localName === 'video').length`, &pictures)
	t.Logf("%d of them with pictures, %.0f ms apart", pictures, apart*1000)
	if pictures == 0 || pictures > 9 {
		t.Errorf("%d pictures are decoded", pictures)
	}
	if path := os.Getenv("ROOMTAPE_SCREENSHOT"); path != "" {
		p.Size(1400, 1000, 1, false)
		if err := os.WriteFile(path+"-twenty.png", p.Screenshot(), 0o600); err != nil {
			t.Error(err)
		}
	}
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("the page complains: %q", errs)
	}
}
