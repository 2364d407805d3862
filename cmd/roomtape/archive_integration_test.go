//go:build integration

package main

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

// TestPageListsRecordings follows the way of somebody who opens serve's page to
// watch what has been recorded, without and with tokens.
func TestPageListsRecordings(t *testing.T) {
	dir := t.TempDir()
	demo := start(t, "demo", "--duration", "6s", "--out", dir)
	if code := demo.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &demo.stderr)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	serve := func(secret []byte) (address string) {
		r, err := startRooms(serveOptions{
			listen: "127.0.0.1:0", recordings: root, limits: server.Config{TokenSecret: secret},
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
		return r.url("http") + "/"
	}
	b := browser.Start(t)
	picture := func(p *browser.Page, name string) {
		if path := os.Getenv("ROOMTAPE_SCREENSHOT"); path != "" {
			p.Size(1280, 1000, 1, false)
			if err := os.WriteFile(path+"-"+name+".png", p.Screenshot(), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	const follow = `(() => { document.querySelector('#recordings-list a').click(); return true })()`
	// there waits for what a page that is left leads to.
	there := func(p *browser.Page, selector string) {
		t.Helper()
		waitFor(t, selector, browser.Patience, func() bool {
			return p.Try(`(() => { if (!document.querySelector('`+selector+`')) throw new Error('not yet') })()`, nil) == nil
		})
	}
	plays := func(p *browser.Page) {
		t.Helper()
		there(p, "#play")
		p.Eval(`document.getElementById('play').click()`, nil)
		p.Wait(`[...document.querySelectorAll('video')].filter((v) => v.currentTime > 0.5).length === 2`)
		// Somewhere else, which takes a request for a part of a file.
		p.Eval(`(() => { const s = document.getElementById('seek'); s.value = 4000; s.dispatchEvent(new Event('input')); return true })()`, nil)
		p.Wait(`[...document.querySelectorAll('video')].every((v) => !v.seeking && v.currentTime > 3.5)`)
		var asked []string
		p.Eval(`performance.getEntriesByType('resource').map((e) => e.name).filter((n) => !n.startsWith(location.origin + '/recordings/') && !n.startsWith('data:'))`, &asked)
		if len(asked) > 0 {
			t.Errorf("the report asks for %q", asked)
		}
		if errs := p.Errors(); len(errs) > 0 {
			t.Errorf("the report complains: %q", errs)
		}
	}

	p := b.Open(serve(nil))
	p.Wait(`document.querySelectorAll('#recordings-list a').length === 1`)
	picture(p, "door")
	p.Eval(follow, nil)
	plays(p)
	picture(p, "served-report")

	secret := []byte("a secret of thirty-two bytes ....")
	address := serve(secret)
	token, err := token.Sign(secret, token.Claims{Room: "demo", Rights: []token.Right{token.Record}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	p = b.Open(address)
	p.Wait(`document.getElementById('recordings-note').textContent.includes('token')`)
	p = b.Open(address + "recordings/")
	p.Wait(`document.querySelector('[name=token]') !== null`)
	picture(p, "asks")
	p.Eval(`(() => { document.querySelector('[name=token]').value = '`+token+`'; document.querySelector('form').requestSubmit(); return true })()`, nil)
	there(p, "tbody a")
	picture(p, "list")
	p.Eval(`(() => { document.querySelector('tbody a').click(); return true })()`, nil)
	plays(p)
	p.Eval(`(() => { if (document.cookie !== '') throw new Error('a script can read the cookie') })()`, nil)

	// With a token in the page's address, its links work at once.
	other := browser.Start(t).Open(address + "?token=" + token)
	other.Wait(`document.querySelectorAll('#recordings-list a').length === 1 && !location.href.includes('token')`)
	other.Eval(follow, nil)
	plays(other)
}
