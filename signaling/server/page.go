package server

import (
	"embed"
	"net/http"
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

// newPage serves page/index.html at / and the folder below /page/.
func newPage() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /page/{file}", http.FileServerFS(pageFiles))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pageFiles, "page/room.html")
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
