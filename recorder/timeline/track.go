package timeline

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// Limits of a track's estimates, in ns.
const (
	// delaySpan is the span of the minimum of arrival - media time, in media
	// time, so that a pause does not make it forget.
	delaySpan = 10 * second
	// recentSpan, in frames, is the span of the same for what is now.
	recentSpan = 8
	// earlyJump: a frame so much earlier than any before has a timestamp that
	// jumped forward. The network can't do that.
	earlyJump = second / 2
	// backJump: a timestamp so much before the last one has jumped back, if it
	// is not of a frame that is presented earlier.
	backJump = second / 5
	// aheadTime is how much earlier than others a frame may come since those
	// that are presented before it come after it.
	aheadTime = second
	// minStep is the least distance between two frames of a track.
	minStep = second / 1000
	// gap: media that pauses for so long is placed anew after it. Opus DTX
	// sends every 400 ms, and is none.
	gap = second / 2
	// farOff: a track that is so much too early is moved at once.
	farOff = second / 4
	// audioSlew and videoSlew, in ns per second, are the least speed of a
	// correction; slewTime makes large ones faster, up to maxSlew.
	audioSlew = 20 * second / 1000
	videoSlew = 100 * second / 1000
	maxSlew   = 250 * second / 1000
	slewTime  = 2
	// maxSeenLate is how far from the least late frame a packet may be seen.
	maxSeenLate = second / 4
	// captureAge is how long capture times hold against sender reports.
	captureAge = 30 * second
)

// Placed is a frame with its place in session time.
type Placed struct {
	// Frame is the frame as it was pushed; its Data's owner is the caller.
	Frame depacket.Frame
	// Time is when the frame is presented, from the start of the session. It
	// rises by at least 1 ms from frame to frame of a track, except that it is
	// never below 0, and that a frame which is Reordered has its place among
	// those before it.
	Time time.Duration
	// Paused is how long the sender had paused before this frame without
	// letting its timestamps go on, or 0.
	Paused time.Duration
}

// Stats says how well a track is placed.
type Stats struct {
	// Correction is what is still to be corrected, positive when frames are
	// placed too early.
	Correction time.Duration
	// ReportError is how far the last sender report or capture time that was
	// believed was from what had been expected.
	ReportError time.Duration
	// Skew is how much slower than the sender's wall clock the RTP clock
	// runs, in parts per billion.
	Skew int64
	// Believed and Refused count sender reports and capture times.
	Believed, Refused int
	// Pauses counts pauses with timestamps that stood still, and Jumps
	// timestamps that jumped and restarts.
	Pauses, Jumps int
}

// item is a frame on its way through a track.
type item struct {
	frame   depacket.Frame
	arrival int64
	media   int64 // media time
	paused  int64
	// behind is set on a frame that is presented before one before it.
	behind bool
}

// Track places the frames of one track.
type Track struct {
	clock *Clock
	audio bool
	rate  int64

	started bool
	ticks   int64 // extended timestamp of the last frame
	origin  int64 // ticks at media time shift
	shift   int64
	// last is the last frame pushed, without its data, and without those that
	// are behind; steady is the same of those that were not recovered. order has
	// the media times of all.
	last, steady item
	order        media.Order

	delay  drift // least arrival - media time
	recent floor // the same, of the last frames
	frames int64
	// lastLate and lastMedia are how late the last frame was that was not
	// recovered, and its media time; prevLate and prevMedia of the one before.
	lastLate, lastMedia int64
	prevLate, prevMedia int64
	noise               noise
	lines               [sources]line // wall time - media time, by media time
	early               struct {      // a sender report from before the first frame
		report  signaling.SenderReport
		arrival int64
		set     bool
	}
	// claim is a change of the mapping that one sample claims, claimAt the wall
	// time of that.
	claim, claimAt int64
	claimed        bool
	doubt          doubt

	onTime, late int64 // when the last frame that was on time, and late, arrived

	// seen are the first packets of frames that came while the track settles.
	// seenOnTime is the media time of the last that was on time when those of
	// before were late: the timestamps have not stood still up to there.
	seen       []stamp
	seenOnTime int64

	queue   []item // what is pushed and not popped: ready[head:], then held
	head    int
	held    int
	hold    hold
	remains remains
	undo    undo

	placed bool
	offset int64 // session time - media time, as used
	err    int64 // what is still to be corrected of it
	base   int64 // the part of offset that all tracks of the connection share
	bias   int64 // what is added to the place that the arrivals give
	from   source
	// prev is the media time of the last frame placed, but for those behind, and
	// prevTime its place; before and beforeTime are of the one before that.
	prev, prevTime     int64
	before, beforeTime int64
	stats              Stats
}

