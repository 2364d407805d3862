package recorder

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

// recording is one file, from the first track that may get into it to the
// moment when it is closed. The file is made when its first frame is due.
type recording struct {
	s *Session
	// serial counts the recordings of the session, from 1.
	serial     int
	who        *participant
	connection int
	// streams are the MediaStream ids whose tracks belong here.
	streams []string
	// tracks are those that are live and write here.
	tracks []*track
	order  interleaver

	file  output.File
	ext   string
	sink  *sink
	muxer output.Muxer
	// offset is the session time of the file's zero.
	offset time.Duration
	// headerDue is when a file that can't grow a track later stops waiting
	// for the tracks that are there.
	headerDue time.Time
	// fresh is set when a track has its first frame in the file. It is
	// flushed at once, or when it has the sound that belongs to it: a file
	// plays as soon as it can.
	fresh bool
	// unflushed is when the oldest frame that the muxer has not written was
	// complete; zero: it has written all.
	unflushed time.Time
	// unwritten is about how many bytes the muxer has not written.
	unwritten int64
	// idle is when the last track ended; zero while there is one.
	idle time.Time
	// dueAt is when service has something to do though nothing comes.
	dueAt time.Time
	// n is the number of the file in the session, from 1.
	n int

	// next takes the tracks over from the session time until on. At overdue
	// those that have not got as far are seen to.
	next    *recording
	until   time.Duration
	overdue time.Time
	chain   chain
	// stopped is set when it was a participant who has ended the file.
	stopped bool

	err    error
	closed bool
	// digest is the SHA-256 of the file, in hexadecimal.
	digest string
}

// readable tells whether the file can be read back: a stream can't.
func (r *recording) readable() bool {
	_, ok := r.file.(io.WriterAt)
	return ok
}

// bytes is how large the file is.
func (r *recording) bytes() int64 {
	if r.sink == nil {
		return 0
	}
	return r.sink.size
}

// live tells whether tracks may still join.
func (r *recording) live() bool { return !r.closed && r.next == nil }

// lacks tells whether there is no track of the kind. Sound and picture of one
// connection go together, whatever streams they are in.
func (r *recording) lacks(k media.Kind) bool {
	return !slices.ContainsFunc(r.tracks, func(t *track) bool { return t.in.Kind == k }) &&
		!slices.ContainsFunc(r.order.lanes, func(l *lane) bool { return l.codec.Kind() == k })
}

// join adds a live track.
func (r *recording) join(t *track) {
	t.rec = r
	r.tracks = append(r.tracks, t)
	r.idle = time.Time{}
	if !slices.Contains(r.streams, t.in.Stream) {
		r.streams = append(r.streams, t.in.Stream)
	}
}

// leave removes a track.
func (r *recording) leave(t *track, now time.Time) {
	r.tracks = slices.DeleteFunc(r.tracks, func(o *track) bool { return o == t })
	if len(r.tracks) == 0 {
		r.idle = now
	}
	r.schedule()
}

// lane gives the place of t's frames in the file: the one that an earlier track
// with the same id has left, or a new one.
func (r *recording) lane(t *track) *lane {
	for _, l := range r.order.lanes {
		if l.ended && l.codec == t.codec && l.id == t.in.ID {
			l.ended = false
			return l
		}
	}
	l := newLane(t.in.ID, t.codec)
	r.order.add(l)
	return l
}

// push takes a frame of l at its place in the session, and writes what is due.
func (r *recording) push(l *lane, h held, now time.Time) {
	if r.closed {
		l.discard(h)
		return
	}
	r.weigh(h.frame.Time, len(h.frame.Data))
	r.s.intake(len(h.frame.Data))
	r.order.push(l, h)
	r.pump(now, false)
	r.schedule()
}

