package recorder

import (
	"math"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
)

// frameOverhead is about what a frame takes in a file besides its data.
const frameOverhead = 8

// chain is the place of a recording among those that follow each other.
type chain struct {
	// part counts the files, from 1; before is the one that this one goes on
	// after, or nil, and beforeName its name once it is forgotten.
	part       int
	before     *recording
	beforeName string
	// lastCall is when no track can come any more that has to catch up.
	lastCall time.Time
	// rotated is set when rotation has begun the file, and not what was sent.
	rotated bool

	// base is the session time from which the ends of files are counted, once
	// based is set; from is that of the first frame, less than 0 before it.
	base, from time.Duration
	based      bool
	// cut is the session time from which the next file may begin with the next
	// keyframe or, without a picture, with the next frame; less than 0: none.
	cut time.Duration
	// bytes were taken; those since second in sum, and rate of the second
	// before.
	bytes, sum, rate int64
	second           time.Duration
}

// rotates tells whether files are to end by their length or size.
func (s *Session) rotates() bool { return s.cfg.RotateEvery > 0 || s.cfg.RotateSize > 0 }

// cutLead is how long before its end a file may end at a keyframe.
func (s *Session) cutLead() time.Duration {
	if s.cfg.RotateEvery == 0 {
		return cutLead
	}
	return min(cutLead, s.cfg.RotateEvery/10)
}

// weigh notes that a frame of size bytes goes into the file, and whether the
// file is long or large enough with it.
func (r *recording) weigh(at time.Duration, size int) {
	c, cfg := &r.chain, &r.s.cfg
	if c.from < 0 {
		c.from, c.second = at, at
		if !c.based {
			c.base, c.based = at, true
		}
		if every := cfg.RotateEvery; every > 0 {
			// A file that began late ends as if it had not; one that would be
			// shorter than half takes the next turn.
			n := (at - c.base + every/2) / every
			c.cut = c.base + (n+1)*every
		}
	}
	if cfg.RotateSize == 0 {
		return
	}
	if at-c.second >= time.Second {
		c.rate, c.sum, c.second = c.sum, 0, at
	}
	n := int64(size) + frameOverhead
	c.bytes += n
	c.sum += n
	// A keyframe has to be asked for: what comes in the time that this may take
	// still has its place.
	ahead := min(max(c.rate, c.sum), cfg.RotateSize/4)
	if c.bytes+ahead >= cfg.RotateSize && (c.cut < 0 || at < c.cut) {
		c.cut = at
	}
}

// begins tells whether a file may begin with the frame: nothing that comes later
// refers to what was before it.
func begins(f *depacket.Frame) bool { return f.Key && !f.Open }

// cuts tells whether the frame of t at a session time begins a new file because
// the present one is long or large enough.
func (t *track) cuts(f *depacket.Frame, at time.Duration) bool {
	c := &t.rec.chain
	if t.rec.next != nil || c.cut < 0 || at <= c.from {
		return false
	}
	if t.in.Kind == media.Video {
		return begins(f) && at >= c.cut-t.s.cutLead()
	}
	return at >= c.cut && !t.rec.awaitsPicture(at)
}

// awaitsPicture tells whether the file goes on at a session time until a video
// has its keyframe.
func (r *recording) awaitsPicture(at time.Duration) bool {
	return at < r.chain.cut+RotateLimit && slices.ContainsFunc(r.tracks, func(t *track) bool {
		return t.in.Kind == media.Video && t.lane != nil && t.lane.start >= 0 && at-t.lane.start < stillAfter
	})
}

// cutAsk gives the time from which the sender is to be asked for the keyframe
// of the next file; zero: not now.
func (t *track) cutAsk() time.Time {
	switch r := t.rec; {
	case t.in.Kind != media.Video || t.lane == nil || t.keyed:
	case r.next != nil: // the others have gone on
		return t.s.start.Add(r.until)
	case r.chain.cut >= 0:
		return t.s.start.Add(r.chain.cut - t.s.cutLead())
	}
	return time.Time{}
}

// follows tells whether the frame of t at a session time belongs to the file
// that follows: a picture goes on there from a keyframe on.
func (t *track) follows(f *depacket.Frame, at time.Duration) bool {
	r := t.rec
	return r.next != nil && at >= r.until && (t.in.Kind != media.Video || begins(f))
}

