package recorder

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
)

// manifestState is what the session knows about its manifest.
type manifestState struct {
	// last is when it was written, due when it will be.
	last, due time.Time
	// cost is added to the time between two rewrites: manifestCost per byte.
	cost time.Duration
	// buf is the memory for its bytes.
	buf  []byte
	over bool
	// stale is set when something has changed since.
	stale bool
	// why is the error that Run returns.
	why     error
	refused int
	// unplaced are the tracks that never got a place in a file, of recordings
	// that are forgotten.
	unplaced []UnrecordedEntry
	failing  bool
}

// soon sees to it that the manifest is written when the last time is so long
// ago.
func (s *Session) soon(after time.Duration) {
	s.manifest.stale = true
	s.manifest.due = earliest(s.manifest.due, s.manifest.last.Add(after+s.manifest.cost))
	s.wake(s.manifest.due)
}

// serviceManifest writes the manifest if it is due.
func (s *Session) serviceManifest() {
	switch {
	case !reached(s.manifest.due, s.now):
	case !s.manifest.stale:
		s.manifest.due = s.later(manifestRefresh)
	default:
		// A disk that is full now may not be at the end.
		if err := s.writeManifest(); err != nil && !s.manifest.failing {
			s.manifest.failing = true
			s.log.Error("manifest not written", "error", err)
		}
	}
	s.wake(s.manifest.due)
}

func (s *Session) writeManifest() error {
	s.manifest.last, s.manifest.stale = s.now, false
	s.manifest.due = s.now.Add(manifestRefresh)
	if s.cfg.NoManifest {
		return nil
	}
	b, err := s.encodeManifest()
	if err != nil {
		return fmt.Errorf("encoding the manifest: %w", err)
	}
	s.manifest.cost = time.Duration(len(b)) * manifestCost
	return s.cfg.Store.WriteFile(ManifestName, b)
}

// Manifest gives what is recorded. It must not be called while Run is running,
// but from Config.OnStatus.
func (s *Session) Manifest() Manifest {
	m := s.outline()
	_ = s.eachFile(func(d *doneFile, r *recording) error { // which has no errors
		if r != nil {
			m.Files = append(m.Files, r.entry())
			return nil
		}
		var e FileEntry
		if err := json.Unmarshal(d.entry, &e); err != nil { // which encodeFile rules out
			e = FileEntry{Path: d.path, Error: err.Error(), Tracks: []TrackEntry{}}
		}
		m.Files = append(m.Files, e)
		return nil
	})
	return m
}

// outline gives the manifest without files.
func (s *Session) outline() Manifest {
	m := Manifest{
		Version: 1, Room: s.cfg.Room, URL: s.cfg.URL, Recorder: s.cfg.Recorder,
		State:        StateRecording,
		StartedAt:    stamp(s.start),
		Files:        []FileEntry{},
		Participants: []ParticipantEntry{},
		Unrecorded:   slices.Clone(s.manifest.unplaced),
		Refused:      s.manifest.refused,
		Quality:      slices.Clone(s.quality.events), QualityOmitted: s.quality.more,
	}
	if s.cfg.Stats != nil {
		m.Stats = s.cfg.Stats()
	}
	if s.manifest.over {
		m.EndedAt = stamp(s.now)
		m.State = StateComplete
		if s.manifest.why != nil {
			m.State, m.Reason = StateIncomplete, s.manifest.why.Error()
		}
	}
	m.Messages = s.messages.entry()
	s.controlEntries(&m)
	if s.disk.low != "" {
		m.Warnings = append(m.Warnings, s.disk.low)
	}
	if s.cfg.Dump != nil {
		path, err := s.cfg.Dump()
		if m.Dump = path; err != nil {
			m.DumpError = err.Error()
		}
	}
	for _, r := range s.recordings {
		m.Unrecorded = append(m.Unrecorded, r.unrecorded()...)
	}
	for _, p := range s.participants {
		for _, y := range p.stays {
			e := ParticipantEntry{ID: p.id, JoinedMS: y.from.Milliseconds()}
			if y.over {
				left := y.to.Milliseconds()
				e.LeftMS = &left
			}
			m.Participants = append(m.Participants, e)
		}
	}
	slices.SortStableFunc(m.Participants, func(a, b ParticipantEntry) int { return cmp.Compare(a.JoinedMS, b.JoinedMS) })
	return m
}

// stamp gives a time as the manifest has it.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// entry gives the recording's part of the manifest.
func (r *recording) entry() FileEntry {
	e := FileEntry{
		Path:        r.file.Name(),
		Participant: r.who.id,
		Stream:      r.streams[0],
		OffsetMS:    r.offset.Milliseconds(),
		DurationMS:  r.duration().Milliseconds(),
		Bytes:       r.sink.size,
		SHA256:      r.digest,
		Tracks:      []TrackEntry{},
	}
	if c := &r.chain; c.part > 1 || r.next != nil && !r.stopped || r.s.rotates() {
		e.Part, e.Continues = c.part, c.beforeName
		if c.before != nil && c.before.file != nil {
			e.Continues = c.before.file.Name()
		}
	}
	if r.err != nil {
		e.Error = r.err.Error()
	}
	for _, l := range r.order.lanes {
		if l.number > 0 {
			n := r.counts(l)
			e.Tracks = append(e.Tracks, l.entry(r.offset, &n))
		}
	}
	slices.SortFunc(e.Tracks, func(a, b TrackEntry) int { return cmp.Compare(a.Number, b.Number) })
	return e
}

// unrecorded gives what of a recording that is over has no place in a file.
func (r *recording) unrecorded() []UnrecordedEntry {
	if !r.closed {
		return nil
	}
	var list []UnrecordedEntry
	for _, l := range r.order.lanes {
		n := r.counts(l)
		if l.number > 0 || n.received == 0 {
			continue
		}
		why := "no frame that can be decoded"
		if n.discarded[reasonPaused] == n.received {
			why = "the recording was paused or stopped"
		}
		if r.err != nil {
			why = r.err.Error()
		}
		list = append(list, unrecordedEntry(r.who, r.streams[0], l.codec.Kind(), l.codec, &n, why))
	}
	return list
}

// unplaced lists tracks that have no place in a file.
func (s *Session) unplaced(list ...UnrecordedEntry) {
	for _, e := range list {
		if len(s.manifest.unplaced) < MaxUnrecorded {
			s.manifest.unplaced = append(s.manifest.unplaced, e)
		} else {
			s.manifest.refused++
		}
	}
	s.soon(manifestSoon)
}

func unrecordedEntry(p *participant, stream string, kind media.Kind, codec media.Codec, n *counts, why string) UnrecordedEntry {
	return UnrecordedEntry{
		Participant: p.id, Stream: stream, Kind: kind.String(), Codec: codec.String(),
		Packets: n.packets(), Reason: why,
	}
}

// counts gives what became of the packets for l so far.
func (r *recording) counts(l *lane) counts {
	for _, t := range r.tracks {
		if t.lane == l {
			return t.current()
		}
	}
	return l.total()
}
