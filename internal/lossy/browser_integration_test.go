//go:build integration

package lossy_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/peer"
)

// TestBrowserMediaGoesThroughTheRelay is the same with a real browser.
func TestBrowserMediaGoesThroughTheRelay(t *testing.T) {
	relay := lossy.NewRelay(5)
	base := front(t, relay)
	relay.Set("*", "*", lossy.Odds{Loss: 0.05, Delay: 20 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	room, err := mesh.Dial(ctx, mesh.Config{URL: ws(base), PeerID: "bot", Peer: peer.Config{Loopback: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	q := url.Values{"room": {"room"}, "name": {"alice"}, "source": {"pattern"}, "join": {"1"}}
	page := browser.Start(t).Open(base + "/?" + q.Encode())
	page.Wait(`roomtape.state === 'joined'`)

	var arrived uint64
	next := func(until time.Time) signaling.Event {
		e, err := room.Next(ctx, until)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == signaling.PacketArrived {
			arrived++
			e.Packet.Release()
		}
		return e
	}
	for arrived < 1500 {
		next(time.Time{})
	}
	page.Eval(`roomtape.leave()`, nil)
	for e := next(time.Time{}); e.Kind != signaling.Left; e = next(time.Time{}) {
		continue
	}
	c := relay.Counts("alice", "bot")
	t.Log("from the browser:", c)
	// What comes after the goodbye is not counted by who has hung up, nor is
	// what repeats a packet that has come.
	if arrived > c.MediaSent || arrived < c.MediaSent*9/10 {
		t.Errorf("%d packets have arrived, the relay has sent %d on", arrived, c.MediaSent)
	}
	if loss := float64(c.MediaLost) / float64(c.Media); loss < 0.02 || loss > 0.08 {
		t.Errorf("it should lose a twentieth of the media: %v", c)
	}
}
