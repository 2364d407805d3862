//go:build integration

package server_test

import (
	"context"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

// TestPageWithTokens joins with a token from the address, is asked for one, and
// is put out when it expires.
func TestPageWithTokens(t *testing.T) {
	secret := []byte("a secret of thirty-two bytes ....")
	rooms := server.New(server.Config{TokenSecret: secret})
	ts := httptest.NewServer(rooms)
	t.Cleanup(func() {
		if err := rooms.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		ts.Close()
	})
	signed := func(ttl time.Duration, rights ...token.Right) string {
		s, err := token.Sign(secret, token.Claims{Room: "r", Rights: rights, Expires: time.Now().Add(ttl)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	b := browser.Start(t)
	open := func(name, text string) *browser.Page {
		q := url.Values{"room": {"r"}, "name": {name}, "source": {"pattern"}, "join": {"1"}}
		if text != "" {
			q.Set("token", text)
		}
		p := b.Open(ts.URL + "/?" + q.Encode())
		p.Eval(inspection, nil)
		return p
	}
	alice := open("alice", signed(time.Hour, token.Publish, token.Subscribe))
	alice.Wait(`roomtape.state === 'joined'`)
	alice.Wait(`!location.href.includes('token') && !document.documentElement.outerHTML.includes('eyJ')`)

	// Without a token, the page asks for it.
	bob := open("bob", "")
	bob.Wait(`roomtape.state === 'outside' && !document.getElementById('token-label').hidden`)
	bob.Wait(`document.getElementById('door-error').textContent.includes('token')`)
	bob.Eval(`document.getElementById('token').value = '`+signed(time.Hour, token.Subscribe)+`'; document.getElementById('join-form').requestSubmit()`, nil)
	bob.Wait(`roomtape.state === 'joined' && !location.href.includes('token')`)
	// It may watch and not be seen.
	sees(t, bob, "alice")
	alice.Wait(`roomtape.peers.some((p) => p.id === 'bob' && p.state === 'connected')`)
	alice.Wait(`roomtape.peers.find((p) => p.id === 'bob').connection.getTransceivers().every((t) => !t.currentDirection?.includes('recv'))`)

	// Who is put out is gone for the others too, though the media would go on.
	carol := open("carol", signed(8*time.Second, token.Publish, token.Subscribe))
	carol.Wait(`roomtape.state === 'joined'`)
	sees(t, alice, "carol")
	carol.Wait(`roomtape.state === 'outside' && document.getElementById('door-error').textContent.includes('expired')`)
	alice.Wait(`!roomtape.peers.some((p) => p.id === 'carol')`)
}
