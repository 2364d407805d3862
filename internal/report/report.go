// Package report makes one HTML page of a session's folder: the recordings side by
// side on one clock, who was there when, and bitrate, loss, gaps, quality and
// messages along the same time axis. The page asks for nothing but the recordings
// beside it.
//
// All that it shows was said by strangers: it gets into the page as data only,
// escaped by html/template, and a script that the page's own policy lets run by its
// digest alone puts it there as text.
package report

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/roomtape/roomtape/recorder"
)

// Limits on what a page holds, however long the session was.
const (
	// maxBins is how many points a curve has.
	maxBins = 600
	// maxCurves is how many tracks have curves.
	maxCurves = 128
	// maxMessages is how many messages are listed, each cut to maxText bytes.
	maxMessages = 2000
	maxText     = 1000
	// maxManifest is the largest manifest in bytes that is read, maxLine the
	// longest line of statistics or messages.
	maxManifest = 64 << 20
	maxLine     = 4 << 20
)

// ErrNoSession is wrapped by the errors for a folder that is no session's.
var ErrNoSession = errors.New("not the folder of a session")

var (
	//go:embed page.html
	page string
	//go:embed page.js
	script string
	//go:embed page.css
	style string
)

// Page is what the page is made of.
type Page struct {
	Title    string            `json:"title"`
	Manifest recorder.Manifest `json:"manifest"`
	LengthMS int64             `json:"length_ms"`
	Players  []Player          `json:"players"`
	Curves   []Curve           `json:"curves"`
	Messages []Message         `json:"messages"`
	More     int               `json:"more_messages"`
	// BinMS is how long a bin of a curve is, and Said counts the messages in
	// each.
	BinMS     int64  `json:"bin_ms"`
	Said      []int  `json:"said"`
	Generated string `json:"generated"`
}

// Player is a participant's recordings, which follow each other.
type Player struct {
	Participant string `json:"participant"`
	Files       []File `json:"files"`
}

// File is one recording; URL is "" when a browser can't play it.
type File struct {
	URL        string `json:"url"`
	Path       string `json:"path"`
	OffsetMS   int64  `json:"offset_ms"`
	DurationMS int64  `json:"duration_ms"`
	Video      bool   `json:"video"`
}

// Curve is what a track did: bit/s, and packets that never came, per bin.
type Curve struct {
	Participant string  `json:"participant"`
	Kind        string  `json:"kind"`
	Bitrate     []int64 `json:"bitrate"`
	Missing     []int64 `json:"missing"`
}

// Message is one data channel message.
type Message struct {
	AtMS        int64  `json:"at_ms"`
	Participant string `json:"participant"`
	Text        string `json:"text"`
}

// Read gathers a session from its folder. The error wraps ErrNoSession when there
// is no manifest that can be read, or one that names files outside the folder.
func Read(dir fs.FS) (*Page, error) {
	b, err := readLimited(dir, recorder.ManifestName, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSession, err)
	}
	p := &Page{}
	if err := json.Unmarshal(b, &p.Manifest); err != nil {
		return nil, fmt.Errorf("%w: its manifest cannot be read: %w", ErrNoSession, err)
	}
	m := &p.Manifest
	p.Title = m.Room
	if !m.EndedAt.IsZero() {
		p.LengthMS = m.EndedAt.Sub(m.StartedAt).Milliseconds()
	}
	for _, f := range m.Files {
		if !fs.ValidPath(f.Path) {
			return nil, fmt.Errorf("%w: its manifest names the file %q", ErrNoSession, f.Path)
		}
		p.LengthMS = max(p.LengthMS, f.OffsetMS+f.DurationMS)
		p.addFile(f)
	}
	p.LengthMS = min(max(p.LengthMS, 1), int64(365*24*time.Hour/time.Millisecond))
	p.BinMS = max(p.LengthMS/maxBins, 1000)
	p.thin()
	if err := p.readStats(dir); err != nil {
		return nil, err
	}
	return p, p.readMessages(dir)
}

// bins is how many bins the session has; the last one may be shorter.
func (p *Page) bins() int { return int((p.LengthMS + p.BinMS - 1) / p.BinMS) }

// thin leaves out of the manifest what a page can't show: gaps that are nearer to
// each other than a bin become one, as the manifest itself merges them, and of
// sizes a track keeps as many.
func (p *Page) thin() {
	for i := range p.Manifest.Files {
		for k := range p.Manifest.Files[i].Tracks {
			t := &p.Manifest.Files[i].Tracks[k]
			t.Gaps = thinGaps(t.Gaps, p.BinMS)
			t.Sizes = t.Sizes[:min(len(t.Sizes), maxBins)]
		}
	}
}

func thinGaps(gaps []recorder.Gap, bin int64) []recorder.Gap {
	var out []recorder.Gap
	last := map[string]int{} // in out, by reason
	for _, g := range gaps {
		i, ok := last[g.Reason]
		if !ok || g.AtMS < out[i].AtMS || g.AtMS/bin != out[i].AtMS/bin {
			last[g.Reason] = len(out)
			out = append(out, g)
			continue
		}
		o := &out[i]
		o.DurationMS = max(o.DurationMS, g.AtMS+g.DurationMS-o.AtMS)
		o.Packets, o.Frames, o.Merged = o.Packets+g.Packets, o.Frames+g.Frames, o.Merged+g.Merged+1
	}
	return out
}

