//go:build integration

package main

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"
	pionturn "github.com/pion/turn/v5"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
	"github.com/roomtape/roomtape/signaling/turn"
)

// allocate makes allocations from an address for as long as ctx lasts, and keeps
// all it gets.
func allocate(ctx context.Context, from, server string, c turn.Credentials, got *atomic.Int64) {
	quiet := logging.NewDefaultLoggerFactory()
	quiet.Writer = io.Discard
	for ctx.Err() == nil {
		conn, err := net.ListenPacket("udp4", from+":0")
		if err != nil {
			return
		}
		client, err := pionturn.NewClient(&pionturn.ClientConfig{
			STUNServerAddr: server, TURNServerAddr: server, Username: c.Username, Password: c.Password,
			Conn: conn, LoggerFactory: quiet, RTO: 100 * time.Millisecond,
		})
		if err == nil {
			err = client.Listen()
		}
		if err == nil {
			_, err = client.Allocate()
		}
		if err != nil {
			_ = conn.Close()
			continue
		}
		got.Add(1)
		defer func() {
			client.Close()
			_ = conn.Close()
		}()
	}
}

// TestAllocationFloodDoesNotDisturbARecording records two people through a TURN
// server that others flood with requests and allocations meanwhile.
func TestAllocationFloodDoesNotDisturbARecording(t *testing.T) {
	const perAddress = 50
	home := netip.MustParsePrefix("127.0.0.0/8")
	r, err := startRooms(serveOptions{listen: "127.0.0.1:0", turn: &turnOptions{
		plain: "127.0.0.1:0", ttl: turn.DefaultTTL,
		config: turn.Config{
			Secret: "north", Public: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Allow: []netip.Prefix{home},
			MaxPerAddress: perAddress, MaxBitrate: 50_000_000,
		},
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.stop() }()
	url := r.url("ws") + "/ws/test"
	people := map[string]*synthetic.Peer{"alice": enter(t, url, "alice", "alice"), "bob": enter(t, url, "bob", "bob")}
	dir := t.TempDir()
	p := start(t, "record", "--out", dir, "--session", "s", "--ice-policy", "relay", "--ice-server", r.turn.uris[0], "--turn-secret", "north", url)
	waitFor(t, "the recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })

	address := r.turn.uris[0][len("turn:"):]
	address = address[:len(address)-len("?transport=udp")]
	ctx, stop := context.WithTimeout(t.Context(), floodTime)
	defer stop()
	var got, sent atomic.Int64
	var wg sync.WaitGroup
	good := r.turn.Credentials("flood", time.Hour)
	for _, from := range []string{"127.0.0.2", "127.0.0.3"} {
		for range 2 {
			wg.Go(func() { allocate(ctx, from, address, good, &got) })
		}
	}
	forged := good
	forged.Password = "wrong"
	wg.Go(func() { allocate(ctx, "127.0.0.4", address, forged, &got) })
	request, err := hex.DecodeString("000300002112a442000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 5)}}
		c, err := d.DialContext(ctx, "udp4", address)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for ctx.Err() == nil {
			if _, err := c.Write(request); err == nil {
				sent.Add(1)
			}
		}
	})
	most := 0
	for ctx.Err() == nil {
		most = max(most, r.turn.Stats().AllocationsNow)
		after(t, 50*time.Millisecond)
	}
	wg.Wait()
	s := r.turn.Stats()
	t.Logf("%d allocations got, %d at once with the recorder's; %d bare requests sent; refused: %v", got.Load(), most, sent.Load(), s.Refused)
	if got.Load() < perAddress || got.Load() > 2*perAddress {
		t.Errorf("%d allocations of two addresses that may have %d each", got.Load(), perAddress)
	}
	if s.Refused["quota_address"] == 0 || s.Refused["forged"] == 0 || s.Refused["rate"] == 0 || s.PacketsFromPeers == 0 {
		t.Errorf("%+v", s)
	}

	want := leave(t, filepath.Join(dir, "s"), people)
	p.stop(t)
	for id, n := range want {
		frames := frames(t, filepath.Join(dir, "s", id+".webm"))
		t.Logf("%s: %d pictures and %d packets of sound sent, %v recorded", id, n[0], n[1], frames)
		if frames[media.Video] != n[0] || frames[media.Audio] != n[1] {
			t.Errorf("%s: %v, %v were sent", id, frames, n)
		}
	}
}
