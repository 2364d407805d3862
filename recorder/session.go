// Package recorder turns what happens in a room into files: RTP packets to
// frames, frames to one clock, and one recording per stream of a participant,
// with a manifest that says what is in them and what is missing.
//
// A packet's way is
//
//	Room.Next → Session → track: jitter → depacket → timeline → recording: interleaver → output.Muxer → output.File
//
// # Time is data
//
// All of it runs on the goroutine that calls [Session.Run]. Nothing here reads
// a clock, starts a timer or a goroutine, or draws a random number: time is the
// time of events, and the room is asked for a tick when something is due though
// nothing comes. So the same events give the same bytes, live or from a dump.
//
// # What a crash costs
//
// What has arrived and can be decoded is written at most Config.Chunk after.
// A frame is held back for a quarter of that at most, so that the frames of a
// file are in order, and a chunk is flushed before its oldest frame gets older.
package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
)

// Errors that Run wraps.
var (
	// ErrNoMedia: the session is over, and nothing that can be decoded came.
	ErrNoMedia = errors.New("no media arrived")
	// ErrStorage: something could not be stored. What was written before is
	// final.
	ErrStorage = errors.New("storage failed")
)

// Session records one stay in one room. It is used by one goroutine.
type Session struct {
	cfg Config
	log *slog.Logger
	// hold is how long a frame is held back for those of other tracks, and
	// flushAge how old the oldest frame of a chunk may get.
	hold, flushAge time.Duration
	// follow is how long the tracks of a file have to follow the one that went
	// on in a new one: what is waited for comes, or is given up, in that time.
	follow time.Duration

	// start is the zero of session time. now is the time of the event or of
	// the deadline that is being served, acted the latest at which that
	// concerned media, and seen that of the latest event or tick.
	start, now, acted, seen time.Time
	// to is the time up to which deadlines are being served.
	to time.Time
	// due is not later than the earliest time at which something is due.
	due time.Time

	participants []*participant // in the order of coming
	byID         map[string]*participant
	tracks       []*track // live, in the order of starting
	byTrack      map[*signaling.Track]*track
	// recordings are those that are not over, done the others, both in the
	// order in which they were made; made counts them.
	recordings []*recording
	done       []doneFile
	made       int
	// opened counts the files, rotated those of them that rotation has begun.
	opened, rotated int
	// over is set when a policy has ended the session, why is the error.
	over bool
	why  error
	// heard is set by the first packet, media by the first frame of a file.
	heard, media bool
	// emptySince is when nobody was there any more; zero: somebody is.
	emptySince time.Time
	// full is set when the store takes no further file.
	full bool

	manifest manifestState
	status   statusState
	quality  qualityState
	disk     diskState
	messages messageLog
	control  controlState
	// failures are the first errors: of storage, and of all else.
	storage, internal error
}

// NewSession checks cfg and gives a session that has not begun.
func NewSession(cfg Config) (*Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Session{
		cfg:      cfg,
		log:      cfg.Logger,
		hold:     min(maxHold, cfg.Chunk/4),
		flushAge: cfg.Chunk * 4 / 5,
		follow:   max(cfg.MaxWaitLoss, reorderWait) + min(maxHold, cfg.Chunk/4),
		byID:     make(map[string]*participant),
		byTrack:  make(map[*signaling.Track]*track),
	}
	if _, err := output.Expand(cfg.Name, s.nameVars("id", "stream", time.Unix(0, 0), 1)); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	return s, nil
}

// Run records room until it is over, a policy of Config ends the session, or ctx
// is done; then it completes every file and the manifest. It does not close the
// room, so that what its closing would say is not taken for the end of a track.
// It is called once.
//
// The error is nil when what came is recorded, and otherwise wraps ErrStorage,
// ErrNoMedia or signaling.ErrLost.
func (s *Session) Run(ctx context.Context, room signaling.Room) error {
	if !s.cfg.Start.IsZero() {
		if err := s.begin(s.cfg.Start); err != nil {
			return s.finish(err)
		}
	}
	for first := true; ; {
		ev, err := room.Next(ctx, s.due)
		if err != nil {
			return s.finish(s.whyOver(ctx, err))
		}
		if s.start.IsZero() {
			if err := s.begin(ev.Time); err != nil {
				return s.finish(err)
			}
		}
		if first && ev.Time.Before(s.start) { // it waited for us
			s.start = ev.Time
		}
		first = false
		s.advance(ev.Time)
		if ev.Kind != signaling.Tick {
			s.handle(&ev)
			s.advance(ev.Time)
		}
		if ev.Time.After(s.seen) {
			s.seen = ev.Time
		}
		if s.over {
			return s.finish(s.why)
		}
	}
}