// rotate lets the recording go on in a new file, with a frame of this track. The
// other tracks follow when they have got as far. cut tells that the file's length
// or size is the reason.
func (t *track) rotate(at time.Duration, now time.Time, cut bool) {
	r := t.rec
	if r.next == nil {
		n := t.s.newRecording(r.who, r.connection, r.streams)
		n.chain.part, n.chain.before, n.chain.rotated = r.chain.part+1, r, cut
		n.chain.base, n.chain.based = r.chain.base, r.chain.based
		r.next = n
		r.until = at
		r.overdue = now.Add(t.s.follow)
		r.chain.lastCall = r.overdue
		t.s.wake(r.overdue)
		for _, o := range slices.Clone(r.tracks) {
			if o != t && o.in.Kind == media.Audio {
				o.followHeld(at, now)
			}
		}
	}
	t.move(at, now)
}

// followHeld moves a track of sound that was ahead of the picture: its frames
// from the session time until on that are still held belong to the next file.
func (t *track) followHeld(until time.Duration, now time.Time) {
	if t.lane == nil {
		return
	}
	old := t.lane
	frames := t.rec.order.takeFrom(old, until)
	if len(frames) == 0 {
		return
	}
	t.move(until, now)
	l := t.lane
	l.start, l.end, l.step = old.start, old.end, old.step
	old.end = min(old.end, until)
	if i := slices.IndexFunc(old.gaps, func(g gap) bool { return g.at >= until }); i >= 0 {
		for _, g := range old.gaps[i:] {
			old.n.lost, l.n.lost = old.n.lost-g.packets, l.n.lost+g.packets
			old.n.dropped, l.n.dropped = old.n.dropped-g.frames, l.n.dropped+g.frames
		}
		l.gaps = append(l.gaps, old.gaps[i:]...)
		old.gaps = old.gaps[:i]
	}
	for _, h := range frames {
		t.rec.weigh(h.frame.Time, len(h.frame.Data))
		t.rec.order.push(l, h)
	}
}

// move goes on to the recording that follows, or a later one: to that of the
// session time at, if it is not over.
func (t *track) move(at time.Duration, now time.Time) {
	r := t.rec.next
	for r.next != nil && (at >= r.until || r.closed) {
		r = r.next
	}
	t.settle()
	if t.lane != nil {
		t.lane.finish()
	}
	t.rec.leave(t, now)
	r.join(t)
	if t.lane != nil {
		t.lane = r.lane(t)
	}
	t.keyed = false
}

// endFiles ends all files at a session time. Their tracks go on in recordings of
// their own, as in rotate, but after a break.
func (s *Session) endFiles(at time.Duration, now time.Time) {
	for _, r := range slices.Clone(s.recordings) {
		if !r.live() {
			continue
		}
		n := s.newRecording(r.who, r.connection, r.streams)
		r.next, r.until, r.stopped = n, at, true
		r.overdue = now.Add(s.follow)
		r.chain.lastCall = r.overdue
		n.idle = r.overdue // tracks may come to it until then
		n.schedule()
		r.schedule()
	}
}

// overAt gives when a recording without tracks is over. One that others have
// gone on from waits for tracks that are still behind it.
func (r *recording) overAt() time.Time {
	switch before := r.chain.before; {
	case r.next == nil:
		return r.idle.Add(linger)
	case before == nil || before.closed:
		return r.idle
	}
	return r.chain.lastCall
}

// handOver moves the tracks that have not followed: they are silent. A picture
// without a keyframe stays for as long as it has frames.
func (r *recording) handOver(now time.Time) {
	r.overdue = time.Time{}
	for _, t := range slices.Clone(r.tracks) {
		if t.in.Kind == media.Video && t.lane != nil && t.lane.start >= 0 && !r.stopped {
			still := r.s.start.Add(t.lane.start + RotateLimit)
			if !reached(still, now) {
				r.overdue = earliest(r.overdue, still)
				continue
			}
			t.unkeyed = true
		}
		t.move(math.MaxInt64, now)
	}
}

// skips tells whether the frame is left out: one that can't be decoded in a file
// to which its track has come without a keyframe. What is lost up to the keyframe
// is counted with that.
func (t *track) skips(f *depacket.Frame) bool {
	if begins(f) {
		t.keyed, t.unkeyed = false, false
	}
	if !t.unkeyed {
		f.LostPackets += t.skippedPackets
		f.DroppedFrames += t.skippedFrames
		t.skippedPackets, t.skippedFrames = 0, 0
		return false
	}
	t.skippedPackets += f.LostPackets
	t.skippedFrames += f.DroppedFrames + 1
	t.past.dropped++
	t.lane.n.discarded[reasonUndecodable] += int64(f.Packets)
	t.dep.Recycle(f.Data)
	return true
}
