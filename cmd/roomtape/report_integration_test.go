//go:build integration

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
)

// TestReportPlaysTheSession opens the report of a demo in a real browser: its two
// players show the same time after a seek, and nothing but the recordings is asked
// for.
func TestReportPlaysTheSession(t *testing.T) {
	dir := t.TempDir()
	demo := start(t, "demo", "--duration", "8s", "--out", dir)
	if code := demo.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &demo.stderr)
	}
	sessions, err := filepath.Glob(filepath.Join(dir, "demo", "*"))
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%v, %v", sessions, err)
	}
	r := start(t, "report", sessions[0])
	if code := r.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &r.stderr)
	}
	var mu sync.Mutex
	asked := map[string]bool{}
	files := http.FileServer(http.Dir(sessions[0]))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path] = true
		mu.Unlock()
		files.ServeHTTP(w, r)
	}))
	defer server.Close()

	b := browser.Start(t)
	p := b.Open(server.URL + "/report.html")
	p.Eval(`document.getElementById('play').click()`, nil)
	p.Wait(`[...document.querySelectorAll('video')].filter((v) => v.currentTime > 0.5).length === 2`)
	p.Eval(`(() => { const s = document.getElementById('seek'); s.value = 4000; s.dispatchEvent(new Event('input')); return true })()`, nil)
	p.Wait(`[...document.querySelectorAll('video')].every((v) => !v.seeking && v.currentTime > 4.5)`)
	after(t, 500*time.Millisecond)
	var apart float64
	// How far the players' own clocks are from each other, their files' places in the session taken off.
	p.Eval(`(() => {
	  const d = JSON.parse(document.getElementById('data').textContent);
	  const at = [...document.querySelectorAll('video')].map((v, i) => v.currentTime * 1000 + d.players[i].files[0].offset_ms);
	  return Math.abs(at[0] - at[1]);
	})()`, &apart)
	t.Logf("the players are %.0f ms apart", apart)
	if apart > 250 {
		t.Errorf("the players are %.0f ms apart", apart)
	}
	if path := os.Getenv("ROOMTAPE_SCREENSHOT"); path != "" {
		p.Size(1280, 1500, 1, false)
		if err := os.WriteFile(path+"-report.png", p.Screenshot(), 0o600); err != nil {
			t.Error(err)
		}
	}
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("the page complains: %q", errs)
	}
	// As it is on the disk, too.
	f := b.Open(fileURL(filepath.Join(sessions[0], "report.html")))
	f.Eval(`document.getElementById('play').click()`, nil)
	f.Wait(`[...document.querySelectorAll('video')].filter((v) => v.currentTime > 0.5).length === 2`)
	if errs := f.Errors(); len(errs) > 0 {
		t.Errorf("the page on the disk complains: %q", errs)
	}
	mu.Lock()
	defer mu.Unlock()
	for path := range asked {
		if path != "/report.html" && filepath.Ext(path) != ".webm" {
			t.Errorf("the page asks for %s", path)
		}
	}
}
