package turn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

const patience = 10 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

// home is a server on loopback addresses.
type home struct {
	*Server
	addr map[string]string // by "udp", "tcp" and "tls"
	tls  *tls.Config
}

func newHome(t *testing.T, cfg Config) *home {
	t.Helper()
	cfg.Secret, cfg.Public = "north", []netip.Addr{loopback}
	if cfg.Allow == nil {
		cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
	h := &home{addr: map[string]string{}, tls: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr["udp"] = udp.LocalAddr().String()
	var listeners []net.Listener
	for _, kind := range []string{"tcp", "tls"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.addr[kind] = l.Addr().String()
		if kind == "tls" {
			l = tls.NewListener(l, h.tls)
		}
		listeners = append(listeners, l)
	}
	if h.Server, err = New(cfg, []net.PacketConn{udp}, listeners); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// client connects without an allocation.
func (h *home) client(t *testing.T, kind string, c Credentials) *turn.Client {
	t.Helper()
	quiet := logging.NewDefaultLoggerFactory()
	quiet.Writer = io.Discard
	cfg := &turn.ClientConfig{
		STUNServerAddr: h.addr[kind], TURNServerAddr: h.addr[kind],
		Username: c.Username, Password: c.Password, LoggerFactory: quiet, RTO: 500 * time.Millisecond,
	}
	var conn net.Conn
	var err error
	switch kind {
	case "udp":
		cfg.Conn, err = net.ListenPacket("udp4", "127.0.0.1:0")
	case "tcp":
		conn, err = net.Dial("tcp", h.addr[kind])
	case "tls":
		conn, err = tls.Dial("tcp", h.addr[kind], &tls.Config{InsecureSkipVerify: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	if conn != nil {
		cfg.Conn = turn.NewSTUNConn(conn)
	}
	client, err := turn.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		_ = cfg.Conn.Close()
	})
	return client
}

func (h *home) allocate(t *testing.T, kind string) net.PacketConn {
	t.Helper()
	c, err := h.client(t, kind, h.Credentials("alice", time.Hour)).Allocate()
	if err != nil {
		t.Fatalf("%s: allocating: %v", kind, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// until waits for something that nothing tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// TestRelays sends to and fro by every kind of listener.
func TestRelays(t *testing.T) {
	h := newHome(t, Config{})
	echo, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(b[:n], from)
		}
	}()
	for _, kind := range []string{"udp", "tcp", "tls"} {
		c := h.allocate(t, kind)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 2000)
		for _, size := range []int{5, 6, 8, 1200, 7, 1400} {
			sent := bytes.Repeat([]byte{byte(size)}, size)
			if _, err := c.WriteTo(sent, echo.LocalAddr()); err != nil {
				t.Fatalf("%s, %d bytes: %v", kind, size, err)
			}
			n, from, err := c.ReadFrom(b)
			if err != nil || !bytes.Equal(b[:n], sent) || from.String() != echo.LocalAddr().String() {
				t.Fatalf("%s, %d bytes: got %d from %v, %v", kind, size, n, from, err)
			}
		}
	}
	// The two ends of a call may both be behind the relay.
	a, b := h.allocate(t, "udp"), h.allocate(t, "tls")
	for _, c := range []net.PacketConn{a, b} {
		_ = c.SetReadDeadline(time.Now().Add(patience))
	}
	if _, err := b.WriteTo([]byte("open"), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, _, err := b.ReadFrom(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	s := h.Stats()
	if s.AllocationsNow != 5 || s.Allocations != 5 || s.ConnectionsNow != 3 || s.PacketsToPeers < 20 || s.PacketsFromPeers < 19 ||
		s.BytesFromPeers < 3*2626 || s.BytesToPeers < 3*2626 {
		t.Errorf("stats: %+v", s)
	}
}

func TestRefusesCredentials(t *testing.T) {
	h := newHome(t, Config{})
	now := time.Now()
	good := NewCredentials("north", "alice", now.Add(time.Hour))
	for name, tt := range map[string]struct {
		c   Credentials
		why string
	}{
		"expired":           {NewCredentials("north", "alice", now.Add(-time.Second)), "expired"},
		"other secret":      {NewCredentials("south", "alice", now.Add(time.Hour)), "forged"},
		"longer than given": {Credentials{fmt.Sprint(now.Add(48*time.Hour).Unix(), ":alice"), good.Password}, "forged"},
		"another's name":    {Credentials{strings.Replace(good.Username, "alice", "bob", 1), good.Password}, "forged"},
		"no expiry":         {Credentials{"alice", password("north", "alice")}, "malformed"},
		"negative":          {Credentials{"-1:alice", password("north", "-1:alice")}, "malformed"},
	} {
		for _, kind := range []string{"udp", "tcp", "tls"} {
			before := h.Stats().Refused[tt.why]
			if c, err := h.client(t, kind, tt.c).Allocate(); err == nil {
				_ = c.Close()
				t.Errorf("%s by %s: allocated", name, kind)
			}
			if got := h.Stats().Refused[tt.why]; got <= before {
				t.Errorf("%s by %s: %d refused as %s", name, kind, got, tt.why)
			}
		}
	}
	if n := h.Stats().Allocations; n != 0 {
		t.Errorf("%d allocations", n)
	}
}

// TestAllocationOutlivesCredentials: it can be used and refreshed, but nothing
// more is allocated.
func TestAllocationOutlivesCredentials(t *testing.T) {
	h := newHome(t, Config{})
	c := h.client(t, "udp", h.Credentials("alice", 2*time.Second))
	conn, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	expires := h.Credentials("alice", 2*time.Second).Username
	end, _, _ := ParseUsername(expires)
	until(t, "the credentials' end", func() bool { return time.Now().Unix() > end })
	if err := c.CreatePermission(&net.UDPAddr{IP: loopback.AsSlice(), Port: 9}); err != nil {
		t.Errorf("a permission: %v", err)
	}
	if err := conn.Close(); err != nil { // a refresh for 0 s
		t.Error(err)
	}
	until(t, "its end", func() bool { return h.Stats().AllocationsNow == 0 })
}

func TestRefusesPeers(t *testing.T) {
	h := newHome(t, Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	for _, kind := range []string{"udp", "tcp"} {
		c := h.client(t, kind, h.Credentials("alice", time.Hour))
		conn, err := c.Allocate()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		for _, ip := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "224.0.0.1", "0.0.0.0"} {
			if err := c.CreatePermission(&net.UDPAddr{IP: net.ParseIP(ip), Port: 80}); err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("%s: %v", ip, err)
			}
		}
		for _, ip := range []string{"127.0.0.2", "8.8.8.8"} {
			if err := c.CreatePermission(&net.UDPAddr{IP: net.ParseIP(ip), Port: 80}); err != nil {
				t.Errorf("%s: %v", ip, err)
			}
		}
	}
	if n := h.Stats().Refused["peer"]; n < 14 {
		t.Errorf("%d peers refused", n)
	}
}

func TestTooManyPeersOfOne(t *testing.T) {
	h := newHome(t, Config{})
	c := h.client(t, "udp", h.Credentials("alice", time.Hour))
	conn, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	peer := func(i int) net.Addr { return &net.UDPAddr{IP: net.IPv4(8, 8, byte(i>>8), byte(i)), Port: 80} }
	for i := range maxPeers {
		if err := c.CreatePermission(peer(i)); err != nil {
			t.Fatalf("peer %d: %v", i, err)
		}
	}
	if err := c.CreatePermission(peer(maxPeers)); err == nil {
		t.Error("there is one more")
	}
	if err := c.CreatePermission(peer(0)); err != nil {
		t.Errorf("a known one: %v", err)
	}
}

func TestQuotas(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  Config
		name string // of the one too many
		why  string
	}{
		"user":    {Config{MaxPerUser: 2}, "alice", "quota_user"},
		"address": {Config{MaxPerAddress: 2}, "bob", "quota_address"},
		"total":   {Config{MaxAllocations: 2}, "bob", "quota_total"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, tt.cfg)
			first := h.allocate(t, "udp")
			h.allocate(t, "tcp")
			_, err := h.client(t, "udp", h.Credentials(tt.name, 30*time.Minute)).Allocate()
			if err == nil || !strings.Contains(err.Error(), "486") || h.Stats().Refused[tt.why] != 1 {
				t.Errorf("%v, %v", err, h.Stats().Refused)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			until(t, "its end", func() bool { return h.Stats().AllocationsNow == 1 })
			if _, err := h.client(t, "udp", h.Credentials(tt.name, 30*time.Minute)).Allocate(); err != nil {
				t.Errorf("when there is place: %v", err)
			}
		})
	}
}

func TestPortRange(t *testing.T) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(free.LocalAddr().(*net.UDPAddr).Port)
	_ = free.Close()
	h := newHome(t, Config{MinPort: port, MaxPort: port})
	c := h.allocate(t, "udp")
	if got := c.LocalAddr().String(); got != fmt.Sprint("127.0.0.1:", port) {
		t.Errorf("relayed at %s, want port %d", got, port)
	}
	if _, err := h.client(t, "udp", h.Credentials("bob", time.Hour)).Allocate(); err == nil || h.Stats().Refused["no_port"] == 0 {
		t.Errorf("with no port left: %v, %v", err, h.Stats().Refused)
	}
}

// TestOnlyUDPIsRelayed: there are no TCP allocations (RFC 6062), by which one
// could connect to anything.
func TestOnlyUDPIsRelayed(t *testing.T) {
	h := newHome(t, Config{})
	if _, err := h.client(t, "tcp", h.Credentials("alice", time.Hour)).AllocateTCP(); err == nil {
		t.Error("TCP is allocated")
	}
}

// TestHostileStreams: what is no TURN ends the connection, also a length that is
// about to overflow; nobody else notices, and who sends nothing is not kept.
func TestHostileStreams(t *testing.T) {
	h := newHome(t, Config{idle: 300 * time.Millisecond})
	good := h.client(t, "tcp", h.Credentials("alice", time.Hour))
	conn, err := good.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, text := range map[string]string{
		"HTTP":            hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")),
		"length overflow": "0001ffec2112a442000000000000000000000000",
		"not padded":      "000100032112a442000000000000000000000000000000",
		"too long":        "4000ffff",
		"silence":         "",
		"half a message":  "00010000",
	} {
		c, err := net.Dial("tcp", h.addr["tcp"])
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 100)); n > 0 || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		_ = c.Close()
	}
	until(t, "only one connection", func() bool { return h.Stats().ConnectionsNow == 1 })
	if err := good.CreatePermission(&net.UDPAddr{IP: net.IPv4(8, 8, 8, 8), Port: 80}); err != nil {
		t.Errorf("another client: %v", err)
	}
}

