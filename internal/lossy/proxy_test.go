package lossy_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// front starts a room server and a proxy before it, and gives the proxy's URL.
func front(t *testing.T, relay *lossy.Relay) string {
	t.Helper()
	rooms := server.New(server.Config{})
	back := httptest.NewServer(rooms)
	proxy := lossy.NewProxy(relay, "ws"+strings.TrimPrefix(back.URL, "http"))
	front := httptest.NewServer(proxy)
	t.Cleanup(func() {
		proxy.Close()
		front.Close()
		_ = rooms.Shutdown(context.Background())
		back.Close()
		relay.Close()
	})
	return front.URL
}

func ws(url string) string { return "ws" + strings.TrimPrefix(url, "http") + "/ws/room" }

// clip plays some 600 packets a second.
func clip(t *testing.T) *synthetic.Clip {
	t.Helper()
	const dir = "../../cmd/roomtape/clips/"
	video, err := os.ReadFile(dir + "alice.ivf")
	if err != nil {
		t.Fatal(err)
	}
	audio, err := os.ReadFile(dir + "alice.ogg")
	if err != nil {
		t.Fatal(err)
	}
	c, err := synthetic.ReadClip(bytes.NewReader(video), bytes.NewReader(audio))
	if err != nil {
		t.Fatal(err)
	}
	for i, frame := range c.Video {
		c.Video[i] = append(frame, make([]byte, 20_000)...)
	}
	return c
}

// TestAllMediaGoesThroughTheRelay has a participant play to our own peer over a
// network that loses a tenth: each packet that arrived is one that the relay has
// sent on, and it has lost what it was told to lose.
func TestAllMediaGoesThroughTheRelay(t *testing.T) {
	relay := lossy.NewRelay(5)
	url := ws(front(t, relay))
	relay.Set("*", "*", lossy.Odds{Loss: 0.1, Delay: 5 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	alice, err := synthetic.Join(ctx, synthetic.Config{URL: url, Room: "room", PeerID: "alice", Clip: clip(t), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	room, err := mesh.Dial(ctx, mesh.Config{URL: url, PeerID: "bot", Peer: peer.Config{Loopback: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()

	var arrived uint64
	next := func(until time.Time) signaling.EventKind {
		e, err := room.Next(ctx, until)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == signaling.PacketArrived {
			arrived++
			e.Packet.Release()
		}
		return e.Kind
	}
	for arrived < 1500 {
		next(time.Time{})
	}
	alice.Stop()
	for next(time.Now().Add(200*time.Millisecond)) != signaling.Tick {
		continue // until nothing has come for a while
	}
	c := relay.Counts("alice", "bot")
	if c.MediaSent != arrived {
		t.Errorf("%d packets have arrived, the relay has sent %d on", arrived, c.MediaSent)
	}
	if loss := float64(c.MediaLost) / float64(c.Media); loss < 0.06 || loss > 0.14 || c.Media != c.MediaSent+c.MediaLost {
		t.Errorf("it should lose a tenth of the media: %v", c)
	}
	if c := relay.Counts("bot", "alice"); c.Lost == 0 || c.Media != 0 || c.Packets < 20 {
		t.Errorf("on the way back: %v", c)
	}
}

func TestProxyPassesTheEndOfASocketOn(t *testing.T) {
	relay := lossy.NewRelay(1)
	url := front(t, relay)
	join := func() *websocket.Conn {
		c, _, err := websocket.Dial(t.Context(), ws(url), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"type":"join","peer_id":"alice","room_id":"room"}`)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(t.Context()); err != nil || !bytes.Contains(b, []byte("room_peers")) {
			t.Fatalf("the server answers %s, %v", b, err)
		}
		return c
	}
	old := join()
	join() // takes the other's place
	var err error
	for err == nil {
		_, _, err = old.Read(t.Context())
	}
	if code := websocket.CloseStatus(err); code != server.StatusReplaced {
		t.Errorf("the server closes a socket with %d, and the client sees %v", server.StatusReplaced, err)
	}
}

func TestProxyPassesOtherRequestsOn(t *testing.T) {
	relay := lossy.NewRelay(1)
	url := front(t, relay)
	r, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || !bytes.Contains(b, []byte("ok")) {
		t.Errorf("%s %q, %v", r.Status, b, err)
	}
}

func TestWithoutAServerThereIsNoSocket(t *testing.T) {
	relay := lossy.NewRelay(1)
	defer relay.Close()
	proxy := lossy.NewProxy(relay, "ws://127.0.0.1:1")
	defer proxy.Close()
	front := httptest.NewServer(proxy)
	defer front.Close()
	_, r, err := websocket.Dial(t.Context(), ws(front.URL), nil)
	if err == nil || r == nil || r.StatusCode != http.StatusBadGateway {
		t.Errorf("the handshake gives %v", err)
	}
}
