package recorder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/roomtape/roomtape/signaling"
)

// The states that participants are told of: those of signaling/mesh, and that the
// recording is paused.
const (
	StateStarted = "started"
	StatePaused  = "paused"
	StateStopped = "stopped"
)

// MarkEntry is a point in time that a participant has named.
type MarkEntry struct {
	AtMS int64  `json:"at_ms"`
	Name string `json:"name"`
	By   string `json:"by"`
}

// PauseEntry is a stretch of time that is not recorded because a participant asked
// for it: a pause, or one between a stop and the next start.
type PauseEntry struct {
	AtMS int64 `json:"at_ms"`
	// DurationMS is absent while the pause lasts.
	DurationMS *int64 `json:"duration_ms,omitempty"`
	By         string `json:"by"`
	ResumedBy  string `json:"resumed_by,omitempty"`
}

// request is what a participant may ask of a recorder: {"type":"recording",
// "action":"status"}, and start, stop, pause, resume and mark.
type request struct {
	Type   string `json:"type"`
	Action string `json:"action"`
	Name   string `json:"name"`
}

// answer is what is said to it.
type answer struct {
	Type   string `json:"type"`
	State  string `json:"state"`
	PeerID string `json:"peer_id"`
	// InReplyTo is the request's action.
	InReplyTo string `json:"in_reply_to"`
	OK        bool   `json:"ok"`
	Error     string `json:"error,omitempty"`
	// ElapsedMS is the session time, and Control whether other requests than
	// status are obeyed.
	ElapsedMS int64 `json:"elapsed_ms"`
	Control   bool  `json:"control"`
}

// mark and pause are the manifest's MarkEntry and PauseEntry on the session's
// clock.
type mark struct {
	at       time.Duration
	name, by string
}

type pause struct {
	from, to time.Duration
	over     bool
	// stop is set when the files have ended with it; what comes after it is in
	// new ones.
	stop          bool
	by, resumedBy string
}

// controlState is what participants have asked for.
type controlState struct {
	marks  []mark
	pauses []pause
	// stoppedBy is who has stopped the recording, unless it was started again.
	stoppedBy string
	// ignored counts requests that came too fast.
	ignored int
}

// askedBy is what a participant has asked for lately.
type askedBy struct {
	// until is when what has come so far would have come at requestRate.
	until time.Time
	// refused is how many requests were not allowed.
	refused int
}

// allow tells whether another request may be answered now.
func (a *askedBy) allow(now time.Time) bool {
	const each = time.Second / requestRate
	if a.until.Before(now) {
		a.until = now
	}
	if a.until.Sub(now) >= requestBurst*each {
		return false
	}
	a.until = a.until.Add(each)
	return true
}

// paused tells whether the recording is paused.
func (s *Session) paused() bool {
	n := len(s.control.pauses)
	return n > 0 && !s.control.pauses[n-1].over
}

// stopped tells whether the recording is stopped, until it is started again.
func (s *Session) stopped() bool { return s.paused() && s.control.pauses[len(s.control.pauses)-1].stop }

// asked does what a text message asks for, if it does.
func (s *Session) asked(p *participant, m *signaling.Message) {
	if len(m.Data) > maxRequest || !bytes.Contains(m.Data, []byte(`"recording"`)) {
		return
	}
	var r request
	if json.Unmarshal(m.Data, &r) != nil || r.Type != "recording" || r.Action == "" {
		return
	}
	if !p.asks.allow(s.now) {
		if s.control.ignored++; s.control.ignored == 1 {
			s.log.Warn("requests that come too fast are ignored", "participant", p.id)
		}
		return
	}
	err := s.obey(p, r)
	if m.Reply == nil {
		return
	}
	a := answer{
		Type: "recording", State: s.state(), PeerID: m.To, InReplyTo: cutText(r.Action, maxAction),
		OK: err == nil, ElapsedMS: s.elapsed().Milliseconds(), Control: s.cfg.AllowControl,
	}
	if err != nil {
		a.Error = err.Error()
	}
	if b, err := json.Marshal(a); err == nil {
		m.Reply(b)
	}
}

// state gives the state as participants are told it.
func (s *Session) state() string {
	switch {
	case s.over, s.stopped():
		return StateStopped
	case s.paused():
		return StatePaused
	}
	return StateStarted
}

