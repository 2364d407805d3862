//go:build integration

package server_test

import (
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/signaling/server"
)

// inspection is what tests look at a page with: how it sees another.
const inspection = `
globalThis.inbound = async (id, kind) => {
	const peer = roomtape.peers.find((p) => p.id === id);
	for (const s of (await peer.connection.getStats()).values()) {
		if (s.type === 'inbound-rtp' && s.kind === kind) return s;
	}
	return {};
};
globalThis.advances = async (id, kind, member, by) => {
	const before = (await inbound(id, kind))[member] ?? 0;
	const until = performance.now() + 15000;
	while (performance.now() < until) {
		if ((await inbound(id, kind))[member] >= before + by) return true;
		await new Promise((r) => setTimeout(r, 100));
	}
	return false;
};
globalThis.tile = (name) => [...document.querySelectorAll('.tile')].find((t) => t.querySelector('.name span').textContent === name);
true`

// house is a room server and a browser.
type house struct {
	t   *testing.T
	url string
	b   *browser.Browser
}

func newHouse(t *testing.T, extra ...string) *house {
	t.Helper()
	rooms := server.New(server.Config{})
	ts := httptest.NewServer(rooms)
	t.Cleanup(func() {
		if err := rooms.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		ts.Close()
	})
	return &house{t: t, url: ts.URL, b: browser.Start(t, extra...)}
}

func (h *house) open(room, name, source string) *browser.Page {
	h.t.Helper()
	q := url.Values{"room": {room}, "name": {name}, "source": {source}, "join": {"1"}}
	p := h.b.Open(h.url + "/?" + q.Encode())
	p.Eval(inspection, nil)
	p.Wait(`roomtape.state === 'joined'`)
	return p
}

// sees checks that a page gets moving pictures and sound from another.
func sees(t *testing.T, p *browser.Page, id string) {
	t.Helper()
	p.Wait(fmt.Sprintf(`roomtape.peers.some((p) => p.id === %q && p.state === 'connected' && p.open)`, id))
	p.Wait(fmt.Sprintf(`advances(%q, 'video', 'framesDecoded', 10)`, id))
	p.Wait(fmt.Sprintf(`advances(%q, 'audio', 'totalSamplesReceived', 48000)`, id))
	p.Wait(fmt.Sprintf(`(await inbound(%q, 'audio')).totalAudioEnergy > 0`, id))
	p.Wait(fmt.Sprintf(`tile(%q).querySelector('video').videoWidth > 0 && !tile(%q).classList.contains('dark')`, id, id))
}

