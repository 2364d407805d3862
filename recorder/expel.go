package recorder

import (
	"errors"
	"slices"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

// expel moves l, which can't be in this file, and its track to one of their own.
func (r *recording) expel(l *lane, err error) {
	s := r.s
	s.log.Info("track needs a file of its own", "participant", r.who.id, "codec", l.codec, "why", err)
	streams := r.streams[:1:1]
	together := s.together() && r.next == nil && r.readable() && s.cfg.Ext([]media.Codec{l.codec}) != r.ext
	if together {
		streams = r.streams
	}
	n := s.newRecording(r.who, r.connection, streams)
	n.chain.base, n.chain.based, n.chain.rotated = r.chain.base, r.chain.based, r.chain.rotated
	if together {
		// In a file of another kind there is room for all: the other tracks
		// follow.
		r.next, r.until, r.overdue = n, l.queue.first().frame.Time, s.now.Add(s.follow)
		r.chain.lastCall = r.overdue
		n.chain.part, n.chain.before = r.chain.part+1, r
	}
	r.order.remove(l)
	n.order.add(l)
	if i := slices.IndexFunc(r.tracks, func(t *track) bool { return t.lane == l }); i >= 0 {
		t := r.tracks[i]
		r.leave(t, s.now)
		n.join(t)
	}
	if errors.Is(err, output.ErrCodec) && len(r.order.lanes) == 0 {
		n.fail(s.now, err) // a new file would not take it either
		return
	}
	n.pump(s.now, false)
	n.schedule()
}

// together tells whether the format puts sound and picture into one file.
func (s *Session) together() bool {
	return s.cfg.Ext([]media.Codec{media.Opus}) == s.cfg.Ext([]media.Codec{media.VP8})
}
