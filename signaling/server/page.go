package server

import (
	"bytes"
	"embed"
	"net/http"
	"time"
)

// The page is plain HTML, CSS and ES modules: what is in the folder is what the
// browser gets.
//
//go:embed page
var pageFiles embed.FS

// The page needs its own scripts and its own server, and nothing else from
// anywhere. What it plays are MediaStreams, which no directive governs.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const permissionsPolicy = "camera=(self), microphone=(self), display-capture=(self), " +
	"clipboard-write=(self), fullscreen=(self), geolocation=(), payment=(), usb=()"

// pageOf gives the page, which says in its body whether there are recordings to
// be listed, and whether that takes a token.
func pageOf(cfg Config) []byte {
	b, err := pageFiles.ReadFile("page/room.html")
	if err != nil {
		panic(err) // it is in the program
	}
	if !cfg.Recordings {
		return b
	}
	who := "all"
	if len(cfg.TokenSecret) > 0 {
		who = "token"
	}
	return bytes.Replace(b, []byte("<body "), []byte(`<body data-recordings="`+who+`" `), 1)
}

// newPage serves page/room.html at / and the folder below /page/.
func newPage(cfg Config) http.Handler {
	mux := http.NewServeMux()
	door := pageOf(cfg)
	mux.Handle("GET /page/{file}", http.FileServerFS(pageFiles))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(door))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Permissions-Policy", permissionsPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Embedded files have no time of change; they are few and small.
		h.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