// media gives the media time of an extended timestamp.
func (t *Track) media(ticks int64) int64 {
	return ticksToNanos(ticks-t.origin, t.rate) + t.shift
}

// extend gives the extended timestamp that is nearest to what is expected at
// the time of arrival.
func (t *Track) extend(timestamp uint32, arrival int64) int64 {
	expected := t.ticks + nanosToTicks(arrival-t.last.arrival, t.rate)
	return expected + int64(int32(timestamp-uint32(expected)))
}

// Push takes a frame in the order of its sequence numbers, and the time of its
// arrival since the session began, which is not after the now of the next Pop.
// Data stays with the frame until Pop.
func (t *Track) Push(f depacket.Frame, arrival time.Duration) {
	at := clampTime(arrival)
	t.clock.advance(at)
	if !t.started {
		t.start(f.Timestamp, at)
	}
	ticks := t.extend(f.Timestamp, at)
	m := t.media(ticks)
	if t.isBehind(&f, m) {
		t.insert(f, ticks, m, at)
		return
	}
	// A frame stamped with the same arrival as the one before says nothing
	// new; in a dump whose clock stood still, none does.
	fresh := at != t.last.arrival || t.frames == 0
	switch late := at - m - t.delay.value(m); {
	case t.frames == 0:
	case f.Restarted, m < t.last.media-backJump:
		m = t.jump(ticks, at)
	case f.CaptureTime != 0: // decides below
	case fresh && late < -earlyJump/5:
		if wrong, ok := t.undo.due(m, late); ok {
			t.rebase(-wrong)
			t.undo = undo{}
			m = t.media(ticks)
		} else if late < -early(&f) && t.leaps(m, at) {
			m = t.jump(ticks, at)
		}
	}
	step := (at - t.steady.arrival) - (m - t.steady.media)
	t.ticks = ticks
	t.last = item{arrival: at, media: m}
	if !f.Recovered {
		t.steady = t.last
	}
	t.put(item{frame: f, arrival: at, media: m})

	sure := f.CaptureTime != 0 && t.sample(captures, f.CaptureTime, ticks, at, at-m)
	if f.CaptureTime != 0 && !sure && fresh && at-m-t.delay.value(m) < -early(&f) {
		m = t.jump(ticks, at)
		t.queue[len(t.queue)-1].media = m
	}
	if f.Reorders {
		t.order.Push(time.Duration(t.last.media))
	}
	late := at - m - t.delay.value(m)
	if t.frames == 0 {
		late = 0
	}
	if t.decide(step, late, sure, f.Recovered); fresh && (!f.Recovered || t.frames == 0) {
		t.learn(at, late-(t.last.media-m))
	}
	if t.doubt.set && fresh && !f.Recovered {
		t.weigh(at, late)
	}
}

// leaps tells whether a frame that is too early is so all at once. After a first
// frame that came late, those behind it come earlier and earlier.
func (t *Track) leaps(m, arrival int64) bool {
	return (m-t.last.media)-max(arrival-t.last.arrival, 0) > earlyJump/2
}

// stamp is when the first packet with a timestamp arrived.
type stamp struct {
	timestamp uint32
	arrival   int64
}

// maxSeen bounds the packets that are noted.
const maxSeen = 64

