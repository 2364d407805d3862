package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often the files of a certificate are looked at, at
// most: with a handshake, and not without.
const certificateCheck = 2 * time.Second

// certificate is a key pair in two files, read again when they have changed. It
// may be used concurrently.
type certificate struct {
	cert, key string // paths
	log       *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	seen    [2]stamp // of the files that were read last, good or bad
	checked time.Time
}

// stamp tells one version of a file from another.
type stamp struct {
	changed time.Time
	size    int64
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// loadCertificate reads a pair for the first time.
func loadCertificate(cert, key string, now time.Time) (*certificate, error) {
	c := &certificate{cert: cert, key: key, log: slog.New(slog.DiscardHandler), checked: now}
	var err error
	if c.seen, err = c.stamps(); err != nil {
		return nil, err
	}
	return c, c.load()
}

func (c *certificate) stamps() (s [2]stamp, err error) {
	for i, path := range []string{c.cert, c.key} {
		if s[i], err = stampOf(path); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("reading %s and %s: %w", c.cert, c.key, err)
	}
	c.pair = &pair
	return nil
}

// get gives the pair as it is in the files, or when that is broken the one before.
func (c *certificate) get(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) < certificateCheck {
		return c.pair
	}
	c.checked = now
	s, err := c.stamps()
	if err != nil {
		s = [2]stamp{} // so that it is told once
	}
	if s == c.seen {
		return c.pair
	}
	c.seen = s
	if err == nil {
		err = c.load()
	}
	if err != nil {
		c.log.Warn("the new certificate can't be used; the old one stays", "error", err)
		return c.pair
	}
	c.log.Info("certificate read again", "file", c.cert, "valid_until", c.pair.Leaf.NotAfter)
	return c.pair
}

// config gives a server's TLS with it.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()), nil },
	}
}
