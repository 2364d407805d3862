//go:build integration

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/turn"
)

// coturn starts a TURN server that is not ours, on 127.0.0.1, and gives its port.
func coturn(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skipf("no coturn: %v", err)
	}
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.LocalAddr().(*net.UDPAddr).Port)
	_ = l.Close()
	c := exec.CommandContext(t.Context(), path, append([]string{
		"-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", port, "--realm", "test",
		"--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout",
		"--pidfile", filepath.Join(t.TempDir(), "pid"), "--userdb", filepath.Join(t.TempDir(), "db"),
	}, args...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	waitFor(t, "coturn", 10*time.Second, func() bool {
		c, err := net.Dial("tcp4", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return port
}

// relayServer starts serve with TURN in this process.
func relayServer(t *testing.T, allow ...string) *roomServer {
	t.Helper()
	o := serveOptions{listen: "127.0.0.1:0", turn: &turnOptions{
		plain: "127.0.0.1:0", ttl: turn.DefaultTTL,
		config: turn.Config{Secret: "north", Public: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
	}}
	for _, a := range allow {
		o.turn.config.Allow = append(o.turn.config.Allow, netip.MustParsePrefix(a))
	}
	r, err := startRooms(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if s := r.turn.Stats(); s.AllocationsNow != 0 || s.ConnectionsNow != 0 {
			t.Errorf("left after the end: %+v", s)
		}
	})
	return r
}

// relayOnly publishes and records, both by relays only, and gives the recorder
// when it has ended, and what it has recorded.
func relayOnly(t *testing.T, url, dir string, args ...string) (p *child, code int) {
	t.Helper()
	common := append([]string{"--ice-policy", "relay"}, args...)
	publisher := start(t, append(append([]string{"publish", "--source", "pattern", "--size", "320x240", "--peer-id", "pat"}, common...), url)...)
	waitFor(t, "the publisher", 30*time.Second, func() bool { return strings.Contains(publisher.stderr.String(), "joined") })
	p = start(t, append(append([]string{"record", "--out", dir, "--session", "s", "--wait", "8s", "--duration", "10s"}, common...), url)...)
	code = p.exit(t)
	_ = publisher.Process.Signal(syscall.SIGINT)
	publisher.exit(t)
	return p, code
}

// checkRelayed checks what relayOnly has left.
func checkRelayed(t *testing.T, dir string, p *child, code int) {
	t.Helper()
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
	m := manifestIn(t, filepath.Join(dir, "s"))
	if len(m.Files) != 1 {
		t.Fatalf("%d files\n%s", len(m.Files), &p.stderr)
	}
	file := filepath.Join(dir, "s", m.Files[0].Path)
	n := frames(t, file)
	t.Logf("%d pictures, %d sounds", n[media.Video], n[media.Audio])
	if n[media.Video] < 60 || n[media.Audio] < 100 {
		t.Errorf("%d pictures, %d sounds", n[media.Video], n[media.Audio])
	}
	for _, tr := range m.Files[0].Tracks {
		if tr.Packets.Lost > 0 {
			t.Errorf("%s: %d packets lost", tr.Kind, tr.Packets.Lost)
		}
	}
}

// TestRelayOnlyThroughCoturn: with a shared secret both sides make credentials
// that coturn takes; with another one, with expired ones, and to a peer that coturn
// denies, nothing comes, and why is told.
func TestRelayOnlyThroughCoturn(t *testing.T) {
	t.Parallel()
	port := coturn(t, "--use-auth-secret", "--static-auth-secret", "north", "--allow-loopback-peers")
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			p, code := relayOnly(t, openRoom(t), dir, "--ice-server", "turn:127.0.0.1:"+port+"?transport="+transport, "--turn-secret", "north")
			checkRelayed(t, dir, p, code)
		})
	}
	old := turn.NewCredentials("north", "rec", time.Now().Add(-time.Minute))
	refused := map[string][]string{
		"forged":  {"--ice-server", "turn:127.0.0.1:" + port, "--turn-secret", "south"},
		"expired": {"--ice-server", "turn:" + strings.Replace(old.Username, ":", "%3A", 1) + ":" + old.Password + "@127.0.0.1:" + port},
	}
	for name, args := range refused {
		t.Run(name, func(t *testing.T) { notRelayed(t, openRoom(t), "user and password", args) })
	}
	t.Run("denied peer", func(t *testing.T) {
		port := coturn(t, "--use-auth-secret", "--static-auth-secret", "north", "--allow-loopback-peers", "--denied-peer-ip", "127.0.0.0-127.255.255.255")
		p, code := relayOnly(t, openRoom(t), t.TempDir(), "--ice-server", "turn:127.0.0.1:"+port, "--turn-secret", "north")
		if code != exitNoMedia {
			t.Errorf("exit code %d\n%s", code, &p.stderr)
		}
	})
}

// notRelayed has a recorder fail for a reason that its last line tells, and that
// tells no secret.
func notRelayed(t *testing.T, url, why string, args []string) {
	t.Helper()
	enter(t, url, "alice", "alice")
	p := start(t, append(append([]string{"record", "--out", t.TempDir(), "--duration", "1m", "--ice-policy", "relay"}, args...), url)...)
	if code := p.exit(t); code != exitNoMedia {
		t.Errorf("exit code %d\n%s", code, &p.stderr)
	}
	last := strings.TrimSpace(p.stderr.String())
	last = last[strings.LastIndex(last, "\n")+1:]
	t.Log(last)
	if !strings.Contains(last, "TURN server") || !strings.Contains(last, why) || strings.Contains(p.stderr.String(), "south") {
		t.Errorf("the last line does not tell why: %s", &p.stderr)
	}
}

func TestRelayOnlyThroughServe(t *testing.T) {
	t.Parallel()
	r := relayServer(t, "127.0.0.1/32")
	server := "turn:" + strings.TrimPrefix(r.turn.uris[0], "turn:")
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			p, code := relayOnly(t, r.url("ws")+"/ws/test", dir, "--ice-server", strings.Replace(server, "=udp", "="+transport, 1), "--turn-secret", "north")
			checkRelayed(t, dir, p, code)
		})
	}
	t.Run("forged", func(t *testing.T) {
		notRelayed(t, r.url("ws")+"/ws/test", "user and password", []string{"--ice-server", server, "--turn-secret", "south"})
	})
	t.Run("denied peer", func(t *testing.T) {
		r := relayServer(t)
		p, code := relayOnly(t, r.url("ws")+"/ws/test", t.TempDir(), "--ice-server", r.turn.uris[0], "--turn-secret", "north")
		if code != exitNoMedia || r.turn.Stats().Refused["peer"] == 0 {
			t.Errorf("exit code %d, %v\n%s", code, r.turn.Stats().Refused, &p.stderr)
		}
	})
}