// pump writes the frames that are due, or all.
func (r *recording) pump(now time.Time, all bool) {
	for {
		l := r.order.next(now, all)
		if l == nil || !r.ready(now, all) {
			break
		}
		// The error has closed the recording, and emptied the queues.
		if r.err != nil {
			break
		}
		r.write(l)
	}
	if r.err == nil && (r.fresh && !r.awaitsSound(now) || reached(r.unflushed, now.Add(-r.s.flushAge))) {
		r.flush()
		r.sync(FsyncChunk)
	}
}

// ready makes the file if there is none, and tells whether frames may be written
// to it: a stream waits for the tracks that are there, since its list of tracks
// can't grow.
func (r *recording) ready(now time.Time, all bool) bool {
	if r.muxer != nil {
		return true
	}
	if r.file == nil {
		if err := r.create(); err != nil {
			r.fail(now, err)
			return false
		}
		if !r.readable() {
			r.headerDue = now.Add(r.s.cfg.HeaderWait)
		}
	}
	if !all && !r.headerDue.IsZero() && now.Before(r.headerDue) && r.awaits() {
		return false
	}
	if err := r.begin(); err != nil {
		r.fail(now, err)
		return false
	}
	return true
}

// awaits tells whether a live track has no frame yet.
func (r *recording) awaits() bool {
	return slices.ContainsFunc(r.tracks, func(t *track) bool {
		return t.lane == nil || t.lane.queue.len() == 0
	})
}

// fixed tells the errors after which a track needs a file of its own.
func fixed(err error) bool {
	return errors.Is(err, output.ErrFixedTracks) || errors.Is(err, output.ErrCodec)
}

// declare adds the track of l to the file, with the size of its first frame.
func (r *recording) declare(l *lane) error {
	tr := media.Track{Codec: l.codec}
	switch l.codec.Kind() {
	case media.Video:
		h := l.queue.first()
		tr.Width, tr.Height = h.frame.Width, h.frame.Height
		tr.Private = h.private
	case media.Audio:
		tr.Channels = 2 // RFC 7587 §4.1: whoever plays it must be able to upmix
	}
	n, err := r.muxer.AddTrack(tr)
	if err != nil {
		return r.storage("adding a track to", err)
	}
	l.number = n
	l.width, l.height = tr.Width, tr.Height
	return nil
}

// write gives the first frame of l to the muxer.
func (r *recording) write(l *lane) {
	if l.number == 0 {
		err := r.declare(l)
		if fixed(err) {
			r.expel(l, err)
			return
		}
		if err != nil {
			r.fail(r.s.now, err)
			return
		}
	}
	h := r.order.pop(l)
	h.frame.Time = max(l.progress.order.Least(l.codec, h.frame.Time-r.offset), 0)
	before := r.sink.writes
	err := r.muxer.WriteFrame(l.number, h.frame)
	if err != nil {
		l.discard(h)
		r.fail(r.s.now, r.storage("writing", err))
		return
	}
	if r.sink.writes != before { // the chunk before this frame
		r.written()
		r.sync(FsyncChunk)
	}
	if r.err != nil {
		l.discard(h)
		return
	}
	r.unwritten += int64(len(h.frame.Data)) + frameOverhead
	r.fresh = r.fresh || l.progress.frames == 0
	l.count(&h)
	h.from.Recycle(h.frame.Data)
	r.unflushed = earliest(r.unflushed, h.entered)
}

// flush ends the chunk.
func (r *recording) flush() {
	if r.muxer == nil || r.err != nil {
		return
	}
	if err := r.muxer.Flush(); err != nil {
		r.fail(r.s.now, r.storage("writing", err))
		return
	}
	r.fresh = false
	r.written()
}

// written notes that the file holds all that the muxer has taken.
func (r *recording) written() {
	r.unflushed, r.unwritten = time.Time{}, 0
	for _, l := range r.order.lanes {
		l.safe = l.progress
	}
}

