// Package archive shows the sessions below a folder to browsers: a list of them,
// a report of each (package report), and their files, which players seek in. It
// changes nothing.
//
// # What can be reached
//
// Everything is below [Prefix]: the list there and, for programs, as
// sessions.json; a session's report at its folder, and its files below that. A
// session is a folder with a manifest that can be read. Of its files, those of the
// kinds that a session has can be had, when they are regular ones; no name and no
// link leads out of the session's folder ([os.Root]).
//
// # Who may
//
// Config.Authorize says who. A token needs the right to record, and shows the
// sessions of its own room; one of an admin for any room shows all. What a token
// does not show is answered as what is not there. A browser gets a token that it
// has shown in its address, header or form back as a cookie for these pages only,
// since players can't be told to send any; no page has a token in its address for longer than that.
package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/roomtape/roomtape/signaling/token"
)

// Prefix is the path that all addresses begin with.
const Prefix = "/recordings/"

// Config says what is shown to whom.
type Config struct {
	// Root is the folder. It is not closed.
	Root *os.Root
	// Authorize gives what a request may, by the token that it brings in its
	// header or query. The error is shown. It may be called concurrently.
	Authorize func(*http.Request) (token.Claims, error)
	// Generator is what reports say they are made by.
	Generator string
	// Logger is told what goes wrong. Default: none.
	Logger *slog.Logger
}

// Archive is an http.Handler for Prefix and all below it. It may be used
// concurrently.
type Archive struct {
	cfg   Config
	log   *slog.Logger
	files chan struct{} // a place for each file that is being read
	pages pages

	mu    sync.Mutex
	known map[string]session // by folder, as they were read last
	list  list
}

// New gives an archive that has read nothing yet.
func New(cfg Config) *Archive {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Archive{
		cfg: cfg, log: log,
		files: make(chan struct{}, maxFiles),
		pages: pages{turn: make(chan struct{}, 1)},
		known: map[string]session{},
	}
}

// Handles tells whether a request is for an Archive rather than for others, as
// those for a WebSocket are.
func Handles(r *http.Request) bool {
	return (r.URL.Path+"/" == Prefix || strings.HasPrefix(r.URL.Path, Prefix)) && r.Header.Get("Upgrade") == ""
}

// ServeHTTP answers what Handles says.
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Authorization, Cookie")

	name, below := strings.CutPrefix(r.URL.Path, Prefix)
	switch {
	case r.Method == http.MethodPost && below && name == "":
		a.takeToken(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	case !below:
		redirect(w, r, Prefix)
		return
	}
	claims, ok := a.admit(w, r)
	if !ok {
		return
	}
	switch name {
	case "":
		a.serveList(w, claims)
	case "sessions.json":
		a.serveJSON(w, claims)
	default:
		a.serveSession(w, r, name, claims)
	}
}

// serveSession answers for a session's folder and what is below it.
func (a *Archive) serveSession(w http.ResponseWriter, r *http.Request, name string, c token.Claims) {
	s, file, err := a.find(name)
	if err == nil && !s.shownTo(c) {
		err = fs.ErrNotExist
	}
	switch {
	case errors.Is(err, errUnreadable):
		http.Error(w, "the manifest of this session can't be read", http.StatusInternalServerError)
	case err != nil:
		http.Error(w, "there is no such recording", http.StatusNotFound)
	case file == "" && !strings.HasSuffix(name, "/"):
		redirect(w, r, s.url())
	case file == "" || file == reportName:
		a.serveReport(w, r, s)
	default:
		a.serveFile(w, r, s, file)
	}
}

// redirect sends to a path below Prefix.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// types are the kinds of files that a session has, and what they are.
var types = map[string]string{
	".webm": "video/webm", ".mkv": "video/x-matroska", ".ogg": "audio/ogg", ".ivf": "video/x-ivf",
	".json": "application/json", ".jsonl": "application/jsonl",
}

// serveFile gives a file, or the parts that are asked for.
func (a *Archive) serveFile(w http.ResponseWriter, r *http.Request, s session, name string) {
	kind, ok := types[path.Ext(name)]
	if !ok || strings.HasPrefix(path.Base(name), ".") {
		http.Error(w, "there is no such recording", http.StatusNotFound)
		return
	}
	select {
	case a.files <- struct{}{}:
		defer func() { <-a.files }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many files are being read", http.StatusServiceUnavailable)
		return
	}
	f, info, err := a.open(s, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.log.Info("recordings: a file can't be read", "session", s.path, "file", name, "error", err)
		}
		http.Error(w, "there is no such recording", http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	h := w.Header()
	h.Set("Content-Type", kind)
	// A file that grows changes more often than its time tells in seconds.
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	// What is opened by itself is shown in a page that the browser makes.
	h.Set("Content-Security-Policy", "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	http.ServeContent(w, inParts(r), "", info.ModTime(), f)
}

// inParts gives a player's request for much of a file as one for a part of it (RFC 9110 §15.3.7 lets a server send less), after which players ask on. Else each would hold a
// connection for as long as it plays, and of those a browser has six for HTTP/1:
// more than six people in a session would not play at all.
func inParts(r *http.Request) *http.Request {
	from, to, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	at, err := strconv.ParseInt(from, 10, 62)
	if !ok || err != nil || at < 0 || r.ProtoMajor != 1 || !fromPlayer(r.Header) {
		return r
	}
	if end, err := strconv.ParseInt(to, 10, 62); to != "" && (err != nil || end-at < partSize) {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+partSize-1))
	return r
}

// fromPlayer tells whether a browser's video or audio element asks: by the header
// that says so, which is sent over safe connections only, or by what Chromium and
// Firefox ask for in no other case.
func fromPlayer(h http.Header) bool {
	dest := h.Get("Sec-Fetch-Dest")
	return dest == "video" || dest == "audio" || dest == "" &&
		(h.Get("Accept-Encoding") == "identity;q=1, *;q=0" || strings.HasPrefix(h.Get("Accept"), "video/webm,") || strings.HasPrefix(h.Get("Accept"), "audio/webm,"))
}

// open opens a file of a session, if it is a regular one.
func (a *Archive) open(s session, name string) (*os.File, fs.FileInfo, error) {
	root, err := a.folder(s.path)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	return openRegular(root, name)
}

// folder opens a folder that no link leads to. Opening a pipe as one would wait
// for ever.
func (a *Archive) folder(dir string) (*os.Root, error) {
	for d := dir; d != "."; d = path.Dir(d) {
		if info, err := a.cfg.Root.Lstat(d); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%s is no folder", d)
		}
	}
	return a.cfg.Root.OpenRoot(dir)
}

// openRegular opens a file that is neither a link nor, as a pipe, something that
// may wait for ever.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	if info, err := root.Lstat(name); err != nil {
		return nil, nil, err
	} else if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // it was not read
		return nil, nil, err
	}
	return f, info, nil
}

// regular is a folder in which there are only regular files.
type regular struct{ root *os.Root }

// Open implements fs.FS.
func (r regular) Open(name string) (fs.File, error) {
	f, _, err := openRegular(r.root, name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// urlOf gives the address of something below Prefix.
func urlOf(name string) string { return (&url.URL{Path: Prefix + name}).EscapedPath() }
