//go:build integration

package server_test

import (
	"testing"
)

// crossing has a page subscribe as soon as it knows of a track, and hold its first
// offer back until one of the server's has come: the two cross.
const crossing = `
globalThis.crossed = false;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
	if (crossed) return send.call(this, text);
	const m = JSON.parse(text);
	if (m.type !== 'join') {
		this.held.push(text);
		return;
	}
	this.held = [];
	send.call(this, text);
	this.addEventListener('message', ({data}) => {
		if (crossed) return;
		const got = JSON.parse(data);
		if (got.type === 'track_available') {
			send.call(this, JSON.stringify({type: 'subscribe_track', publisher_id: got.participant_id, track_id: got.track_id}));
		}
		if (got.type === 'offer') {
			crossed = true;
			for (const one of this.held) send.call(this, one);
		}
	});
};
true`

// TestOffersThatCross has the server's first offer cross a page's first offer.
func TestOffersThatCross(t *testing.T) {
	h := newForwardingHouse(t)
	alice := h.open("r", "alice", "pattern")
	bob := h.b.Open(h.url + "/?room=r&name=bob&source=pattern")
	bob.Eval(inspection, nil)
	bob.Eval(inLines, nil)
	bob.Eval(crossing, nil)
	bob.Eval(`roomtape.join({room: 'r', name: 'bob', source: 'pattern'})`, nil)
	bob.Wait(`roomtape.state === 'joined'`)
	bob.Wait(`crossed`)
	alice.Eval(inLines, nil)
	sees(t, bob, "alice")
	sees(t, alice, "bob")
}
