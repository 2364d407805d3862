package timeline

import (
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// Limits of samples, in ns.
const (
	// sampleNoise is how far a sample may be from the line and be noise.
	sampleNoise = second / 20
	// Where a sample places frames must be between maxAhead after and
	// maxBehind before their arrival.
	maxAhead  = second / 4
	maxBehind = 3 * second
	// firstNoise: an audio track's first report, which is off by some ms, is
	// averaged with the arrivals if it is so close to them.
	firstNoise = second / 40
	// extrapolated: a report about so much after the last frame tells how the
	// sender counts time without media, which is by another clock.
	extrapolated = second
	// lastFrame: a report speaks of the last frame if it is so little later.
	lastFrame = second / 10
	// claimTime is how much later on the wall clock a second sample must be to
	// bear out a change: a sender that catches up makes several frames at once.
	claimTime = second / 10
	// insistTime is for how long a track must claim a step that others deny.
	insistTime = second * 3 / 2
	// slopeAfter is how many least values of arrivals tell a skew.
	slopeAfter = 5
	// evenLimit: only the lateness of frames that are less late is chance.
	evenLimit = second / 25
)

// Report takes a sender report for the track and the time of its arrival since
// the session began. Reports may come before the first frame, and may be
// wrong.
func (t *Track) Report(r signaling.SenderReport, arrival time.Duration) {
	at := clampTime(arrival)
	t.clock.advance(at)
	if r.NTP == 0 { // the sender has no wall clock
		t.stats.Refused++
		return
	}
	if !t.started {
		t.early.report, t.early.arrival, t.early.set = r, at, true
		return
	}
	delay := t.recent.value()
	if t.hold.state == doubting {
		delay = t.delay.value(t.last.media) + t.hold.least
	} else if t.frames == 0 {
		delay = t.last.arrival - t.last.media
	}
	t.sample(reports, r.NTP, t.extend(r.RTP, at), at, delay)
}

// sample takes what a report or a capture time says: that ticks was the instant
// ntp. delay is how much later than their media time the frames of now arrive.
// It returns whether that is believed.
func (t *Track) sample(s source, ntp uint64, ticks, arrival, delay int64) bool {
	w, l := &t.clock.walls[s], &t.lines[s]
	if !w.known {
		w.start(ntp, arrival)
	}
	if !t.believe(s, ntp, ticks, arrival, delay) {
		t.stats.Refused++
		return false
	}
	if s == reports && t.doubtful(ntp, ticks, arrival) {
		return false
	}
	t.stats.Believed++
	t.doubt.set = false
	t.remains.known = true
	t.claimed, w.stepped = false, false
	m, at := t.media(ticks), w.nanos(ntp)
	w.observe(at, arrival-at)
	w.delay.learn(at, arrival-at)
	if l.n > 0 && m-t.last.media > extrapolated {
		return true
	}
	off := at - m
	if l.n == 0 {
		late := arrival - at
		if t.frames > 0 {
			late = min(late, t.delay.value(m)-off)
		}
		w.join(at, late)
	}
	if s == reports && t.audio {
		guess := t.delay.value(m) - w.offset(at)
		off = t.even(m, off, guess)
		if l.n == 0 && t.frames > 0 && abs(off-guess) <= firstNoise {
			l.restart(m, guess, false)
		}
	}
	if l.n == 0 || l.guessed && (s == captures || abs(off-l.value(m)) > sampleNoise) {
		l.restart(m, off, false)
	} else {
		if s == reports && t.delay.line.n >= slopeAfter && w.delay.line.n >= slopeAfter {
			l.prior = t.delay.line.slope - w.delay.line.slope
			l.learnt = t.delay.line.n >= longAfter && w.delay.line.n >= longAfter
		}
		l.add(m, off)
	}
	return true
}

// noise compares two ways to read a track's reports, by how much each has
// changed from one report to the next.
type noise struct {
	raw, even         int64 // the mean change, times 8
	prevRaw, prevEven int64
	n                 int
}

// even takes the chance out of an audio report that says media time m is off
// before wall time. Browsers report when the last frame before the report was
// sent, which may have been some ms early or late; but so did it arrive then. The
// report is read with the frame's lateness taken out, if that makes reports agree better. guess is what the arrivals say.
func (t *Track) even(m, off, guess int64) int64 {
	late := t.lastLate
	d := m - t.lastMedia
	if d < 0 { // the last frame has overtaken the report
		late, d = t.prevLate, m-t.prevMedia
	}
	if t.hold.state != running || d < 0 || d > lastFrame || t.frames < 2 || late >= evenLimit {
		return off
	}
	n := &t.noise
	even := off - late
	if n.n > 0 {
		n.raw += abs(off-n.prevRaw) - n.raw/8
		n.even += abs(even-n.prevEven) - n.even/8
	} else {
		n.raw, n.even = abs(off-guess), abs(even-guess)
	}
	n.prevRaw, n.prevEven = off, even
	n.n++
	if n.even < n.raw {
		return even
	}
	return off
}

// believe tells whether a sample can be used, after it has taken into account
// what the sample reveals: a step of the wall clock, or a change of the track's
// timestamps.
//
// The two are told apart by the arrival. A step moves the wall time against the
// media time and, by as much, against the arrival; a pause of the timestamps
// moves it against the media time only; a late report only against the arrival.
// Just after a pause or a jump that was measured by arrival, that is more likely
// to be wrong than the wall clock.
func (t *Track) believe(s source, ntp uint64, ticks, arrival, delay int64) bool {
	w, l := &t.clock.walls[s], &t.lines[s]
	m, at := t.media(ticks), w.nanos(ntp)
	late := arrival - at - w.delay.value(at)
	if l.n == 0 {
		if (late < -maxEarly || late > maxLate) && !w.claim(-late) {
			return false
		}
		at = w.nanos(ntp)
		return plausible(at-m+min(w.delay.value(at), arrival-at), delay)
	}

	change := at - m - l.value(m)
	t.stats.ReportError = time.Duration(change)
	switch {
	case abs(change) <= l.strange():
		return true
	case !l.guessed && abs(change+late) <= min(abs(change)/2, sameStep):
		return w.claim(change) || t.insists(change, at)
	case abs(change) <= sampleNoise:
		return true
	case late < -maxEarly || late > maxLate:
		return w.claim(-late) && t.believe(s, ntp, ticks, arrival, delay)
	case !plausible(l.value(m)+change+w.delay.value(at), delay):
		return false
	case l.guessed && abs(change) < pauseLimit:
		return true
	case abs(change) < pauseLimit && !(t.claimed && abs(change-t.claim) <= sampleNoise):
		t.claim, t.claimAt, t.claimed = change, at, true
		return false
	case abs(change) < pauseLimit && abs(at-t.claimAt) < claimTime:
		return false
	case abs(change) < pauseLimit:
		l.guessed = true // two in a row: the line begins anew
		return true
	}
	if s == reports && change > 0 && t.doubtful(ntp, ticks, arrival) {
		return false
	}
	t.rebase(change)
	return true
}

// insists tells whether the track's reports go on to claim a step of the wall
// clock at wall time at, while those of other tracks know of none. Then what was
// believed of the track was wrong, and its line begins anew.
func (t *Track) insists(change, at int64) bool {
	if !t.claimed || abs(change-t.claim) > sampleNoise {
		t.claim, t.claimAt, t.claimed = change, at, true
		return false
	}
	l := &t.lines[reports]
	l.guessed = at-t.claimAt >= insistTime
	return l.guessed
}

// plausible tells whether frames that arrive so much later than their media
// time can belong at this offset from it.
func plausible(offset, delay int64) bool {
	return offset <= delay+maxAhead && offset >= delay-maxBehind
}