// advance serves all deadlines up to the time to, each at its own time and in
// their order, whenever the room's tick came. So what is recorded depends on
// events alone: a live room is late with its ticks, a dump is not.
func (s *Session) advance(to time.Time) {
	s.to = to
	for reached(s.due, to) {
		if s.due.After(s.now) {
			s.now = s.due
		}
		s.service()
		if reached(s.due, s.now) {
			s.due = s.now.Add(minDeadline)
		}
	}
}

// whyOver gives the session's error for one of Room.Next.
func (s *Session) whyOver(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// later gives the time for what is done every so often while time goes on: in
// the long pause of a dump, once.
func (s *Session) later(after time.Duration) time.Time {
	if s.to.After(s.now) {
		return s.to.Add(after)
	}
	return s.now.Add(after)
}

// begin sets the clock and tells the store.
func (s *Session) begin(at time.Time) error {
	s.start, s.now, s.acted, s.seen = at, at, at, at
	s.emptySince = at
	s.due = at
	if err := s.writeManifest(); err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return nil
}

// elapsed gives the session time.
func (s *Session) elapsed() time.Duration { return s.now.Sub(s.start) }

// wake sees to it that service is called at the given time.
func (s *Session) wake(at time.Time) { s.due = earliest(s.due, at) }

func (s *Session) handle(ev *signaling.Event) {
	if ev.Time.After(s.now) {
		s.now = ev.Time
	}
	s.acted, s.quality.latest = s.now, s.now
	switch ev.Kind {
	case signaling.Joined:
		s.join(ev.Participant)
	case signaling.Left:
		s.leave(ev.Participant)
	case signaling.TrackStarted:
		s.startTrack(ev.Track)
	case signaling.TrackEnded:
		if t := s.byTrack[ev.Track]; t != nil {
			s.endTrack(t)
		}
	case signaling.PacketArrived:
		t := s.byTrack[ev.Track]
		if t == nil { // of a track that is not to be recorded
			ev.Packet.Release()
			return
		}
		s.heard, s.manifest.stale = true, true
		s.heardPacket()
		t.take(ev.Packet, s.now)
	case signaling.Reported:
		if t := s.byTrack[ev.Track]; t != nil {
			t.place.Report(ev.Report, s.elapsed())
			t.service(s.now)
		}
	case signaling.MessageArrived:
		s.hear(ev.Participant, ev.Message)
	}
}

// service does all that is due, and notes when to come back.
func (s *Session) service() {
	s.due = time.Time{}
	s.serviceMedia()
	for _, t := range s.tracks {
		if reached(t.askDue, s.now) {
			t.attend(s.now)
		}
		s.wake(t.askDue)
	}
	s.forget()
	s.serviceDisk()
	if !s.over {
		s.over, s.why = s.policies()
	}
	s.serviceMessages()
	s.serviceQuality()
	s.serviceStatus()
	s.serviceManifest()
}

// serviceMedia serves the tracks and recordings that are due, and no other: what
// becomes of media must not depend on when something else was.
func (s *Session) serviceMedia() {
	for _, t := range s.tracks {
		if reached(t.due, s.now) {
			s.acted = s.now
			t.service(s.now)
		}
		s.wake(t.due)
	}
	for n := 0; n < len(s.recordings); { // serving one may add another
		r := s.recordings[n]
		n++
		if !r.closed && reached(r.dueAt, s.now) {
			s.acted = s.now
			r.service(s.now)
		}
		if !r.closed {
			s.wake(r.dueAt)
		}
	}
}

// drain lets time go on until nothing is waited for. A live session is stopped
// at some moment, a dump ends with its last event: whatever has passed between
// the two makes no difference after this.
func (s *Session) drain() {
	for _, t := range s.tracks {
		t.keys.to, t.nacks = nil, false
	}
	for {
		s.due = time.Time{}
		s.serviceMedia()
		if s.due.IsZero() {
			break
		}
		s.now = s.due
	}
	s.now = s.acted
}

// policies tells whether the session is over by its configuration, or because
// nothing can be recorded any more.
func (s *Session) policies() (over bool, err error) {
	if s.nothingLeft() {
		return true, nil
	}
	if s.cfg.Duration > 0 {
		if s.elapsed() >= s.cfg.Duration {
			return true, nil
		}
		s.wake(s.start.Add(s.cfg.Duration))
	}
	if s.cfg.Wait > 0 && !s.heard {
		if s.elapsed() >= s.cfg.Wait {
			return true, fmt.Errorf("%w within %v", ErrNoMedia, s.cfg.Wait)
		}
		s.wake(s.start.Add(s.cfg.Wait))
	}
	if s.cfg.UntilEmpty > 0 && s.heard && !s.emptySince.IsZero() {
		at := s.emptySince.Add(s.cfg.UntilEmpty)
		if reached(at, s.now) {
			return true, nil
		}
		s.wake(at)
	}
	return false, nil
}

// nothingLeft tells whether no frame can be stored any more: every live track's
// file has failed, or the store's only file is complete.
func (s *Session) nothingLeft() bool {
	if s.storage == nil && !s.full || len(s.tracks) == 0 && !s.full {
		return false
	}
	for _, r := range s.recordings {
		if !r.closed && (r.muxer != nil || !s.full) {
			return false
		}
	}
	return true
}

// failed notes that a recording could not be stored.
func (s *Session) failed(r *recording, err error) {
	if errors.Is(err, output.ErrOneFile) {
		s.full = true
		s.log.Info("not recorded: the output holds one recording only", "participant", r.who.id)
		s.wake(s.now)
		return
	}
	if errors.Is(err, errLimit) {
		s.refuse("file", r.who.id)
		return
	}
	s.log.Error("recording failed", "participant", r.who.id, "error", err)
	if errors.Is(err, ErrStorage) {
		s.storage = cmp.Or(s.storage, err)
	} else {
		s.internal = cmp.Or(s.internal, err)
	}
	s.soon(manifestUrgent)
	s.wake(s.now)
}

// refuse counts what is beyond the limits.
func (s *Session) refuse(what, id string) {
	s.manifest.refused++
	if s.manifest.refused == 1 {
		s.log.Warn("beyond the limits: not recorded, and neither will others be", "what", what, "participant", id)
	}
	s.soon(manifestSoon)
}

// finish completes all files and the manifest, and gives the error of Run.
func (s *Session) finish(err error) error {
	ended := s.now
	if s.seen.After(ended) {
		ended = s.seen
	}
	s.settleQuality()
	s.drain()
	for len(s.tracks) > 0 {
		s.endTrack(s.tracks[0])
	}
	s.closeAll()
	s.now = ended
	s.closeMessages()
	for _, p := range s.participants {
		s.depart(p)
	}
	if err == nil && !s.media && s.storage == nil && s.internal == nil {
		err = ErrNoMedia
		if s.heard {
			err = fmt.Errorf("%w that can be decoded", ErrNoMedia)
		}
	}
	for _, e := range []error{s.internal, s.storage} {
		if e != nil && err == nil {
			err = e
		} else if e != nil && !errors.Is(err, e) {
			err = fmt.Errorf("%w; %w", e, err)
		}
	}
	s.manifest.over = true
	s.manifest.why = err
	if e := s.writeManifest(); e != nil {
		e = fmt.Errorf("%w: %w", ErrStorage, e)
		if err == nil {
			err = e
		} else if !errors.Is(err, ErrStorage) {
			err = fmt.Errorf("%w; %w", e, err)
		}
		s.manifest.why = err // for those who read it from stdout
	}
	if s.cfg.OnStatus != nil {
		s.cfg.OnStatus(s.snapshot())
	}
	return err
}