func TestTwoPagesMeet(t *testing.T) {
	step := func(name string, f func()) {
		t.Helper()
		t.Log(name)
		f()
	}
	h := newHouse(t)
	alice := h.open("r", "alice", "pattern")
	alice.Wait(`!document.getElementById('alone').hidden`)
	bob := h.open("r", "bob", "pattern")
	sees(t, alice, "bob")
	sees(t, bob, "alice")
	alice.Wait(`document.getElementById('alone').hidden`)

	// Everybody sends the capture times that a recorder asks for.
	alice.Wait(`roomtape.peers[0].connection.getTransceivers().every((t) => t.getNegotiatedHeaderExtensions()
		.some((e) => e.uri.endsWith('/abs-capture-time') && e.direction === 'sendrecv'))`)

	step("chat", func() {
		alice.Eval(`document.getElementById('chat-text').value = 'hello <b>bob</b>'; document.getElementById('chat-form').requestSubmit()`, nil)
		bob.Wait(`roomtape.chat.some((m) => m.from === 'alice' && m.text === 'hello <b>bob</b>')`)
		bob.Wait(`document.getElementById('unread').textContent === '1'`)
		bob.Press("c")
		bob.Wait(`!document.getElementById('chat').hidden && document.activeElement.id === 'chat-text' && document.getElementById('unread').hidden`)
		// The protocol's keys type even what the page has taken for itself.
		bob.Eval(`document.getElementById('chat-text').value = ''`, nil)
		bob.Press("mv hi\r") // letters are no shortcuts here
		alice.Wait(`roomtape.chat.some((m) => m.from === 'bob' && m.text === 'mv hi')`)
		bob.Eval(`document.getElementById('chat-close').click()`, nil)
	})

	step("mute and camera off", func() {
		alice.Press("m")
		bob.Wait(`!tile('alice').querySelector('.name svg').hasAttribute('hidden')`)
		alice.Press("v")
		bob.Wait(`tile('alice').classList.contains('dark')`)
		alice.Press("mv")
		bob.Wait(`tile('alice').querySelector('.name svg').hasAttribute('hidden') && !tile('alice').classList.contains('dark')`)
	})

	step("screen sharing and back", func() {
		var ssrc, after uint32
		bob.Eval(`inbound('alice', 'video').then((s) => s.ssrc)`, &ssrc)
		alice.Eval(`roomtape.shareTestPicture({width: 800, height: 600})`, nil)
		bob.Wait(`tile('alice').querySelector('video').videoHeight * 4 === tile('alice').querySelector('video').videoWidth * 3`)
		bob.Wait(`tile('alice').querySelector('.note').textContent === 'sharing'`)
		alice.Eval(`roomtape.unshare()`, nil)
		bob.Wait(`tile('alice').querySelector('video').videoHeight * 16 === tile('alice').querySelector('video').videoWidth * 9`)
		bob.Eval(`inbound('alice', 'video').then((s) => s.ssrc)`, &after)
		if ssrc != after {
			t.Errorf("the SSRC changed from %d to %d", ssrc, after)
		}
	})

	step("sound paused and back", func() {
		alice.Eval(`roomtape.setAudioTrack(null)`, nil)
		bob.Wait(`!(await (async () => { const n = (await inbound('alice', 'audio')).packetsReceived;
			await new Promise((r) => setTimeout(r, 500)); return (await inbound('alice', 'audio')).packetsReceived - n; })())`)
		alice.Eval(`roomtape.setAudioTrack()`, nil)
		bob.Wait(`advances('alice', 'audio', 'packetsReceived', 20)`)
	})

	step("silence between the beeps is sent too", func() {
		var packets float64
		bob.Eval(`(async () => { const begin = (await inbound('alice', 'audio')).packetsReceived; const since = performance.now();
			await new Promise((r) => setTimeout(r, 2000));
			return ((await inbound('alice', 'audio')).packetsReceived - begin) / (performance.now() - since) * 1000; })()`, &packets)
		if packets < 40 {
			t.Errorf("%.0f packets of sound a second, want 50", packets)
		}
	})

	step("flashes", func() {
		alice.Wait(`roomtape.flashes.length >= 2`)
		var flashes []struct {
			Wall  float64
			Frame int
			Audio float64
		}
		alice.Eval(`roomtape.flashes`, &flashes)
		for i, f := range flashes[1:] {
			// A busy machine flashes late, but the beep must be with it.
			wall, audio := f.Wall-flashes[i].Wall, 1000*(f.Audio-flashes[i].Audio)
			if math.Floor(f.Wall/1000) == math.Floor(flashes[i].Wall/1000) {
				t.Errorf("flash %d is the second in its second", i+1)
			}
			if flashes[i].Audio != 0 && math.Abs(audio-wall) > 50 {
				t.Errorf("flash %d came %.1f ms after the one before, its beep %.1f ms", i+1, wall, audio)
			}
		}
	})

	step("a restart keeps the connection", func() {
		// Bob came later, so it is he who offers.
		var before, after string
		bob.Eval(`roomtape.peers[0].connection.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]`, &before)
		alice.Eval(`globalThis.kept = roomtape.peers[0].connection; true`, nil)
		bob.Eval(`(() => { const pc = roomtape.peers[0].connection;
			Object.defineProperty(pc, 'connectionState', {get: () => 'failed', configurable: true});
			pc.onconnectionstatechange(); delete pc.connectionState; })()`, nil)
		alice.Wait(fmt.Sprintf(`!roomtape.peers[0].connection.remoteDescription.sdp.includes('ice-ufrag:' + %q)`, strings.TrimSpace(before)))
		sees(t, alice, "bob")
		sees(t, bob, "alice")
		alice.Eval(`String(kept === roomtape.peers[0].connection)`, &after)
		if after != "true" {
			t.Error("a renegotiation made a new connection")
		}
	})

	step("a recorder", func() {
		bot := h.open("r", "recorder-1", "none")
		alice.Wait(`document.getElementById('listeners').textContent === 'recorder-1 is listening' && roomtape.peers.some((p) => p.id === 'recorder-1' && p.open)`)
		sees(t, bot, "alice")
		bot.Eval(`roomtape.tell({type: 'recording', state: 'started', peer_id: 'recorder-1'})`, nil)
		alice.Wait(`document.getElementById('recording').textContent === 'Recording by recorder-1' && document.getElementById('listeners').childElementCount === 0`)
		alice.Wait(`document.querySelectorAll('.tile').length === 2`)
		bot.Eval(`roomtape.tell({type: 'recording', state: 'stopped'})`, nil)
		alice.Wait(`document.getElementById('recording').textContent === ''`)
		bot.Eval(`roomtape.tell({type: 'recording', state: 'started'})`, nil)
		alice.Wait(`roomtape.recorders.length === 1`)
		bot.Close()
		alice.Wait(`document.getElementById('recording').textContent === '' && roomtape.peers.length === 1`)
	})

	step("leaving and coming back", func() {
		bob.Eval(`roomtape.leave()`, nil)
		alice.Wait(`roomtape.peers.length === 0 && !tile('bob')`)
		bob.Wait(`roomtape.state === 'outside' && !document.getElementById('door').hidden`)
		bob.Eval(`roomtape.join({room: 'r', name: 'bob', source: 'pattern'})`, nil)
		sees(t, alice, "bob")
		sees(t, bob, "alice")
	})

	step("taken over by a second page", func() {
		again := h.open("r", "bob", "camera")
		bob.Wait(`roomtape.state === 'outside' && document.getElementById('door-error').textContent.includes('somewhere else')`)
		sees(t, alice, "bob")
		sees(t, again, "alice")
	})

	for name, p := range map[string]*browser.Page{"alice": alice, "bob": bob} {
		if errs := p.Errors(); len(errs) > 0 {
			t.Errorf("%s's console: %q", name, errs)
		}
	}
}