func (p *Page) addFile(f recorder.FileEntry) {
	out := File{Path: f.Path, OffsetMS: f.OffsetMS, DurationMS: f.DurationMS}
	for _, t := range f.Tracks {
		out.Video = out.Video || t.Kind == "video"
	}
	if ext := path.Ext(f.Path); ext == ".webm" || ext == ".ogg" {
		out.URL = (&url.URL{Path: "./" + f.Path}).EscapedPath()
	}
	i := slices.IndexFunc(p.Players, func(q Player) bool { return q.Participant == f.Participant })
	if i < 0 {
		i = len(p.Players)
		p.Players = append(p.Players, Player{Participant: f.Participant})
	}
	p.Players[i].Files = append(p.Players[i].Files, out)
}

// readLimited reads a file of at most so many bytes.
func readLimited(dir fs.FS, name string, limit int64) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b, err
}

// lines calls f for each line of a file that may not be there. What is no JSON, as
// the last line of a session that was killed, is left out.
func lines(dir fs.FS, name string, f func(line []byte)) error {
	if name == "" || !fs.ValidPath(name) {
		return nil
	}
	file, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	s := bufio.NewScanner(file)
	s.Buffer(make([]byte, 64<<10), maxLine)
	for s.Scan() {
		f(s.Bytes())
	}
	if err := s.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

func (p *Page) readStats(dir fs.FS) error {
	type track struct {
		Participant string `json:"participant"`
		Connection  int    `json:"connection"`
		Stream      string `json:"stream"`
		SSRC        uint32 `json:"ssrc"`
		Kind        string `json:"kind"`
		Bitrate     int64  `json:"bitrate"`
		Missing     int64  `json:"packetsMissing"`
	}
	bin := p.BinMS
	n := p.bins()
	counts := map[int][]int{}    // seconds in each bin, by curve
	missing := map[track]int64{} // the latest count, by track
	err := lines(dir, p.Manifest.Stats, func(line []byte) {
		var s struct {
			Timestamp int64   `json:"timestamp"`
			Tracks    []track `json:"tracks"`
		}
		if json.Unmarshal(line, &s) != nil || s.Timestamp < 0 || s.Timestamp/bin >= int64(n) {
			return
		}
		at := int(s.Timestamp / bin)
		for _, t := range s.Tracks {
			i := p.curve(t.Participant, t.Kind, n)
			if i < 0 {
				continue
			}
			c := &p.Curves[i]
			if counts[i] == nil {
				counts[i] = make([]int, n)
			}
			counts[i][at]++
			c.Bitrate[at] += t.Bitrate
			total := t.Missing
			t.Bitrate, t.Missing = 0, 0
			c.Missing[at] += max(total-missing[t], 0)
			missing[t] = total
		}
	})
	for i, seconds := range counts {
		for at, n := range seconds {
			if n > 0 && bin > 1000 {
				p.Curves[i].Bitrate[at] = p.Curves[i].Bitrate[at] * 1000 / max(min(bin, p.LengthMS-int64(at)*bin), 1000)
			}
		}
	}
	return err
}

// curve gives the place of the curve of a participant's sound or picture, or less
// than 0 beyond the limit.
func (p *Page) curve(participant, kind string, n int) int {
	i := slices.IndexFunc(p.Curves, func(c Curve) bool { return c.Participant == participant && c.Kind == kind })
	if i < 0 && len(p.Curves) < maxCurves {
		i = len(p.Curves)
		p.Curves = append(p.Curves, Curve{Participant: participant, Kind: kind, Bitrate: make([]int64, n), Missing: make([]int64, n)})
	}
	return i
}

func (p *Page) readMessages(dir fs.FS) error {
	name := ""
	if m := p.Manifest.Messages; m != nil {
		name = m.Path
	}
	p.Said = make([]int, p.bins())
	return lines(dir, name, func(line []byte) {
		var m struct {
			AtMS        int64   `json:"at_ms"`
			Participant string  `json:"participant"`
			Text        *string `json:"text"`
			Base64      []byte  `json:"base64"`
		}
		if json.Unmarshal(line, &m) != nil {
			return
		}
		if at := m.AtMS / p.BinMS; m.AtMS >= 0 && at < int64(p.bins()) {
			p.Said[at]++
		}
		if len(p.Messages) == maxMessages {
			p.More++
			return
		}
		out := Message{AtMS: m.AtMS, Participant: m.Participant}
		switch {
		case m.Text == nil:
			out.Text = fmt.Sprintf("(%d bytes)", len(m.Base64))
		default:
			out.Text = chat(*m.Text)
		}
		p.Messages = append(p.Messages, out)
	})
}

// chat gives what somebody has written, when a message is that in JSON, or the
// message.
func chat(text string) string {
	var m struct {
		Text *string `json:"text"`
	}
	if json.Unmarshal([]byte(text), &m) == nil && m.Text != nil {
		text = *m.Text
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// Write writes the page. Generator is what made it.
func (p *Page) Write(w io.Writer, generator string) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return fmt.Errorf("reading the page's template: %w", err)
	}
	p.Generated = generator
	return t.Execute(w, map[string]any{
		"Page": p, "Title": p.Title, "Policy": Policy("'self' file:"),
		// Both are ours; their digests in the policy let nothing else run.
		"Script": template.JS(script), "Style": template.CSS(style),
	})
}

// Policy is the Content-Security-Policy that a page needs, with recordings from
// the sources of media.
func Policy(media string) string {
	digest := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; media-src " + media + "; img-src data:; style-src " + digest(style) +
		"; script-src " + digest(script) + "; base-uri 'none'; form-action 'none'"
}
