//go:build integration

package server_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// newForwardingHouse is newHouse with a server that forwards.
func newForwardingHouse(t *testing.T, extra ...string) *house {
	t.Helper()
	u, err := unit.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	rooms := server.New(server.Config{Forward: u})
	ts := httptest.NewServer(rooms)
	t.Cleanup(func() {
		if err := rooms.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		ts.Close()
	})
	return &house{t: t, url: ts.URL, b: browser.Start(t, extra...)}
}

// inLines finds statistics by the m-lines of a guest.
const inLines = `
globalThis.inbound = async (id, kind) => {
	const peer = roomtape.peers.find((p) => p.id === id);
	const ids = peer.tracks.map((t) => t.id);
	for (const s of (await peer.connection.getStats()).values()) {
		if (s.type === 'inbound-rtp' && s.kind === kind && ids.includes(s.trackIdentifier)) return s;
	}
	return {};
};
true`

func TestPagesMeetInAForwardedRoom(t *testing.T) {
	h := newForwardingHouse(t)
	alice := h.open("r", "alice", "pattern")
	bob := h.open("r", "bob", "pattern")
	carol := h.open("r", "carol", "none")
	for _, p := range []*browser.Page{alice, bob, carol} {
		p.Eval(inLines, nil)
	}
	sees(t, alice, "bob")
	sees(t, bob, "alice")
	sees(t, carol, "alice")
	sees(t, carol, "bob")

	alice.Eval(`document.getElementById('chat-text').value = 'hello'; document.getElementById('chat-form').requestSubmit()`, nil)
	for _, p := range []*browser.Page{bob, carol} {
		p.Wait(`roomtape.chat.some((m) => m.from === 'alice' && m.text === 'hello')`)
	}
	alice.Press("m")
	carol.Wait(`!tile('alice').querySelector('.name svg').hasAttribute('hidden')`)

	// Another room hears nothing of it.
	dave := h.open("other", "dave", "none")
	dave.Wait(`roomtape.peers.length === 0`)

	bob.Eval(`location.href = 'about:blank'`, nil)
	carol.Wait(`!roomtape.peers.some((p) => p.id === 'bob')`)
	sees(t, carol, "alice")
}

// TestForwardedPageReachesTheTop has a page get a larger one than the smallest of another's
// encodings, in a while.
func TestForwardedPageReachesTheTop(t *testing.T) {
	h := newForwardingHouse(t)
	h.open("r", "alice", "pattern")
	bob := h.open("r", "bob", "none")
	bob.Eval(inLines, nil)
	bob.Wait(`roomtape.peers.some((p) => p.id === 'alice' && p.tracks.length === 2)`)
	bob.Wait(`(await inbound('alice', 'video')).frameWidth >= 640`)
}