// TestPagesMeetThroughServe: pages that may use relays only, with what /turn has
// given them, and are recorded by one that does not need any.
func TestPagesMeetThroughServe(t *testing.T) {
	r := relayServer(t, "127.0.0.1/32")
	b := browser.Start(t)
	var pages []*browser.Page
	for _, name := range []string{"alice", "bob"} {
		p := b.Open(r.url("http") + "/")
		p.Eval(`(() => {
			const Direct = RTCPeerConnection;
			globalThis.RTCPeerConnection = class extends Direct {
				constructor(c) { super({...c, iceTransportPolicy: 'relay'}); }
				setConfiguration(c) { super.setConfiguration({...c, iceTransportPolicy: 'relay'}); }
			};
			return true;
		})()`, nil)
		p.Eval(fmt.Sprintf(`roomtape.join({room: 'test', name: %q, source: 'pattern'}).then(() => true)`, name), nil)
		pages = append(pages, p)
	}
	dir := t.TempDir()
	rec := start(t, "record", "--out", dir, "--session", "s", "--duration", "8s", r.url("ws")+"/ws/test")
	for _, p := range pages {
		p.Wait(`roomtape.peers.length === 2 && roomtape.peers.every((p) => p.state === 'connected' && p.open)`)
		p.Eval(`(async () => {
			for (const {connection} of roomtape.peers) {
				const stats = [...(await connection.getStats()).values()];
				const pair = stats.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded');
				if (stats.find((s) => s.id === pair.localCandidateId).candidateType !== 'relay') throw new Error('no relay');
			}
			return true;
		})()`, nil)
		if errs := p.Errors(); len(errs) > 0 {
			t.Error(errs)
		}
	}
	if code := rec.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &rec.stderr)
	}
	if m := manifestIn(t, filepath.Join(dir, "s")); len(m.Files) != 2 {
		t.Errorf("%d files", len(m.Files))
	}
}

