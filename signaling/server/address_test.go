package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
)

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:5":              "192.0.2.1/32",
		"[::ffff:192.0.2.1]:5":     "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:5": "2001:db8:1:2::/64",
		"[2001:db8:1:2::1]:99":     "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5":         "fe80::/64",
	} {
		if got := addressOf(remote); got != netip.MustParsePrefix(want) {
			t.Errorf("%s counts as %v, want %s", remote, got, want)
		}
	}
	if addressOf("pipe") != (netip.Prefix{}) || addressOf("@") != addressOf("") {
		t.Error("addresses that can't be read are not one")
	}
}

func TestSocketsOfOneAddressAreLimited(t *testing.T) {
	inHouse(t, Config{AddressSockets: 2}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		h.dial("/") // not joined, but there
		refused := func() bool {
			c, resp, err := websocket.Dial(t.Context(), "ws://house/", &websocket.DialOptions{HTTPClient: h.client})
			if err == nil {
				_ = c.CloseNow()
				return false
			}
			return resp != nil && resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != ""
		}
		if !refused() {
			t.Error("a third socket is let in, or refused with another status than 429")
		}
		a.leave()
		synctest.Wait()
		if refused() {
			t.Error("refused though one has left")
		}
	})
}

func TestJoinsOfOneAddressAreLimited(t *testing.T) {
	inHouse(t, Config{AddressJoins: 1}, func(t *testing.T, h *house) {
		dial := func() bool {
			c, _, err := websocket.Dial(t.Context(), "ws://house/", &websocket.DialOptions{HTTPClient: h.client})
			if err == nil {
				_ = c.CloseNow()
			}
			return err == nil
		}
		let := 0
		for range 30 {
			if dial() {
				let++
			}
		}
		if let != addressBurst {
			t.Errorf("%d of 30 at once are let in, want %d", let, addressBurst)
		}
		time.Sleep(time.Second) // fake
		if !dial() || dial() {
			t.Error("after a second, it is not one more")
		}
		// Attempts on one socket count as well; they wait.
		time.Sleep(time.Second)
		c := h.dial("/")
		begin := time.Now()
		for range 3 {
			c.send(`{"type":"join"}`)
			c.wantError(message.CodeBadPeerID)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("three attempts took %v, want 2s", took)
		}
	})
}

func TestMessagesOfOneAddressAreSlowedTogether(t *testing.T) {
	inHouse(t, Config{AddressMessages: 10, MaxMessage: 4096}, func(t *testing.T, h *house) {
		to := h.join("r", "to")
		a, b := h.join("r", "a", "to"), h.join("r", "b", "to", "a")
		for _, want := range []string{"a", "b"} {
			to.wantMessage(message.Message{Type: message.PeerJoined, PeerID: want})
		}
		begin := time.Now()
		for _, c := range []*client{a, b} {
			go func() { // so that it is no slow reader
				for {
					if _, _, err := c.conn.Read(t.Context()); err != nil {
						return
					}
				}
			}()
			go func() {
				for i := range 100 {
					if c.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"type":"offer","target":"to","offer":%d}`, i)) != nil {
						return
					}
				}
			}()
		}
		for range 200 {
			if m := to.read(); !strings.Contains(m, `"offer"`) {
				t.Fatalf("read %s", m)
			}
		}
		// 203 messages, of which 100 are free.
		if took := time.Since(begin); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("200 messages took %v, want about 10s", took)
		}
	})
}

func TestAddressesAreForgotten(t *testing.T) {
	var l addresses
	cfg := Config{}.withDefaults()
	now := time.Now()
	prefix := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	stays, refusal := l.enter(prefix(0), cfg, now)
	if refusal != "" {
		t.Fatal(refusal)
	}
	for i := 1; i < maxAddresses; i++ {
		a, refusal := l.enter(prefix(i), cfg, now)
		if refusal != "" {
			t.Fatal(i, refusal)
		}
		l.leave(a)
	}
	if _, refusal := l.enter(prefix(maxAddresses), cfg, now); refusal == "" {
		t.Error("there is no end of addresses")
	}
	if _, refusal := l.enter(prefix(maxAddresses), cfg, now.Add(time.Hour)); refusal != "" {
		t.Errorf("an hour later: %s", refusal)
	}
	if len(l.known) != 2 || l.known[prefix(0)] != stays {
		t.Errorf("%d addresses are known, want the one that is there and the new one", len(l.known))
	}
	unlimited := Config{AddressSockets: -1, AddressJoins: -1, AddressMessages: -1}.withDefaults()
	l = addresses{}
	for range 5000 {
		if _, refusal := l.enter(prefix(0), unlimited, now); refusal != "" {
			t.Fatal(refusal)
		}
	}
}
