package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling/turn"
)

// TestServeTURN: /turn gives credentials that the server takes, by every URI, and
// /metrics tells about it.
func TestServeTURN(t *testing.T) {
	r, err := startRooms(serveOptions{listen: "127.0.0.1:0", turn: &turnOptions{
		plain: "127.0.0.1:0", host: "turn.example.org", ttl: time.Hour,
		config: turn.Config{Secret: "north", Public: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	get := func(path string) string {
		resp, err := http.Get(r.url("http") + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %s, %v", path, resp.Status, err)
		}
		return string(b)
	}
	text := get("/turn?user=alice")
	for _, want := range []string{`:alice"`, `"ttl":3600`, `"turn:turn.example.org:`, `?transport=udp"`, `?transport=tcp"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	given := r.turn.relay("alice", time.Minute)
	if c := (turn.Credentials{Username: given.Username, Password: given.Password}); given.TTL != 60 || !c.Verify("north") {
		t.Errorf("for a minute at most: %d s", given.TTL)
	}
	expires, name, err := turn.ParseUsername(given.Username)
	if in := time.Until(time.Unix(expires, 0)); err != nil || name != "alice" || in < 50*time.Second || in > time.Minute {
		t.Errorf("%q in %v, %v", name, in, err)
	}
	for _, want := range []string{"roomtape_turn_allocations 0", `roomtape_turn_refused_total{reason="expired"} 0`, `roomtape_turn_bytes_total{direction="to_peers"} 0`,
		`roomtape_turn_over_bitrate_packets_total{direction="from_peers"} 0`, "roomtape_server_credentials_total 1"} {
		if text := get("/metrics"); !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	if a := ownAddress(); !a.IsValid() || a.IsUnspecified() || a.Zone() != "" {
		t.Errorf("it is %v", a)
	}
}