// certificateFiles writes a certificate for localhost and its key.
func certificateFiles(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestCoturnsClient has coturn's test program at our server, which it must find
// nothing wrong with.
func TestCoturnsClient(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("turnutils_uclient")
	if err != nil {
		t.Skipf("no coturn: %v", err)
	}
	cert, key := certificateFiles(t)
	run := func(t *testing.T, allow []string, args ...string) string {
		t.Helper()
		serve := []string{"serve", "--json", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key,
			"--turn", "127.0.0.1:0", "--turn-tls", "127.0.0.1:0", "--turn-secret", "north"}
		for _, a := range allow {
			serve = append(serve, "--turn-allow-peer", a)
		}
		p := start(t, serve...)
		uri := regexp.MustCompile(`(turns?):127\.0\.0\.1:(\d+)`)
		waitFor(t, "the server", 20*time.Second, func() bool { return strings.HasSuffix(p.stdout.String(), "}\n") })
		ports := map[string]string{}
		for _, m := range uri.FindAllStringSubmatch(p.stdout.String(), -1) {
			ports[m[1]] = m[2]
		}
		port := ports["turn"]
		for _, a := range args {
			if a == "-S" {
				port = ports["turns"]
			}
		}
		out, err := exec.CommandContext(t.Context(), "timeout", append(append([]string{"25", path}, args...), "-p", port, "127.0.0.1")...).CombinedOutput()
		t.Logf("%v: %v", args, err)
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(t); code != 0 {
			t.Errorf("serve: exit code %d\n%s", code, &p.stderr)
		}
		return string(out)
	}
	loopback := []string{"127.0.0.1"}
	for name, args := range map[string][]string{
		"UDP": nil, "TCP": {"-t"}, "TLS": {"-t", "-S"}, "send method": {"-s"}, "two ports": {"two"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := []string{"-W", "north", "-u", "alice", "-y", "-m", "2", "-n", "50", "-l", "900", "-z", "5"}
			if name == "two ports" { // RTP and RTCP, by an even port
				args = nil
			} else {
				flags = append(flags, "-c")
			}
			out := run(t, loopback, append(flags, args...)...)
			m := regexp.MustCompile(`start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n`).FindAllStringSubmatch(out, -1)
			if len(m) == 0 || m[len(m)-1][1] != m[len(m)-1][2] || m[len(m)-1][1] == "0" || !strings.Contains(out, "Total lost packets 0 ") {
				t.Errorf("not all has come\n%s", out)
			}
		})
	}
	old := turn.NewCredentials("north", "alice", time.Now().Add(-time.Minute))
	for name, tt := range map[string]struct {
		allow []string
		args  []string
		code  string
	}{
		"forged":      {loopback, []string{"-W", "south", "-u", "alice", "-y", "-c"}, "error 400"},
		"expired":     {loopback, []string{"-u", old.Username, "-w", old.Password, "-y", "-c"}, "error 400"},
		"denied peer": {nil, []string{"-W", "north", "-u", "alice", "-s", "-c", "-e", "127.0.0.1"}, "error 403"},
		"TCP relay":   {loopback, []string{"-W", "north", "-u", "alice", "-T"}, "error 508"},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, tt.allow, append(tt.args, "-n", "3", "-m", "1")...)
			if !strings.Contains(out, tt.code) || regexp.MustCompile(`tot_recv_msgs=[1-9]`).MatchString(out) {
				t.Errorf("want %s\n%s", tt.code, out)
			}
		})
	}
}
