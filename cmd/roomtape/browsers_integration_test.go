//go:build integration

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
)

// page opens the room's page and joins with the test picture.
func page(t *testing.T, b *browser.Browser, room, name string) *browser.Page {
	t.Helper()
	u, err := url.Parse(room)
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"room": {"test"}, "name": {name}, "source": {"pattern"}, "join": {"1"}}
	p := b.Open("http://" + u.Host + "/?" + q.Encode())
	p.Wait(`roomtape.state === 'joined'`)
	return p
}

// whole judges a finished file by every program that has an opinion.
func whole(t *testing.T, file string) {
	t.Helper()
	plays(t, file)
	judges := [][]string{{"mediaconch", file}, {"mkvinfo", file}}
	if filepath.Ext(file) == ".webm" {
		judges = append(judges, []string{"webm_info", "-i", file})
	}
	for _, args := range judges {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		text := strings.ToLower(string(out))
		if err != nil || strings.Contains(text, "error") || strings.Contains(text, "warning") || strings.Contains(text, "fail") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	report, _, err := inspectFile(file, nil, nil)
	if err != nil {
		t.Error(err)
	}
	if !report.Seekable || !report.Finalized || report.DurationMS <= 0 || report.Cues == 0 {
		t.Errorf("%s: seekable %v, finalized %v, %v ms, %d cues", file, report.Seekable, report.Finalized, report.DurationMS, report.Cues)
	}
}

// player opens a page with a video element that can be given the files below
// dir, as /files/NAME.
func player(t *testing.T, b *browser.Browser, dir string) *browser.Page {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(dir))))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><video muted></video>`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return b.Open(server.URL)
}

// load gives the player a file and plays it from its start.
func load(t *testing.T, p *browser.Page, dir, file string) {
	t.Helper()
	name, err := filepath.Rel(dir, file)
	if err != nil {
		t.Fatal(err)
	}
	p.Eval(fmt.Sprintf(`(() => { const v = document.querySelector('video'); v.src = %q; v.load(); return true })()`, "/files/"+filepath.ToSlash(name)), nil)
	p.Wait(`document.querySelector('video').readyState >= 2 && document.querySelector('video').videoWidth > 0`)
	p.Eval(`document.querySelector('video').play()`, nil)
	p.Wait(`document.querySelector('video').currentTime > 0.3`)
}

// playsInBrowser plays each file from its start and from its middle.
func playsInBrowser(t *testing.T, b *browser.Browser, dir string, files ...string) {
	t.Helper()
	p := player(t, b, dir)
	for _, file := range files {
		load(t, p, dir, file)
		var duration float64
		p.Eval(`document.querySelector('video').duration`, &duration)
		p.Eval(`(() => { const v = document.querySelector('video'); v.currentTime = v.duration / 2; return true })()`, nil)
		p.Wait(fmt.Sprintf(`!document.querySelector('video').seeking && document.querySelector('video').currentTime > %f + 0.3`, duration/2))
		p.Eval(`if (document.querySelector('video').error) throw new Error(document.querySelector('video').error.message)`, nil)
		t.Logf("%s: %.1f s play and seek", filepath.Base(file), duration)
	}
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("the page complains: %q", errs)
	}
}

// TestBrowsersAreRecorded has two real browsers in a room for some twenty
// seconds: the bot comes in the middle, one leaves early and comes back under
// the same id, the other shares a screen of another size and ends sharing.
func TestBrowsersAreRecorded(t *testing.T) {
	room, dir := openRoom(t), t.TempDir()
	b := browser.Start(t)
	alice, bob := page(t, b, room, "alice"), page(t, b, room, "bob")
	for _, p := range []*browser.Page{alice, bob} {
		p.Wait(`roomtape.peers.some((p) => p.state === 'connected')`)
	}
	record := start(t, "record", "--out", dir, "--session", "s", room)
	began := time.Now()
	bob.Wait(`roomtape.recorders.length === 1`)
	waitFor(t, "two recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("recording began after %v", took)
	}

	after(t, 4*time.Second)
	alice.Eval(`roomtape.leave()`, nil)
	waitFor(t, "alice's file to be final", 10*time.Second, func() bool {
		for _, f := range readManifest(t, filepath.Join(dir, "s")).Files {
			if f.Path == "alice.webm" && f.SHA256 == "" && f.DurationMS == 0 {
				return false
			}
		}
		report, _, err := inspectFile(filepath.Join(dir, "s", "alice.webm"), nil, nil)
		return err == nil && report.Finalized
	})
	alice.Eval(`roomtape.join({room: 'test', name: 'alice', source: 'pattern'})`, nil)
	waitFor(t, "alice's second file", 20*time.Second, func() bool { return len(recordings(t, dir)) == 3 })
	bob.Eval(`roomtape.shareTestPicture({width: 1024, height: 576, fps: 15})`, nil)
	after(t, 5*time.Second)
	bob.Eval(`roomtape.unshare()`, nil)
	after(t, 5*time.Second)

	record.stop(t)
	files := recordings(t, dir)
	if len(files) != 3 {
		t.Fatalf("files: %v", files)
	}
	for _, f := range files {
		whole(t, f)
		if n := frames(t, f); n[media.Video] < 60 || n[media.Audio] < 150 {
			t.Errorf("%s: %v", f, n)
		}
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	if m.State != "complete" {
		t.Errorf("the manifest's state is %q", m.State)
	}
	for _, f := range m.Files {
		if f.Path != "bob.webm" {
			continue
		}
		for _, track := range f.Tracks {
			if track.Kind == "video" && len(track.Sizes) < 3 {
				t.Errorf("bob shared a screen and came back, but sizes are %v", track.Sizes)
			}
		}
	}
	playsInBrowser(t, b, dir, files...)
}

// after lets media flow for a while: what is under test here is its duration.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
