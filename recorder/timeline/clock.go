package timeline

import (
	"time"

	"github.com/roomtape/roomtape/media"
)

// DefaultMaxHold is how long a frame may be held when Config says nothing.
const DefaultMaxHold = 300 * time.Millisecond

// Config configures a Clock. The zero value is ready to use.
type Config struct {
	// MaxHold bounds how long Pop holds a frame back while it is not decided
	// where it belongs; 0 means DefaultMaxHold. A shorter time makes more
	// decisions wrong until the next report mends them.
	MaxHold time.Duration
}

// Clock is what is known of the clocks of one participant's connection: all
// its tracks share the sender's wall clock. It and its tracks are used by one
// goroutine.
type Clock struct {
	maxHold int64
	now     int64 // the latest time that anything happened
	tracks  []*Track
	walls   [sources]wall
}

// New makes the clock of one connection.
func New(cfg Config) *Clock {
	if cfg.MaxHold <= 0 {
		cfg.MaxHold = DefaultMaxHold
	}
	return &Clock{maxHold: clampTime(cfg.MaxHold)}
}

// NewTrack adds a track with RTP timestamps of clockRate Hz. A rate below
// 1000 Hz is no media clock, and is taken as the usual one of the kind.
func (c *Clock) NewTrack(kind media.Kind, clockRate uint32) *Track {
	t := &Track{clock: c, audio: kind == media.Audio, rate: int64(clockRate)}
	if clockRate < 1000 {
		t.rate = 90000
		if t.audio {
			t.rate = 48000
		}
	}
	c.tracks = append(c.tracks, t)
	return t
}

func (c *Clock) forget(t *Track) {
	for i, u := range c.tracks {
		if u == t {
			c.tracks = append(c.tracks[:i], c.tracks[i+1:]...)
			return
		}
	}
}

func (c *Clock) advance(now int64) { c.now = max(c.now, now) }

// source is what a mapping from RTP timestamps to a wall clock was learnt from.
type source int

const (
	captures source = iota // abs-capture-time, the original capturer's clock
	reports                // RTCP sender reports, the sender's clock
	sources
)

// Limits of a wall clock's estimates.
const (
	// wallSpan is the span of the minimum of the delay from wall clock to
	// arrival: long enough to hold some sender reports, which have no encoder
	// or pacer in their way.
	wallSpan = 15 * second
	// maxLate is how late a sender report may come and still be believed.
	maxLate = 3 * second
	// maxEarly is how much less than the least delay so far a report's may be.
	maxEarly = second / 4
	// sameStep is how far two reports may disagree and still speak of the same
	// step of the wall clock.
	sameStep = second / 4
	// wallSlew and wallSlewEarly, in ns per second: how fast the estimate of
	// the delay moves, and how fast in the first wallSettle.
	wallSlew      = 2 * second / 1000
	wallSlewEarly = 20 * second / 1000
	wallSettle    = 5 * second
	// The estimate is kept for so many times, each knotSpan after the other:
	// frames that had to wait for others are up to some seconds behind. Powers
	// of two, since it is asked for each frame.
	knots    = 32
	knotSpan = 1 << 28 // 268 ms
)

// wall is a sender's wall clock as we see it: its time runs from the first
// timestamp that we met, with its steps taken out.
type wall struct {
	known bool
	ref   uint64
	skip  int64 // the sum of its steps
	delay drift // of arrival - wall time

	// applied is the delay as used, which follows slowly: at wall times that
	// are multiples of knotSpan, newest the last of them that is decided.
	applied [knots]int64
	newest  int64
	since   int64 // the first
	set     bool

	step    int64 // a step that one report claims
	stepped bool  // step is set
}

// nanos gives the wall clock's time for an NTP timestamp.
func (w *wall) nanos(ntp uint64) int64 { return ntpSince(ntp, w.ref) - w.skip }

// start begins the wall clock with its first timestamp.
func (w *wall) start(ntp uint64, arrival int64) {
	w.known, w.ref = true, ntp
	w.delay.add(0, arrival, wallSpan)
}

// observe notes that something was so much later than its wall time at.
func (w *wall) observe(at, late int64) {
	w.delay.add(at, late, wallSpan)
}

// join takes in the least delay of a track so far, which has got its mapping at
// wall time at. That of the first is where the wall clock is placed.
func (w *wall) join(at, late int64) {
	w.observe(at, late)
	if !w.set {
		w.set = true
		w.newest, w.since = at>>28, at>>28
		w.fill(w.delay.value(at))
	}
}

func (w *wall) fill(v int64) {
	for i := range w.applied {
		w.applied[i] = v
	}
}

// offset gives what must be added to the wall time at to get session time. It
// follows the least delay slowly, since all tracks of the connection move with
// it, and is the same for all of them, however long their frames have waited.
func (w *wall) offset(at int64) int64 {
	k := at >> 28
	switch {
	case k+1 > w.newest+knots:
		v := w.applied[w.newest&(knots-1)]
		w.fill(v + slew(w.delay.value(at)-v, wallSlew, min(k-w.newest, 1000*knots)*knotSpan))
		w.newest = k + 1
	case k <= w.newest-knots: // the clock has gone back
		w.fill(w.applied[(w.newest+1)&(knots-1)])
		w.newest = k + 1
	}
	for w.newest <= k {
		v := w.applied[w.newest&(knots-1)]
		least := wallSlew
		if w.newest-w.since < wallSettle/knotSpan {
			least = wallSlewEarly
		}
		w.newest++
		w.applied[w.newest&(knots-1)] = v + slew(w.delay.value(w.newest*knotSpan)-v, least, knotSpan)
	}
	a, b := w.applied[k&(knots-1)], w.applied[(k+1)&(knots-1)]
	return a + (b-a)*(at-k*knotSpan)/knotSpan
}

// claim notes that a timestamp says the wall clock has stepped, and takes the
// step out if it is the second to say so.
func (w *wall) claim(step int64) bool {
	if w.stepped && abs(step-w.step) <= min(sameStep, max(abs(step)/3, sameStep/40)) {
		w.skip += step
		w.stepped = false
		return true
	}
	w.step, w.stepped = step, true
	return false
}