// Settling tells whether Seen is of use: until the first frame of the track has
// its place, and while it is not decided where later ones belong.
func (t *Track) Settling() bool { return !t.placed || t.hold.state == doubting }

// Seen notes that a packet, which was not sent again, has arrived. Its frame may
// have to wait for other packets; when it came helps to place those before it.
func (t *Track) Seen(timestamp uint32, arrival time.Duration) {
	if t.hold.state == doubting {
		at := clampTime(arrival)
		if m := t.media(t.extend(timestamp, at)); at-m-t.delay.value(m) < t.hold.first/2 {
			t.seenOnTime = max(t.seenOnTime, m)
		} else if m > t.last.media {
			t.hold.seen++
		}
		return
	}
	if n := len(t.seen); n < maxSeen && (n == 0 || t.seen[n-1].timestamp != timestamp) {
		t.seen = append(t.seen, stamp{timestamp, clampTime(arrival)})
	}
}

// settleSeen takes what was seen into account.
func (t *Track) settleSeen() {
	for _, s := range t.seen {
		m := t.media(t.extend(s.timestamp, s.arrival))
		if late := s.arrival - m - t.delay.value(m); t.frames > 0 && abs(late) < maxSeenLate {
			t.delay.add(m, s.arrival-m, delaySpan)
		}
	}
	t.seen = nil
}

// start begins the track with its first timestamp.
func (t *Track) start(timestamp uint32, arrival int64) {
	t.started = true
	t.ticks, t.origin = int64(timestamp), int64(timestamp)
	t.last.arrival = arrival
	t.steady.arrival = arrival
	t.hold.begin(settling, arrival, 0, min(settleTime, t.clock.maxHold), t.clock.now)
	if t.early.set {
		t.early.set = false
		ticks := t.extend(t.early.report.RTP, t.early.arrival)
		t.sample(reports, t.early.report.NTP, ticks, t.early.arrival, arrival)
	}
}

// learn notes the last frame's delay, once it is decided; late is how much more
// it is than the least.
func (t *Track) learn(arrival, late int64) {
	if t.hold.state == doubting || t.hold.state == anchoring {
		return
	}
	m := t.last.media
	t.prevLate, t.prevMedia = t.lastLate, t.lastMedia
	t.lastLate, t.lastMedia = max(late, 0), m
	t.delay.add(m, arrival-m, delaySpan)
	t.delay.learn(m, arrival-m)
	t.recent.add(t.frames, arrival-m, recentSpan)
	t.frames++
	switch {
	case late < onTimeLimit:
		t.onTime = arrival
	case late > lateLimit:
		t.late = arrival
	}
	if s, ok := t.source(m); ok && !t.lines[s].guessed {
		at := m + t.lines[s].value(m)
		t.clock.walls[s].observe(at, arrival-at)
	}
}

// source tells which mapping places media time m.
func (t *Track) source(m int64) (source, bool) {
	c, r := &t.lines[captures], &t.lines[reports]
	switch {
	case c.n > 0 && (r.n == 0 || m-c.start <= captureAge):
		return captures, true
	case r.n > 0:
		return reports, true
	}
	return 0, false
}

// target gives where media time m belongs: session time - m. It moves offset
// by as much as the connection's wall clock has moved, so that its tracks stay
// together.
func (t *Track) target(m int64) int64 {
	s, ok := t.source(m)
	if !ok {
		t.from = sources
		if len(t.clock.tracks) > 1 { // with others, where it belongs counts
			t.bias = 0
		}
		return t.delay.value(m) + t.bias
	}
	line := t.lines[s].value(m)
	base := t.clock.walls[s].offset(m + line)
	if t.from == s {
		t.offset += base - t.base
	}
	t.from, t.base = s, base
	return line + base
}

// Ready tells whether Pop gives a frame, for less than Pop takes.
func (t *Track) Ready(now time.Duration) bool {
	t.clock.advance(clampTime(now))
	if t.held > 0 && t.clock.now >= t.hold.until {
		t.timeout()
	}
	return t.head < len(t.queue)-t.held
}