func TestPageComesBackWhenItsServerDoes(t *testing.T) {
	rooms := server.New(server.Config{})
	ts := httptest.NewServer(rooms)
	addr := ts.Listener.Addr().String()
	b := browser.Start(t)
	p := b.Open(ts.URL + "/?room=r&name=alice&source=pattern&join=1")
	p.Wait(`roomtape.state === 'joined'`)
	if err := rooms.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ts.Close()
	p.Wait(`roomtape.state === 'reconnecting' && document.getElementById('notice').textContent.includes('Trying again')`)

	rooms = server.New(server.Config{})
	ts = httptest.NewUnstartedServer(rooms)
	if err := listen(ts, addr); err != nil {
		t.Fatal(err)
	}
	ts.Start()
	p.Wait(`roomtape.state === 'joined' && document.getElementById('notice').textContent === ''`)
	if err := rooms.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ts.Close()
}

// TestMediaOutlivesTheServer restarts the server under two pages: both come back,
// and the connections between them stay, with everything that they carry.
func TestMediaOutlivesTheServer(t *testing.T) {
	rooms := server.New(server.Config{})
	ts := httptest.NewServer(rooms)
	addr := ts.Listener.Addr().String()
	h := &house{t: t, url: ts.URL, b: browser.Start(t)}
	alice, bob := h.open("r", "alice", "pattern"), h.open("r", "bob", "pattern")
	sees(t, alice, "bob")
	sees(t, bob, "alice")
	for _, p := range []*browser.Page{alice, bob} {
		p.Eval(`globalThis.kept = roomtape.peers[0].connection;
			globalThis.lost = async () => (await inbound(roomtape.peers[0].id, 'video')).packetsLost ?? 0; true`, nil)
	}
	for range 2 {
		if err := rooms.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		ts.Close()
		for _, p := range []*browser.Page{alice, bob} {
			p.Wait(`roomtape.state === 'reconnecting'`)
		}
		sees(t, alice, "bob") // while there is no server at all
		sees(t, bob, "alice")
		rooms = server.New(server.Config{})
		ts = httptest.NewUnstartedServer(rooms)
		if err := listen(ts, addr); err != nil {
			t.Fatal(err)
		}
		ts.Start()
		for _, p := range []*browser.Page{alice, bob} {
			p.Wait(`roomtape.state === 'joined'`)
		}
		sees(t, alice, "bob")
		sees(t, bob, "alice")
	}
	for name, p := range map[string]*browser.Page{"alice": alice, "bob": bob} {
		var same bool
		var lost, peers int
		p.Eval(`roomtape.peers[0].connection === kept`, &same)
		p.Eval(`lost()`, &lost)
		p.Eval(`roomtape.peers.length`, &peers)
		if !same || lost > 0 || peers != 1 {
			t.Errorf("%s: same connection %v, %d packets lost, %d peers", name, same, lost, peers)
		}
	}

	// Who came back later has to make another connection when this one ends.
	for _, p := range []*browser.Page{alice, bob} {
		p.Eval(`kept.close()`, nil)
	}
	if err := rooms.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ts.Close()
	rooms = server.New(server.Config{})
	ts = httptest.NewUnstartedServer(rooms)
	if err := listen(ts, addr); err != nil {
		t.Fatal(err)
	}
	ts.Start()
	t.Cleanup(func() { _ = rooms.Shutdown(context.Background()); ts.Close() })
	for _, p := range []*browser.Page{alice, bob} {
		p.Wait(`roomtape.state === 'joined'`)
	}
	sees(t, alice, "bob")
	sees(t, bob, "alice")
}