// sync makes what was written survive a power cut, if the policy is at least as
// strict as p.
func (r *recording) sync(p Fsync) {
	if r.s.cfg.Fsync > p || r.err != nil || r.file == nil {
		return
	}
	if err := r.file.Sync(); err != nil {
		r.sink.note(err)
		r.fail(r.s.now, r.storage("syncing", err))
	}
}

// storage wraps the error of a muxer: in ErrStorage when the file is why it
// failed.
func (r *recording) storage(doing string, err error) error {
	if r.sink.err != nil {
		return fmt.Errorf("%w: %s %s: %w", ErrStorage, doing, r.file.Name(), err)
	}
	return fmt.Errorf("%s %s: %w", doing, r.file.Name(), err)
}

// fail ends the recording by an error: what is held is discarded, and the file
// is left as complete as it can be.
func (r *recording) fail(now time.Time, err error) {
	if r.err != nil {
		return
	}
	r.err = err
	r.s.failed(r, err)
	r.close(now)
}

// service does what is due, and notes when to come back.
func (r *recording) service(now time.Time) {
	r.pump(now, false)
	if reached(r.overdue, now) {
		r.handOver(now)
	}
	if len(r.tracks) == 0 && reached(r.overAt(), now) {
		r.close(now)
	}
	r.schedule()
}

// schedule sets dueAt.
func (r *recording) schedule() {
	r.dueAt = notBefore(r.s.now, r.due())
	r.s.wake(r.dueAt)
}

// due tells when service has something to do though nothing comes.
func (r *recording) due() time.Time {
	if r.closed {
		return time.Time{}
	}
	due := r.order.due()
	if r.muxer == nil && !r.headerDue.IsZero() {
		due = r.headerDue
	}
	if !r.unflushed.IsZero() {
		due = earliest(due, r.unflushed.Add(r.s.flushAge))
		if r.fresh {
			due = earliest(due, r.unflushed.Add(r.s.hold))
		}
	}
	if len(r.tracks) == 0 {
		due = earliest(due, r.overAt())
	}
	return earliest(due, r.overdue)
}

// close writes all that is held and completes the file. Errors are kept in
// r.err. Tracks that are still there lose what they send from now on.
func (r *recording) close(now time.Time) {
	if r.closed {
		return
	}
	if r.err == nil {
		r.pump(now, true)
		r.flush()
	}
	if r.closed { // by an error on the way
		return
	}
	r.closed = true
	for _, l := range r.order.lanes {
		l.rollback()
		for l.queue.len() > 0 {
			l.discard(r.order.pop(l))
		}
	}
	if r.file == nil {
		return
	}
	err := r.complete()
	if err != nil && r.err == nil {
		r.err = err
		r.s.failed(r, err)
	}
	if r.next != nil {
		r.next.schedule() // it may have waited for this one
	}
	r.s.soon(manifestUrgent)
	r.s.log.Info("file closed", "file", r.file.Name(), "participant", r.who.id, "duration", r.duration().Round(time.Millisecond), "bytes", r.bytes())
}

// complete closes muxer and file, each whatever the other says.
func (r *recording) complete() error {
	var err error
	if r.muxer != nil {
		err = r.chapters()
		if e := r.muxer.Close(); e != nil && err == nil {
			err = r.storage("completing", e)
		}
	}
	if r.s.cfg.Fsync <= FsyncClose {
		if e := r.file.Sync(); e != nil && err == nil {
			err = fmt.Errorf("%w: syncing %s: %w", ErrStorage, r.file.Name(), e)
		}
	}
	if e := r.file.Close(); e != nil && err == nil {
		err = fmt.Errorf("%w: closing %s: %w", ErrStorage, r.file.Name(), e)
	}
	return err
}

// duration gives how much session time the file spans.
func (r *recording) duration() time.Duration {
	var d time.Duration
	for _, l := range r.order.lanes {
		if l.number > 0 {
			d = max(d, l.progress.at+l.progress.last)
		}
	}
	return d
}