// TestFloodOfRequests: one address gets no more answers than it may, and what is
// no request gets none.
func TestFloodOfRequests(t *testing.T) {
	h := newHome(t, Config{Rate: 10})
	c, err := net.Dial("udp", h.addr["udp"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request, _ := hex.DecodeString("000300002112a442000000000000000000000000")
	response, _ := hex.DecodeString("010100002112a442000000000000000000000000")
	for range 500 {
		_, _ = c.Write(request)
		_, _ = c.Write(response)
		_, _ = c.Write([]byte("xyz"))
	}
	until(t, "a refusal", func() bool { return h.Stats().Refused["rate"] > 300 })
	answers := 0
	b := make([]byte, 1000)
	for {
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Read(b); err != nil {
			break
		}
		answers++
	}
	if answers < 10 || answers > 80 {
		t.Errorf("%d answers", answers)
	}
}

// TestCloseLeavesNothing closes a server that is in use.
func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("in use", func(t *testing.T) {
		h := newHome(t, Config{})
		for _, kind := range []string{"udp", "tcp", "tls"} {
			h.allocate(t, kind)
		}
		c, err := net.Dial("tcp", h.addr["tls"])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if s := h.Stats(); s.AllocationsNow != 0 || s.ConnectionsNow != 0 {
			t.Errorf("stats: %+v", s)
		}
		if err := h.Close(); err != nil {
			t.Errorf("again: %v", err)
		}
		for _, kind := range []string{"tcp", "tls"} {
			if c, err := net.Dial("tcp", h.addr[kind]); err == nil {
				_ = c.Close()
				t.Errorf("%s still listens", kind)
			}
		}
	})
	until(t, "no goroutine more than before", func() bool { return runtime.NumGoroutine() <= before })
}

// TestLostConnectionEndsAllocation: over TCP, who is gone holds nothing.
func TestLostConnectionEndsAllocation(t *testing.T) {
	h := newHome(t, Config{})
	conn, err := net.Dial("tcp", h.addr["tcp"])
	if err != nil {
		t.Fatal(err)
	}
	user := h.Credentials("alice", time.Hour)
	c, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: h.addr["tcp"], Username: user.Username, Password: user.Password, Conn: turn.NewSTUNConn(conn),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Allocate(); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	until(t, "an end of the allocation", func() bool { s := h.Stats(); return s.AllocationsNow == 0 && s.ConnectionsNow == 0 })
}

func TestBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no secret":    {Public: []netip.Addr{loopback}},
		"no address":   {Secret: "s"},
		"any address":  {Secret: "s", Public: []netip.Addr{netip.IPv4Unspecified()}},
		"two of IPv4":  {Secret: "s", Public: []netip.Addr{loopback, netip.MustParseAddr("192.0.2.1")}},
		"wrong range":  {Secret: "s", Public: []netip.Addr{loopback}, MinPort: 2, MaxPort: 1},
		"no listeners": {Secret: "s", Public: []netip.Addr{loopback}},
	} {
		if s, err := New(cfg, nil, nil); err == nil {
			t.Errorf("%s: a server", name)
			_ = s.Close()
		}
	}
}