func TestRefusalIsShownAtTheDoor(t *testing.T) {
	rooms := server.New(server.Config{MaxPeers: 1})
	ts := httptest.NewServer(rooms)
	t.Cleanup(func() { _ = rooms.Shutdown(context.Background()); ts.Close() })
	b := browser.Start(t)
	first := b.Open(ts.URL + "/?room=r&name=alice&source=none&join=1")
	first.Wait(`roomtape.state === 'joined'`)
	p := b.Open(ts.URL + "/?room=r&name=bob&source=none&join=1")
	p.Wait(`roomtape.state === 'outside' && document.getElementById('door-error').textContent === 'This room is full.'`)
}

// TestPictures takes pictures of the page for people to look at, into the
// folder that ROOMTAPE_PICTURES names.
func TestPictures(t *testing.T) {
	dir := os.Getenv("ROOMTAPE_PICTURES")
	if dir == "" {
		t.Skip("ROOMTAPE_PICTURES names no folder for pictures of the page")
	}
	h := newHouse(t)
	shot := func(p *browser.Page, name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name+".png"), p.Screenshot(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	door := h.b.Open(h.url + "/?room=standup")
	door.Size(1280, 800, 1, false)
	shot(door, "door")
	door.Prefer("prefers-color-scheme", "dark")
	shot(door, "door-dark")
	door.Size(390, 844, 2, true)
	shot(door, "door-phone")
	door.Close()

	alice := h.open("standup", "Alice", "pattern")
	alice.Size(1280, 800, 1, false)
	shot(alice, "alone")
	ben := h.open("standup", "Ben", "pattern")
	mira := h.open("standup", "Mira Okafor", "pattern")
	bot := h.open("standup", "recorder-7f3a", "none")
	for _, p := range []*browser.Page{ben, mira, bot} {
		p.Wait(`roomtape.peers.filter((p) => p.open).length === 3`)
	}
	bot.Eval(`roomtape.tell({type: 'recording', state: 'started'})`, nil)
	ben.Eval(`roomtape.mute()`, nil)
	for _, name := range []string{"Ben", "Mira Okafor"} {
		sees2 := fmt.Sprintf(`advances(%q, 'video', 'framesDecoded', 20)`, name)
		alice.Wait(sees2)
	}
	alice.Wait(`roomtape.recorders.length === 1 && roomtape.states.Ben.mic === false`)
	alice.Wait(`Date.now() % 1000 > 300 && Date.now() % 1000 < 600`)
	shot(alice, "room")
	ben.Eval(`roomtape.say('Morning! Is this one being recorded?')`, nil)
	mira.Eval(`roomtape.say('It is: see the red badge at the top.')`, nil)
	alice.Wait(`roomtape.chat.length === 2`)
	shot(alice, "room-unread")
	alice.Press("c")
	alice.Eval(`document.getElementById('chat-text').value = ''`, nil)
	alice.Eval(`roomtape.say('Good. Slides in a minute.')`, nil)
	mira.Eval(`roomtape.hide()`, nil)
	alice.Wait(`tile('Mira Okafor').classList.contains('dark') && Date.now() % 1000 > 300`)
	shot(alice, "room-chat")
	alice.Prefer("prefers-color-scheme", "dark")
	alice.Wait(`Date.now() % 1000 > 300`)
	shot(alice, "room-dark")
	alice.Eval(`document.getElementById('chat-close').click(); document.activeElement.blur()`, nil)
	alice.Size(390, 844, 2, true)
	alice.Wait(`Date.now() % 1000 > 500`)
	shot(alice, "room-phone")
	alice.Press("c")
	shot(alice, "room-phone-chat")
}
