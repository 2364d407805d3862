package archive

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/token"
)

// Limits on what is looked at, whatever the folder holds.
const (
	// maxFiles is how many files are read by clients at a time.
	maxFiles = 256
	// partSize is how many bytes a player gets at a time: no more than a browser
	// takes off its connection whether or not the player has a place for them.
	partSize = 256 << 10
	// maxDepth is how deep below the folder a session may be, maxFolders how
	// many folders are looked into.
	maxDepth   = 8
	maxFolders = 20_000
	// maxListed is how many sessions a list has, the latest.
	maxListed = 1000
	// maxManifest is the largest manifest in bytes, maxRoom the longest name of
	// a room.
	maxManifest = 64 << 20
	maxRoom     = 1024
	// listAge is how old a list may be.
	listAge = 2 * time.Second
)

// errUnreadable is for a folder whose manifest is none.
var errUnreadable = errors.New("the manifest can't be read")

// session is what a list says of one.
type session struct {
	path string // its folder, slash-separated
	room string
	// state is the manifest's.
	state        string
	started      time.Time
	length       time.Duration
	participants int
	files        int
	bytes        int64
	// stamp tells when this has changed.
	stamp stamp
}

// stamp tells one version of a manifest from another.
type stamp struct {
	changed time.Time
	size    int64
}

func (s session) url() string { return urlOf(s.path + "/") }

// shownTo tells whether a token shows the session.
func (s session) shownTo(c token.Claims) bool {
	return c.Room == token.AnyRoom && c.May(token.Admin) || c.Room == s.room && c.May(token.Record)
}

// read gives the session in a folder. The error is fs.ErrNotExist where there is
// none, and errUnreadable where the manifest is bad.
func (a *Archive) read(dir string) (session, error) {
	root, err := a.folder(dir)
	if err != nil {
		return session{}, fs.ErrNotExist
	}
	defer root.Close()
	f, info, err := openRegular(root, recorder.ManifestName)
	if err != nil {
		return session{}, fs.ErrNotExist
	}
	defer func() { _ = f.Close() }() // it was only read
	now := stamp{info.ModTime(), info.Size()}
	a.mu.Lock()
	s, ok := a.known[dir]
	a.mu.Unlock()
	if ok && s.stamp == now {
		return s, s.fault()
	}
	s = summarise(f)
	s.path, s.stamp = dir, now
	a.mu.Lock()
	if len(a.known) >= maxFolders {
		clear(a.known)
	}
	a.known[dir] = s
	a.mu.Unlock()
	return s, s.fault()
}

// fault tells whether the manifest could not be read.
func (s session) fault() error {
	if s.state == "" {
		return errUnreadable
	}
	return nil
}

// summarise reads a manifest; one that is none gives a session without a state.
func summarise(f *os.File) session {
	var m struct {
		Room         string    `json:"room"`
		State        string    `json:"state"`
		StartedAt    time.Time `json:"started_at"`
		EndedAt      time.Time `json:"ended_at"`
		Participants []struct {
			ID string `json:"id"`
		} `json:"participants"`
		Files []struct {
			OffsetMS   int64 `json:"offset_ms"`
			DurationMS int64 `json:"duration_ms"`
			Bytes      int64 `json:"bytes"`
		} `json:"files"`
	}
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m); err != nil || len(m.Room) > maxRoom {
		return session{}
	}
	switch m.State {
	case recorder.StateRecording, recorder.StateComplete, recorder.StateIncomplete:
	default:
		return session{}
	}
	s := session{room: m.Room, state: m.State, started: m.StartedAt.UTC(), files: len(m.Files)}
	if !m.EndedAt.IsZero() {
		s.length = m.EndedAt.Sub(m.StartedAt)
	}
	ids := map[string]bool{}
	for _, p := range m.Participants {
		ids[p.ID] = true
	}
	s.participants = len(ids)
	for _, f := range m.Files {
		s.bytes += max(f.Bytes, 0)
		const day = int64(24 * time.Hour / time.Millisecond)
		if end := f.OffsetMS + f.DurationMS; end > 0 && end < 1000*day {
			s.length = max(s.length, time.Duration(end)*time.Millisecond)
		}
	}
	return s
}

// find gives the session that a name below Prefix is in, and the rest of the
// name: "" for the session itself. It is the innermost there is, so that what
// belongs to one room is not shown with another's.
func (a *Archive) find(name string) (s session, file string, err error) {
	name = strings.TrimSuffix(name, "/")
	if !fs.ValidPath(name) || name == "." || strings.Count(name, "/") > 2*maxDepth {
		return session{}, "", fs.ErrNotExist
	}
	for dir := name; dir != "."; dir = path.Dir(dir) {
		s, err = a.read(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return s, strings.TrimPrefix(strings.TrimPrefix(name, dir), "/"), err
	}
	return session{}, "", fs.ErrNotExist
}

// list is the sessions there were at a time, the latest first.
type list struct {
	mu       sync.Mutex
	at       time.Time
	sessions []session
}

// sessions gives those that a token shows, the latest first, and how many more
// there are.
func (a *Archive) sessions(c token.Claims) (out []session, more int, err error) {
	all, err := a.all()
	if err != nil {
		return nil, 0, err
	}
	for _, s := range all {
		if !s.shownTo(c) {
			continue
		}
		if len(out) == maxListed {
			more++
			continue
		}
		out = append(out, s)
	}
	return out, more, nil
}

// all gives all sessions, as they were less than listAge ago. One request looks,
// the others wait for it.
func (a *Archive) all() ([]session, error) {
	a.list.mu.Lock()
	defer a.list.mu.Unlock()
	if time.Since(a.list.at) < listAge {
		return a.list.sessions, nil
	}
	w := walk{a: a}
	if err := w.into(".", 0); err != nil {
		return nil, fmt.Errorf("looking for recordings: %w", err)
	}
	slices.SortStableFunc(w.found, func(x, y session) int {
		return cmp.Or(y.started.Compare(x.started), cmp.Compare(x.path, y.path))
	})
	a.list.sessions, a.list.at = w.found, time.Now()
	return w.found, nil
}

// walk looks for sessions.
type walk struct {
	a       *Archive
	folders int
	found   []session
}

// into looks into a folder, the latest names first since folders are called by
// their time. It follows no link. What can't be read below the first is left out.
func (w *walk) into(dir string, depth int) error {
	if w.folders++; w.folders > maxFolders {
		return nil
	}
	f, err := w.a.cfg.Root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	_ = f.Close() // it was only read
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return strings.Compare(y.Name(), x.Name()) })
	for _, e := range entries {
		if e.Name() == recorder.ManifestName && dir != "." {
			if s, err := w.a.read(dir); err == nil {
				w.found = append(w.found, s)
			}
		}
		if e.IsDir() && depth < maxDepth {
			_ = w.into(path.Join(dir, e.Name()), depth+1) // others can be read
		}
	}
	return nil
}
