//go:build debug

package main

import (
	"net/http"
	_ "net/http/pprof" // registers itself
	"os"
	"time"
)

// A binary built with the tag debug shows its goroutines and its heap, by
// net/http/pprof, at the address in ROOMTAPE_DEBUG. No other binary does.
func init() {
	if address := os.Getenv("ROOMTAPE_DEBUG"); address != "" {
		s := http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = s.ListenAndServe() }() // who asks there will notice
	}
}