// obey does what a participant asks for.
func (s *Session) obey(p *participant, r request) error {
	switch r.Action {
	case "status":
		return nil
	case "start", "stop", "pause", "resume", "mark":
	default:
		return fmt.Errorf("unknown action")
	}
	if !s.cfg.AllowControl {
		if p.asks.refused++; p.asks.refused <= maxRefusals {
			s.log.Warn("request refused: participants may not control the recording", "participant", p.id, "action", r.Action)
		}
		return fmt.Errorf("not allowed")
	}
	before := s.state()
	switch r.Action {
	case "mark":
		return s.setMark(p, r.Name)
	case "pause":
		if s.stopped() {
			return fmt.Errorf("the recording is stopped")
		}
		if s.paused() {
			return nil
		}
		if len(s.control.pauses) >= MaxPauses {
			return fmt.Errorf("more than %d pauses", MaxPauses)
		}
		s.control.pauses = append(s.control.pauses, pause{from: s.elapsed(), by: p.id})
	case "start", "resume":
		s.resume(p.id)
	case "stop":
		s.stop(p.id)
	}
	if now := s.state(); now != before {
		s.log.Info("the recording is "+now, "by", p.id, "at", s.elapsed().Round(time.Millisecond))
		s.soon(manifestUrgent)
		if s.cfg.OnState != nil && !s.over { // leaving the room tells that it has stopped
			s.cfg.OnState(now)
		}
	}
	return nil
}

// stop ends all files, as soon as what was captured before has come or was given
// up. The session goes on, so that the recording can be started again in new files.
func (s *Session) stop(by string) {
	if s.stopped() {
		return
	}
	s.control.stoppedBy = by
	if len(s.control.pauses) >= MaxPauses {
		s.over = true
		return
	}
	s.endPause(by)
	s.control.pauses = append(s.control.pauses, pause{from: s.elapsed(), by: by, stop: true})
	s.endFiles(s.elapsed(), s.now)
}

// endPause ends the pause, or the time for which the recording is stopped, and
// tells whether there was one.
func (s *Session) endPause(by string) bool {
	if !s.paused() {
		return false
	}
	last := &s.control.pauses[len(s.control.pauses)-1]
	last.to, last.over, last.resumedBy = s.elapsed(), true, by
	return true
}

// resume records again.
func (s *Session) resume(by string) {
	if !s.endPause(by) {
		return
	}
	s.control.stoppedBy = ""
	for _, t := range s.tracks {
		t.attend(s.now) // for the keyframe that it goes on with
	}
}

// setMark names the present moment.
func (s *Session) setMark(p *participant, name string) error {
	if len(s.control.marks) >= MaxMarks {
		return fmt.Errorf("more than %d marks", MaxMarks)
	}
	if name = cleanName(name); name == "" {
		name = fmt.Sprintf("Mark %d", len(s.control.marks)+1)
	}
	s.control.marks = append(s.control.marks, mark{s.elapsed(), name, p.id})
	s.log.Info("mark", "name", name, "by", p.id, "at", s.elapsed().Round(time.Millisecond))
	s.soon(manifestUrgent)
	return nil
}

// cleanName gives a name that harms nobody who prints it: without control
// characters, and what changes the direction of text.
func cleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.C, r):
			return -1
		}
		return r
	}, cutText(name, 2*MaxMarkName))
	return strings.TrimSpace(cutText(strings.TrimSpace(name), MaxMarkName))
}

// pauseAt gives the number of the latest pause that began at a session time or
// before, from 1, and whether that time is in it.
func (s *Session) pauseAt(at time.Duration) (n int, within bool) {
	for n = len(s.control.pauses); n > 0; n-- {
		if p := &s.control.pauses[n-1]; at >= p.from {
			return n, !p.over || at < p.to
		}
	}
	return 0, false
}

// chapters gives the muxer the marks that were set while the file grew.
func (r *recording) chapters() error {
	m, ok := r.muxer.(interface {
		AddChapter(at time.Duration, name string) error
	})
	if !ok {
		return nil
	}
	for _, k := range r.s.control.marks {
		if k.at < r.offset || r.next != nil && k.at >= r.until {
			continue
		}
		if err := m.AddChapter(min(k.at-r.offset, r.duration()), k.name); err != nil {
			return r.storage("adding a chapter to", err)
		}
	}
	return nil
}

// marks, pauses are the manifest's parts.
func (s *Session) controlEntries(m *Manifest) {
	for _, k := range s.control.marks {
		m.Marks = append(m.Marks, MarkEntry{k.at.Milliseconds(), k.name, k.by})
	}
	for _, p := range s.control.pauses {
		e := PauseEntry{AtMS: p.from.Milliseconds(), By: p.by, ResumedBy: p.resumedBy}
		if to := p.to; p.over || s.manifest.over {
			if !p.over {
				to = s.elapsed()
			}
			d := (to - p.from).Milliseconds()
			e.DurationMS = &d
		}
		if p.stop {
			m.Stops = append(m.Stops, e)
			continue
		}
		m.Pauses = append(m.Pauses, e)
	}
	m.StoppedBy = s.control.stoppedBy
}