// Pop gives the next frame with its place, once it is decided. It returns
// false when there is none or it must wait; now is the time since the session
// began.
func (t *Track) Pop(now time.Duration) (Placed, bool) {
	if !t.Ready(now) {
		return Placed{}, false
	}
	it := t.queue[t.head]
	t.queue[t.head] = item{}
	t.head++
	if t.head == len(t.queue) {
		t.queue, t.head = t.queue[:0], 0
	}
	return t.place(it), true
}

func (t *Track) put(it item) {
	if t.head > 0 && len(t.queue) == cap(t.queue) {
		n := copy(t.queue, t.queue[t.head:])
		clear(t.queue[n:])
		t.queue, t.head = t.queue[:n], 0
	}
	t.queue = append(t.queue, it)
	t.held++
}

// place gives the frame its time.
func (t *Track) place(it item) Placed {
	if it.behind && t.placed && it.media < t.prev {
		return Placed{Frame: it.frame, Time: time.Duration(t.between(it.media)), Paused: time.Duration(it.paused)}
	}
	target := t.target(it.media)
	err := target - t.offset
	switch step := it.media - t.prev; {
	case !t.placed:
		// What belongs before the session goes to its start, and is slewed
		// from there: squeezed together, the frames would not play evenly.
		t.offset = max(target, -it.media)
		if it.frame.Reorders && t.from == sources && len(t.clock.tracks) <= 1 {
			// The first of the frames that come before they are presented
			// may belong there: nothing is better for a correction.
			t.bias = t.offset - target
			target = t.offset
		}
	case err > farOff:
		t.offset = target
	case step >= gap:
		t.offset += max(err, -step/2)
	case step > 0 && t.audio:
		t.offset += slew(err, audioSlew, step)
	case step > 0:
		sound := t.soundError()
		t.offset += slew(err-sound, videoSlew, step) + slew(sound, audioSlew, step)
	}
	t.err = target - t.offset
	t.stats.Correction = time.Duration(target - t.offset)
	at := max(it.media+t.offset, 0)
	if t.placed {
		at = max(at, t.prevTime+minStep)
	}
	t.before, t.beforeTime = t.prev, t.prevTime
	if !t.placed {
		t.before, t.beforeTime = it.media, at
	}
	t.placed = true
	t.prev, t.prevTime = it.media, at
	return Placed{Frame: it.frame, Time: time.Duration(at), Paused: time.Duration(it.paused)}
}

// soundError gives what is still to be corrected of the sound that belongs to a
// picture. The picture does not run ahead of it.
func (t *Track) soundError() int64 {
	for _, u := range t.clock.tracks {
		if u.audio && u.placed && abs(u.prevTime-t.prevTime) < gap {
			return u.err
		}
	}
	return 0
}

// slew gives how far an error may be corrected in the time dt: no slower than
// least ns per second, faster when it is large, never past it.
func slew(err, least, dt int64) int64 {
	rate := min(max(abs(err)/slewTime, least), maxSlew)
	step := maxTime
	if dt < 1000*second {
		step = rate * (dt / 1000) / (second / 1000)
	}
	return min(max(err, -step), step)
}

// Deadline tells when Pop should be called though nothing is pushed. It
// returns false when nothing is held.
func (t *Track) Deadline() (time.Duration, bool) {
	if t.held == 0 {
		return 0, false
	}
	return time.Duration(t.hold.until), true
}

// Decide ends holding for now: Pop gives what has been pushed so far without
// waiting for more.
func (t *Track) Decide() {
	if t.held > 0 {
		t.timeout()
	}
}

// Flush tells that the track has ended: Pop gives what is held without waiting
// for more, and nothing may be pushed any more.
func (t *Track) Flush() {
	t.Decide()
	t.clock.forget(t)
}

// Stats says how well the track is placed.
func (t *Track) Stats() Stats {
	s := t.stats
	if src, ok := t.source(t.last.media); ok {
		s.Skew = t.lines[src].slope
	}
	return s
}
