package recorder

import (
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/timeline"
	"github.com/roomtape/roomtape/signaling"
)

// participant is somebody who is or was in the room, under one id.
type participant struct {
	id string
	// recorded is set when the id is one of those to record.
	recorded bool
	// joined is set while the room says that the participant is there.
	joined bool
	// hadTrack is set when there has been a track in this stay.
	hadTrack bool
	// tracks are the live ones, in the order in which they started.
	tracks []*track
	clocks []connectionClock
	stays  []stay
	// recordings are those that are not over, in the order of their making.
	recordings []*recording
	// bytes are in files that are over, the last of which is file, and err why
	// it failed.
	bytes int64
	file  string
	err   error
	// said is how many bytes of messages are recorded.
	said int64
	asks askedBy
}

// stay is one time in the room.
type stay struct {
	from, to time.Duration
	over     bool
}

// connectionClock is the clock of one connection, which all its tracks share.
type connectionClock struct {
	connection int
	clock      *timeline.Clock
}

// there tells whether the participant is somebody to stay in the room for: one
// who is recorded, and has or had a track. Another recorder is not.
func (p *participant) there() bool {
	return p.recorded && p.hadTrack && (p.joined || len(p.tracks) > 0)
}

// clock gives the clock of a connection. Those of connections without a live
// track are forgotten when there are many.
func (p *participant) clock(connection int, maxHold time.Duration) *timeline.Clock {
	for _, c := range p.clocks {
		if c.connection == connection {
			return c.clock
		}
	}
	if len(p.clocks) >= maxClocks {
		p.clocks = slices.DeleteFunc(p.clocks, func(c connectionClock) bool {
			return !slices.ContainsFunc(p.tracks, func(t *track) bool { return t.in.Connection == c.connection })
		})
	}
	c := timeline.New(timeline.Config{MaxHold: maxHold})
	p.clocks = append(p.clocks, connectionClock{connection, c})
	return c
}

// clockRate gives the RTP clock rate of the codecs of a kind.
func clockRate(k media.Kind) uint32 {
	if k == media.Video {
		return media.VP8.ClockRate()
	}
	return media.Opus.ClockRate()
}

// participant gives the one with the id, or nil when there are too many or the
// id is too long.
func (s *Session) participant(id string) *participant {
	if p, ok := s.byID[id]; ok {
		return p
	}
	if len(id) > MaxIDLength || len(s.participants) >= MaxParticipants {
		s.refuse("participant", id[:min(len(id), MaxIDLength)])
		return nil
	}
	match, _ := matchID(s.cfg.Participants, id) // the pattern has been checked
	p := &participant{id: id, recorded: match}
	s.byID[id] = p
	s.participants = append(s.participants, p)
	return p
}

// arrive begins a stay, if there is none.
func (s *Session) arrive(p *participant) {
	if n := len(p.stays); n > 0 && (!p.stays[n-1].over || n >= MaxStays) {
		p.stays[n-1].over = false
		return
	}
	p.stays = append(p.stays, stay{from: s.elapsed()})
	s.soon(manifestUrgent)
}

// depart ends the stay, if there is one.
func (s *Session) depart(p *participant) {
	if n := len(p.stays); n > 0 && !p.stays[n-1].over {
		p.stays[n-1].over = true
		p.stays[n-1].to = s.elapsed()
		s.soon(manifestUrgent)
	}
}

func (s *Session) join(id string) {
	p := s.participant(id)
	if p == nil || p.joined {
		return
	}
	p.joined = true
	s.arrive(p)
	s.log.Info("joined", "participant", id)
	s.updateEmpty()
}

func (s *Session) leave(id string) {
	p := s.byID[id]
	if p == nil {
		return
	}
	for len(p.tracks) > 0 {
		s.endTrack(p.tracks[0])
	}
	for _, r := range p.recordings {
		r.close(s.now)
	}
	if p.joined {
		s.log.Info("left", "participant", id)
	}
	p.joined, p.hadTrack = false, false
	s.depart(p)
	s.updateEmpty()
}

// startTrack begins to record a track, if it is one to record.
func (s *Session) startTrack(in *signaling.Track) {
	if in == nil || s.byTrack[in] != nil {
		return
	}
	p := s.participant(in.Participant)
	if p == nil || !p.recorded || s.cfg.Only != media.KindUnknown && in.Kind != s.cfg.Only {
		return
	}
	if in.Kind != media.Audio && in.Kind != media.Video {
		return
	}
	if len(p.tracks) >= MaxTracks {
		s.refuse("track", in.Participant)
		return
	}
	s.arrive(p)
	t := s.newTrack(p, in, p.clock(in.Connection, min(timeline.DefaultMaxHold, s.cfg.Chunk/2)))
	p.tracks = append(p.tracks, t)
	p.hadTrack = true
	s.byTrack[in] = t
	s.tracks = append(s.tracks, t)
	s.recordingFor(t).join(t)
	s.log.Info("track started", "participant", p.id, "kind", in.Kind, "stream", in.Stream, "connection", in.Connection)
	if in.Kind == media.Video && in.Feedback != nil {
		t.keys.begin(in.Feedback, s.now)
	}
	t.attend(s.now)
	s.updateEmpty()
}

// recordingFor gives the recording that a new track belongs to.
func (s *Session) recordingFor(t *track) *recording {
	var other *recording
	for _, r := range t.who.recordings {
		if !r.live() || r.connection != t.in.Connection {
			continue
		}
		if slices.Contains(r.streams, t.in.Stream) {
			return r
		}
		if other == nil && r.lacks(t.in.Kind) {
			other = r
		}
	}
	if other != nil {
		return other
	}
	return s.newRecording(t.who, t.in.Connection, []string{t.in.Stream})
}

func (s *Session) newRecording(who *participant, connection int, streams []string) *recording {
	s.made++
	r := &recording{
		s: s, who: who, connection: connection, serial: s.made,
		streams: slices.Clone(streams),
		order:   interleaver{hold: s.hold},
		idle:    s.now,
		chain:   chain{part: 1, cut: -1, from: -1},
	}
	r.schedule()
	s.recordings = append(s.recordings, r)
	who.recordings = append(who.recordings, r)
	return r
}

// endTrack takes what is left of a track and lets it go.
func (s *Session) endTrack(t *track) {
	t.end(s.now)
	s.count(t)
	delete(s.byTrack, t.in)
	is := func(o *track) bool { return o == t }
	s.tracks = slices.DeleteFunc(s.tracks, is)
	t.who.tracks = slices.DeleteFunc(t.who.tracks, is)
	if len(t.who.tracks) == 0 && !t.who.joined {
		s.depart(t.who)
	}
	s.log.Info("track ended", "participant", t.who.id, "kind", t.in.Kind, "stream", t.in.Stream)
	s.updateEmpty()
}

// updateEmpty notes when the room became empty.
func (s *Session) updateEmpty() {
	switch {
	case slices.ContainsFunc(s.participants, (*participant).there):
		s.emptySince = time.Time{}
	case s.emptySince.IsZero():
		s.emptySince = s.now
		if s.cfg.UntilEmpty > 0 {
			s.wake(s.now.Add(s.cfg.UntilEmpty))
		}
	}
}
