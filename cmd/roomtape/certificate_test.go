package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling/server"
)

// writePair makes a certificate for a name and writes both files, the change of
// which is at the given time.
func writePair(t *testing.T, cert, key, name string, changed time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	now := time.Now()
	writePair(t, cert, key, "one", now)
	c, err := loadCertificate(cert, key, now)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c.log = slog.New(slog.NewTextHandler(&log, nil))
	want := func(name string, warnings int) {
		t.Helper()
		if got := c.get(now).Leaf.Subject.CommonName; got != name {
			t.Errorf("the certificate is %q, want %q", got, name)
		}
		if got := strings.Count(log.String(), "level=WARN"); got != warnings {
			t.Errorf("%d warnings, want %d:\n%s", got, warnings, &log)
		}
	}
	next := func() { now = now.Add(certificateCheck) }

	writePair(t, cert, key, "two", now.Add(time.Minute))
	now = now.Add(certificateCheck - 1)
	want("one", 0) // not looked at yet
	next()
	want("two", 0)

	// Half of a new pair, as when a program is writing it.
	writePair(t, cert, filepath.Join(dir, "key3"), "three", now.Add(2*time.Minute))
	next()
	want("two", 1)
	next()
	want("two", 1) // told once
	if err := os.Rename(filepath.Join(dir, "key3"), key); err != nil {
		t.Fatal(err)
	}
	next()
	want("three", 1)

	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next()
		want("three", 2)
	}
	writePair(t, cert, key, "four", now.Add(3*time.Minute))
	next()
	want("four", 2)
}

// TestServeTakesANewCertificateWhileItRuns looks at what is shown in handshakes.
func TestServeTakesANewCertificateWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writePair(t, cert, key, "one", time.Now())
	c, err := loadCertificate(cert, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err := startRooms(serveOptions{listen: "127.0.0.1:0", tls: c.config(), certificate: c, limits: server.Config{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.stop() }()
	shown := func() string {
		conn, err := tls.Dial("tcp", r.addr.String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := shown(); got != "one" {
		t.Errorf("shown: %q", got)
	}
	writePair(t, cert, key, "two", time.Now().Add(time.Minute))
	c.mu.Lock()
	c.checked = time.Now().Add(-certificateCheck) // rather than wait
	c.mu.Unlock()
	if got := shown(); got != "two" {
		t.Errorf("shown: %q after the change", got)
	}
	// TLS 1.1 is refused.
	if conn, err := tls.Dial("tcp", r.addr.String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// TestHalfAHandshakeIsCutOff holds a connection that never says what it wants.
func TestHalfAHandshakeIsCutOff(t *testing.T) {
	r, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.stop() }()
	if got := r.http.ReadHeaderTimeout; got <= 0 || got > 5*time.Second {
		t.Errorf("a request's header may take %v", got)
	}
	conn, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(conn); err != nil || len(b) > 0 && !bytes.Contains(b, []byte(http.StatusText(http.StatusRequestTimeout))) {
		t.Errorf("got %q, %v; want to be hung up on", b, err)
	}
}
