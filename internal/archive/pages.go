package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/roomtape/roomtape/internal/report"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/token"
)

const (
	// reportName is the name of a report, which is never read from the folder:
	// it is made of what is there.
	reportName = "report.html"
	// maxPages and maxPageBytes are how many reports are kept.
	maxPages     = 16
	maxPageBytes = 64 << 20
	// growing is for how long the report of a session that goes on is shown.
	growing = 10 * time.Second
)

var (
	//go:embed list.html
	listPage string
	//go:embed list.css
	listStyle string

	listTemplate = template.Must(template.New("list").Parse(listPage))
	listPolicy   = "default-src 'none'; img-src data:; style-src '" + digest(listStyle) + "'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page is what the list shows, or the form that asks for a token.
type page struct {
	Ask      bool
	Problem  string
	Sessions []entry
	More     int
}

// entry is a session as it is shown, and in JSON.
type entry struct {
	Path         string    `json:"path"`
	Room         string    `json:"room"`
	State        string    `json:"state"`
	StartedAt    time.Time `json:"started_at"`
	DurationMS   int64     `json:"duration_ms"`
	Participants int       `json:"participants"`
	Files        int       `json:"files"`
	Bytes        int64     `json:"bytes"`
	Report       string    `json:"report"`
}

// Started, Length and Size are the page's words.
func (e entry) Started() string { return e.StartedAt.Format("2006-01-02 15:04:05") }

// Length is as of a clock: 1:02:03.
func (e entry) Length() string {
	s := e.DurationMS / 1000
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Size is in units of 1000.
func (e entry) Size() string {
	switch n := float64(e.Bytes); {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", n/1e6)
	default:
		return fmt.Sprintf("%.0f kB", n/1e3)
	}
}

func (a *Archive) entries(c token.Claims) ([]entry, int, error) {
	sessions, more, err := a.sessions(c)
	if err != nil {
		a.log.Warn("recordings: the folder can't be read", "error", err)
		return nil, 0, err
	}
	out := make([]entry, len(sessions))
	for i, s := range sessions {
		out[i] = entry{
			Path: s.path, Room: s.room, State: s.state, StartedAt: s.started, DurationMS: s.length.Milliseconds(),
			Participants: s.participants, Files: s.files, Bytes: s.bytes, Report: s.url(),
		}
	}
	return out, more, nil
}

func (a *Archive) serveList(w http.ResponseWriter, c token.Claims) {
	list, more, err := a.entries(c)
	if err != nil {
		http.Error(w, "the recordings can't be read", http.StatusInternalServerError)
		return
	}
	a.servePage(w, http.StatusOK, page{Sessions: list, More: more})
}

func (a *Archive) servePage(w http.ResponseWriter, status int, p page) {
	var b bytes.Buffer
	if err := listTemplate.Execute(&b, map[string]any{"Page": p, "Style": template.CSS(listStyle)}); err != nil {
		a.log.Error("recordings: the page can't be made", "error", err)
		http.Error(w, "the page can't be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", listPolicy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error here is the client gone
}

func (a *Archive) serveJSON(w http.ResponseWriter, c token.Claims) {
	list, more, err := a.entries(c)
	if err != nil {
		http.Error(w, "the recordings can't be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // an error here is the client gone
		Sessions []entry `json:"sessions"`
		More     int     `json:"more"`
	}{list, more})
}

// pages keeps reports, and makes one at a time.
type pages struct {
	turn chan struct{} // held by the one that is made
	mu   sync.Mutex
	kept []made // the latest to be asked for is the last
}

// made is a report and what it was made of.
type made struct {
	path  string
	stamp stamp
	at    time.Time
	html  []byte
}

// get gives the report of a session, if it is kept and still true.
func (p *pages) get(s session) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.kept, func(m made) bool { return m.path == s.path })
	if i < 0 {
		return nil
	}
	m := p.kept[i]
	p.kept = slices.Delete(p.kept, i, i+1)
	if m.stamp != s.stamp && (s.state != recorder.StateRecording || time.Since(m.at) > growing) {
		return nil
	}
	p.kept = append(p.kept, m)
	return m.html
}

func (p *pages) put(m made) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = slices.DeleteFunc(p.kept, func(k made) bool { return k.path == m.path })
	p.kept = append(p.kept, m)
	total := 0
	for _, k := range p.kept {
		total += len(k.html)
	}
	for len(p.kept) > 1 && (total > maxPageBytes || len(p.kept) > maxPages) {
		total -= len(p.kept[0].html)
		p.kept = slices.Delete(p.kept, 0, 1)
	}
}

// serveReport gives a session's report, which is made when there is none.
func (a *Archive) serveReport(w http.ResponseWriter, r *http.Request, s session) {
	html, err := a.report(r.Context(), s)
	if err != nil {
		if r.Context().Err() == nil {
			a.log.Warn("recordings: a report can't be made", "session", s.path, "error", err)
		}
		http.Error(w, "the report of this session can't be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", report.Policy("'self'")+"; frame-ancestors 'none'")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(html))
}

func (a *Archive) report(ctx context.Context, s session) ([]byte, error) {
	if html := a.pages.get(s); html != nil {
		return html, nil
	}
	select {
	case a.pages.turn <- struct{}{}:
		defer func() { <-a.pages.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if html := a.pages.get(s); html != nil { // made while we waited
		return html, nil
	}
	root, err := a.folder(s.path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p, err := report.Read(regular{root})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := p.Write(&b, a.cfg.Generator); err != nil {
		return nil, err
	}
	a.pages.put(made{path: s.path, stamp: s.stamp, at: time.Now(), html: b.Bytes()})
	return b.Bytes(), nil
}
