package peer

import (
	"maps"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// track is a track and the way back to its sender. Its own fields are guarded
// by the connection's lock.
type track struct {
	signaling.Track
	conn    *Conn
	source  *source
	section *section

	mid, rid      string // as long as the track is
	level         uint8  // an extension's id
	started, over bool
	seen          bool // a packet has come
	latest        time.Time

	wantKey  bool
	keyTries int
	nextKey  time.Time
	firSeq   uint8
	nacks    []uint16
	arrived  arrived
	sent     struct{ nacks, plis, firs uint64 } // packets of feedback
}

// Encoding gives, of a track that a connection of this package has told of, the
// m-line that it came by (RFC 8843 §8) and, with simulcast, which encoding it is
// (RFC 8851); "" when there is only one.
func Encoding(t *signaling.Track) (mid, rid string) {
	k, ok := t.Feedback.(*track)
	if !ok {
		return "", ""
	}
	return k.mid, k.rid
}

// AudioLevel gives, of a track that a connection of this package has told of, the id
// of the header extension that says how loud a packet is (RFC 6464); 0: none.
func AudioLevel(t *signaling.Track) uint8 {
	if k, ok := t.Feedback.(*track); ok {
		return k.level
	}
	return 0
}

// apply takes what the descriptions say now. It is called locked.
func (c *Conn) apply(sections []*section, now time.Time) {
	c.sections = sections
	known := map[string]*section{}
	for _, s := range sections {
		known[s.mid] = s
	}
	announced := map[uint32]*section{}
	for _, s := range sections {
		for _, ssrc := range s.sources {
			announced[ssrc] = s
		}
	}
	for _, t := range slices.Clone(c.tracks) {
		sec := known[t.section.mid]
		// A track stays while its m-line does, and its source, if sources are
		// announced at all.
		if sec == nil || sec.kind != t.section.kind || len(sec.sources) > 0 && announced[t.SSRC] != sec {
			c.end(t, now)
			continue
		}
		t.section, t.source.section = sec, sec
	}
	for _, s := range c.sources {
		if s.track == nil {
			s.section, s.original = nil, 0 // to be told anew
		}
	}
	for _, s := range sections {
		for _, ssrc := range s.sources {
			if announced[ssrc] != s {
				continue
			}
			if src := c.source(ssrc); src != nil && src.track == nil {
				c.addTrack(src, s, now)
			}
		}
	}
	for _, s := range c.sources {
		early := s.early
		s.early = nil
		for _, p := range early {
			c.receive(s, p)
		}
	}
}

// identify works out what a source is, from its packet p (RFC 8843 §9.2): by
// what was announced, by the packet's MID, or by a payload type that only one
// m-line has. It is called locked.
func (c *Conn) identify(s *source, p *media.Packet) {
	for _, sec := range c.sections {
		if slices.Contains(sec.sources, s.ssrc) {
			c.addTrack(s, sec, p.Arrival)
			return
		}
		if original, ok := sec.repairs[s.ssrc]; ok {
			s.section, s.original = sec, original
			return
		}
	}
	sec := c.sectionOf(p)
	if sec == nil {
		return
	}
	if _, ok := sec.codecs[p.PayloadType]; ok {
		if sec.extRID != 0 {
			s.rid = string(p.Extension(sec.extRID))
		}
		c.addTrack(s, sec, p.Arrival)
		return
	}
	if _, ok := sec.apt[p.PayloadType]; !ok {
		return
	}
	// A repair flow that was not announced belongs to the track whose RID it
	// names, else to the newest one on its m-line.
	for _, t := range slices.Backward(c.tracks) {
		if t.section != sec {
			continue
		}
		rid := p.Extension(sec.extRepairedRID)
		if sec.extRepairedRID == 0 || len(rid) == 0 || string(rid) == t.source.rid {
			s.section, s.original = sec, t.SSRC
			return
		}
	}
}

// sectionOf is called locked.
func (c *Conn) sectionOf(p *media.Packet) *section {
	for _, sec := range c.sections {
		if sec.extMID == 0 {
			continue
		}
		if mid := p.Extension(sec.extMID); len(mid) > 0 && string(mid) == sec.mid {
			return sec
		}
	}
	var found *section
	for _, sec := range c.sections {
		_, media := sec.codecs[p.PayloadType]
		_, repair := sec.apt[p.PayloadType]
		if !media && !repair {
			continue
		}
		if sec.extMID != 0 && len(p.Extension(sec.extMID)) > 0 {
			continue // it names another m-line
		}
		if found != nil && (len(found.sources) == 0) == (len(sec.sources) == 0) {
			return nil // it could be either
		}
		if found == nil || len(sec.sources) == 0 {
			found = sec // sources of an m-line that announces them are known
		}
	}
	return found
}

// addTrack makes the source a track. It is called locked.
func (c *Conn) addTrack(s *source, sec *section, now time.Time) {
	if len(c.tracks) >= MaxTracks {
		c.retire(now)
		if len(c.tracks) >= MaxTracks {
			return
		}
	}
	t := &track{conn: c, source: s, section: sec, mid: sec.mid, rid: s.rid, level: sec.extLevel}
	stream, id := sec.names(s.ssrc)
	t.Track = signaling.Track{
		Participant: c.opts.Participant, Stream: stream, ID: id,
		Connection: c.opts.Connection, SSRC: s.ssrc, Kind: sec.kind,
		Codecs: maps.Clone(sec.codecs), RED: maps.Clone(sec.red),
		Auxiliary: maps.Clone(sec.others), AbsCaptureTime: sec.extCapture, Dependencies: sec.extDependency,
		ParameterSets: sec.sets, Retransmits: sec.nack, Feedback: t,
	}
	s.track, s.section, s.original = t, sec, 0
	c.tracks = append(c.tracks, t)
	if c.up {
		c.start(t, now)
	}
}

// retire ends the track that has been silent for longest, for a peer that keeps
// changing its sources. It is called locked.
func (c *Conn) retire(now time.Time) {
	var oldest *track
	for _, t := range c.tracks {
		if t.seen && (oldest == nil || t.latest.Before(oldest.latest)) {
			oldest = t
		}
	}
	if oldest != nil && now.Sub(oldest.latest) > failedAfter {
		c.end(oldest, now)
	}
}

// start tells of the track, once. It is called locked.
func (c *Conn) start(t *track, now time.Time) {
	if t.started {
		return
	}
	t.started = true
	c.emit(signaling.Event{Kind: signaling.TrackStarted, Time: now, Track: &t.Track})
}

// end is called locked. Should the source send again, it is a new track.
func (c *Conn) end(t *track, now time.Time) {
	c.tracks = slices.DeleteFunc(c.tracks, func(o *track) bool { return o == t })
	t.over = true
	t.source.track, t.source.section = nil, nil
	if t.started {
		c.emit(signaling.Event{Kind: signaling.TrackEnded, Time: now, Track: &t.Track})
	}
}

// RequestKeyframe implements signaling.Feedback. Until the connection is up the
// request waits, and it is repeated until the first packet comes.
func (t *track) RequestKeyframe() {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.over || c.closed || t.Kind != media.Video {
		return
	}
	t.wantKey, t.keyTries, t.nextKey = true, 0, time.Time{}
	c.kick()
}

// Nack implements signaling.Feedback.
func (t *track) Nack(sequenceNumbers []uint16) {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.over || c.closed || !t.Retransmits {
		return
	}
	t.nacks = append(t.nacks, sequenceNumbers...)
	if n := len(t.nacks) - maxNacks; n > 0 {
		// The newest are those that the sender still has.
		t.nacks = append(t.nacks[:0], t.nacks[n:]...)
	}
	c.kickSoon()
}

// RoundTrip implements signaling.Feedback.
func (t *track) RoundTrip() time.Duration { return time.Duration(t.conn.roundTrip.Load()) }
