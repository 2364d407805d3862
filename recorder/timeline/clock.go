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
)

// wall is a sender's wall clock as we see it: its time runs from the first
// timestamp that we met, with its steps taken out.
type wall struct {
	known   bool
	ref     uint64
	skip    int64 // the sum of its steps
	delay   floor // of arrival - wall time
	applied int64 // delay as used, which follows slowly
	since   int64 // arrival of the first observation
	moved   int64 // when applied was moved last

	step    int64 // a step that one report claims
	stepped bool  // step is set
}

// nanos gives the wall clock's time for an NTP timestamp.
func (w *wall) nanos(ntp uint64) int64 { return ntpSince(ntp, w.ref) - w.skip }

// start begins the wall clock with its first timestamp.
func (w *wall) start(ntp uint64, arrival int64) {
	w.known, w.ref = true, ntp
	w.since, w.moved = arrival, arrival
	w.delay.add(0, arrival, wallSpan, true)
	w.applied = arrival
}

// observe notes that what was stamped at wall time at has arrived.
func (w *wall) observe(at, arrival int64) {
	w.delay.add(at, arrival-at, wallSpan, true)
}

// offset gives what must be added to wall time to get session time. It follows
// the least delay slowly, since all tracks of the connection move with it.
func (w *wall) offset(now int64) int64 {
	if dt := now - w.moved; dt > 0 {
		least := wallSlew
		if now-w.since < wallSettle {
			least = wallSlewEarly
		}
		w.applied += slew(w.delay.value()-w.applied, least, dt)
		w.moved = now
	}
	return w.applied
}

// claim notes that a timestamp says the wall clock has stepped, and takes the
// step out if it is the second to say so.
func (w *wall) claim(step int64) bool {
	if w.stepped && abs(step-w.step) <= sameStep {
		w.skip += step
		w.stepped = false
		return true
	}
	w.step, w.stepped = step, true
	return false
}
