package recorder

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

// errLimit is wrapped by the errors of recordings that one of the limits forbids.
var errLimit = errors.New("beyond the limits")

// startFormat is the layout of {start} in a file's name, in UTC.
const startFormat = "20060102T150405Z"

// create makes the file.
func (r *recording) create() error {
	s := r.s
	if s.opened-s.rotated >= MaxFiles && !r.chain.rotated {
		return fmt.Errorf("%w: %d files", errLimit, MaxFiles)
	}
	first := r.earliest()
	name, err := output.Expand(s.cfg.Name, s.nameVars(r.who.id, r.streams[0], s.start.Add(first), s.opened+1))
	if err != nil {
		return fmt.Errorf("naming the file: %w", err)
	}
	var codecs []media.Codec
	for _, l := range r.order.lanes {
		codecs = append(codecs, l.codec)
	}
	for _, t := range r.tracks {
		if c := t.onlyCodec(); s.together() && t.lane == nil && c != media.CodecUnknown {
			codecs = append(codecs, c)
		}
	}
	r.ext = s.cfg.Ext(codecs)
	f, err := s.cfg.Store.Create(name, r.ext)
	if err != nil {
		return fmt.Errorf("%w: creating %q: %w", ErrStorage, name, err)
	}
	r.file = f
	s.opened++
	if r.chain.rotated {
		s.rotated++
	}
	r.n = s.opened
	return nil
}

// nameVars gives the values that a file's name may hold.
func (s *Session) nameVars(participant, stream string, start time.Time, n int) map[string]string {
	vars := map[string]string{
		"participant": participant,
		"stream":      stream,
		"start":       start.UTC().Format(startFormat),
		"n":           strconv.Itoa(n),
	}
	maps.Copy(vars, s.cfg.NameVars)
	return vars
}

// earliest gives the session time of the earliest frame that is held.
func (r *recording) earliest() time.Duration {
	first := time.Duration(-1)
	for _, l := range r.order.lanes {
		if l.queue.len() == 0 {
			continue
		}
		// The first one that is presented may be behind others.
		for i := range l.queue.items[l.queue.head:] {
			if t := l.queue.items[l.queue.head+i].frame.Time; first < 0 || t < first {
				first = t
			}
		}
	}
	return max(first, 0)
}

// awaitsSound tells whether the first chunk, which has a picture, goes on until
// it has sound, too: players take the delay of Opus off the times of sound, and
// Chromium looks for the beginning of a file in the chunk of what comes first then.
// Sound that is later than that is not waited for.
func (r *recording) awaitsSound(now time.Time) bool {
	if r.unflushed.IsZero() || reached(r.unflushed.Add(r.s.hold), now) {
		return false
	}
	picture := time.Duration(-1)
	for _, l := range r.order.lanes {
		switch {
		case l.progress.frames == 0:
		case l.codec.Kind() == media.Audio:
			return false
		default:
			picture = max(picture, r.offset+l.progress.at)
		}
	}
	if picture < 0 {
		return false
	}
	tracks := r.tracks
	if before := r.chain.before; before != nil && before.next == r {
		tracks = slices.Concat(tracks, before.tracks) // they will follow
	}
	return slices.ContainsFunc(tracks, func(t *track) bool {
		if t.in.Kind != media.Audio {
			return false
		}
		l := t.lane
		return t.rec != r || l == nil || l.queue.len() == 0 || l.queue.first().turn < picture+opusDelay
	})
}

// begin makes the muxer, and declares the tracks that have a frame.
func (r *recording) begin() error {
	s := r.s
	r.offset = r.earliest()
	k, w := newSink(r.file)
	m, err := s.cfg.NewMuxer(w, MuxerOptions{
		Chunk:    s.cfg.Chunk,
		Ext:      r.ext,
		UID:      s.cfg.Room + "\x00" + r.who.id + "\x00" + strconv.Itoa(r.n) + "\x00" + strconv.FormatInt(s.start.UnixNano(), 36),
		Date:     s.start.Add(r.offset).UTC().Round(0),
		Recorder: s.cfg.Recorder, Title: r.who.id,
	})
	r.sink = k
	if err != nil {
		return r.storage("beginning", err)
	}
	r.muxer = m
	s.media = true
	s.soon(manifestUrgent)
	s.log.Info("file opened", "file", r.file.Name(), "participant", r.who.id, "offset", r.offset.Round(time.Millisecond))
	for _, kind := range []media.Kind{media.Video, media.Audio} { // as players expect it
		for _, l := range r.order.lanes {
			if l.codec.Kind() != kind || l.queue.len() == 0 {
				continue
			}
			if err := r.declare(l); err != nil && !fixed(err) {
				return err
			}
		}
	}
	return nil
}
