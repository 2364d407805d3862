package timeline

import (
	"math"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Limits of holding frames back.
const (
	// settleTime is how long the first frames of a track, and those after a
	// jump, are held so that the least delayed of them gives their place, and
	// settleSoon if they have come as evenly as settleEven.
	settleTime = second * 9 / 40
	settleSoon = second / 10
	settleEven = 4 * second / 1000
	// pauseLimit is the least pause that is looked for: how much later than
	// the one before a frame must come.
	pauseLimit = second / 4
	// onTimeLimit and lateLimit tell frames that came on time from late ones.
	onTimeLimit = second / 8
	lateLimit   = second / 4
	// A pause is decided when the delay has stayed for so long; for less when
	// another track shows that the network was not the reason.
	decideTime  = second / 5
	decideSoon  = second / 10
	decideAfter = 4 // frames
	// longPause: what is late by more was hardly held up by the network.
	longPause = 3 * second
	// A delay that was taken for the network's and stays for stillLate, and for
	// so many frames, was a pause.
	stillLate       = second
	stillLateFrames = 8
	// delayNoise is how much a delay may come down without being a burst's.
	delayNoise = 20 * second / 1000
	// maxHeld bounds the frames that are held.
	maxHeld = 512
)

type holdState uint8

const (
	running   holdState = iota
	settling            // the first frames: how late are they?
	anchoring           // the first frames after a jump
	doubting            // a pause of the sender, or a burst of the network?
)

// hold is the state of a track that holds frames back.
type hold struct {
	state holdState
	since int64 // arrival of the first frame held
	until int64 // session time at which it ends
	first int64 // how late the first frame was
	least int64 // how late the least late frame was
	most  int64 // how late the latest frame was
	n     int
	seen  int // packets that were seen and are as late, though their frames wait
	// guess: all frames held were recovered, and late by no more than that.
	guess bool
}

func (h *hold) begin(s holdState, arrival, late, d, now int64) {
	*h = hold{state: s, since: arrival, until: max(now, arrival) + d, first: late, least: late, most: late}
}

// stayed tells whether the delay has neither come down, as after a burst, nor
// gone up, as among packets that were sent again.
func (h *hold) stayed(elapsed int64) bool {
	return h.first-h.least <= elapsed/4+delayNoise && h.most-h.first <= onTimeLimit/2
}

// undo remembers a pause that may turn out to have been a burst.
type undo struct {
	pause, until int64
}

// undoTime is how long, in media time, a decision for a pause can be undone.
const undoTime = 5 * second

// due tells whether a frame at media time m came so early that the pause before
// can't have been one, or was shorter: after a pause the delay stays, after a
// burst it falls. It gives how much of the pause was none.
func (u *undo) due(m, late int64) (wrong int64, ok bool) {
	switch {
	case u.pause <= 0 || m >= u.until || late >= -max(second/10, u.pause/16):
		return 0, false
	case -late > u.pause/2:
		return u.pause, true
	}
	return -late, true
}

// decide goes through the states with the last frame pushed, whose arrival
// interval was step longer than its media interval, and which is late by so
// much; sure is set when its place is known by its capture time, recovered when
// its arrival says little.
func (t *Track) decide(step, late int64, sure, recovered bool) {
	at := t.last.arrival
	switch t.hold.state {
	case running:
		if sure || !t.audio || late <= pauseLimit || step <= pauseLimit*3/4 || t.last.media < t.seenOnTime {
			t.release()
			if t.audio && !recovered {
				t.remainsLate(at, late, sure)
			}
			return
		}
		t.remains = remains{}
		t.hold.begin(doubting, at, late, t.clock.maxHold, t.clock.now)
		t.hold.n, t.hold.guess = 1, recovered
		if !recovered {
			t.hold.seen = 1
		}
	case settling, anchoring:
		if !recovered {
			t.hold.least, t.hold.most = min(t.hold.least, late), max(t.hold.most, late)
		}
		elapsed := t.steady.arrival - t.hold.since
		even := elapsed >= settleSoon && t.hold.most-t.hold.least <= settleEven
		s, known := t.source(t.last.media)
		known = known && !t.lines[s].guessed
		if even || elapsed >= settleTime || known || t.held > maxHeld {
			t.settle()
		}
	case doubting:
		if sure {
			t.burst()
			return
		}
		h := &t.hold
		switch {
		case recovered:
		case h.guess && late <= pauseLimit:
			t.burst()
			return
		case h.guess:
			h.first, h.least, h.most, h.guess, h.since = late, late, late, false, at
		default:
			h.n++
			h.least, h.most = min(h.least, late), max(h.most, late)
		}
		if recovered && t.held <= maxHeld {
			return
		}
		t.judge(late)
	}
}

// settle ends settling. After a jump, the least late frame is taken as on time.
func (t *Track) settle() {
	if d := t.hold.least - t.hold.first; t.hold.state == anchoring && d < 0 {
		t.move(d)
	}
	t.settleSeen()
	if t.doubt.set && t.ahead(&t.doubt) <= doubtLimit {
		t.trust()
	}
	t.release()
}

// judge ends doubting, if the frames so far tell.
func (t *Track) judge(late int64) {
	h := &t.hold
	elapsed := t.last.arrival - h.since
	onTime, alsoLate := t.others(h.since)
	switch {
	case late < h.first/2 || t.held > maxHeld || t.last.media < t.seenOnTime:
		t.burst()
	case h.n < decideAfter || elapsed < decideSoon:
	case alsoLate:
		t.burst()
	case (onTime || elapsed >= decideTime) && h.stayed(elapsed):
		t.pause()
	}
}

// timeout ends whatever is going on.
func (t *Track) timeout() {
	h := &t.hold
	switch h.state {
	case settling, anchoring:
		t.settle()
	case doubting:
		_, alsoLate := t.others(h.since)
		// The last packets before a pause may come after it, since they were
		// asked for, and nothing after them.
		enough := h.first > longPause || !h.guess && max(h.n, h.seen) >= decideAfter
		if enough && t.last.media >= t.seenOnTime && !alsoLate && h.stayed(t.last.arrival-h.since) {
			t.pause()
		} else {
			t.burst()
		}
	default:
		t.release()
	}
}

// others tells whether, around the time since, the frames of another track of
// the connection came on time or late.
func (t *Track) others(since int64) (onTime, late bool) {
	for _, u := range t.clock.tracks {
		switch {
		case u == t:
		case u.onTime >= since-onTimeLimit && u.onTime > u.late:
			onTime = true
		case u.late >= since-onTimeLimit:
			late = true
		}
	}
	return onTime, late && !onTime
}

// remains notes how long frames have been late; known is set when a report has
// said that the network is why.
type remains struct {
	since int64
	n     int
	known bool
}

// remainsLate takes back, once a delay has stayed that other tracks don't have,
// that the network was why.
func (t *Track) remainsLate(at, late int64, sure bool) {
	r := &t.remains
	if late <= pauseLimit || sure {
		*r = remains{}
		return
	}
	if r.n == 0 {
		r.since = at
	}
	if r.n++; r.known || r.n < stillLateFrames || at-r.since < stillLate {
		return
	}
	r.n = 0
	if onTime, _ := t.others(r.since); onTime {
		t.rebase(t.recent.value() - t.delay.value(t.last.media))
		t.stats.Pauses++
	}
}

// burst ends doubting: the timestamps are right.
func (t *Track) burst() { t.release() }

// pause ends doubting: the timestamps have stood still, and are taken from now
// on as if they had not. For how long is the least delay of the frames after,
// against that of as many before, so that neither noise nor skew makes it wrong.
func (t *Track) pause() {
	d := t.hold.least + t.delay.value(t.last.media) - t.recent.value()
	t.queue[len(t.queue)-t.held].paused = d
	t.move(d)
	t.stats.Pauses++
	t.undo = undo{pause: d, until: t.last.media + undoTime}
	t.release()
}

// move shifts the media time of all frames that are held, and of all later. The
// lines begin anew. As long as it is not known whether a skew was the RTP clock's,
// which stood still, or the wall clock's, which did not, half of it is counted.
func (t *Track) move(d int64) {
	for i := len(t.queue) - t.held; i < len(t.queue); i++ {
		t.queue[i].media += d
	}
	t.shift += d
	t.seenOnTime = math.MinInt64
	t.last.media += d
	t.steady.media += d
	t.delay.move(d)
	t.order = media.Order{}
	t.order.Push(time.Duration(t.last.media))
	t.noise.n = 0
	for s := range t.lines {
		l, w := &t.lines[s], &t.clock.walls[s]
		switch {
		case l.n == 0:
		case w.delay.line.n >= slopeAfter:
			l.restart(t.last.media, along(l.value(t.last.media-d), d, -w.delay.line.pace), true)
		default:
			l.restart(t.last.media, l.value(t.last.media-d/2), true)
		}
	}
}

// rebase shifts the media time of all frames that are not popped, and of all
// later, since a wrong decision has come to light. When that takes time back,
// the correction is slewed.
func (t *Track) rebase(d int64) {
	t.held = len(t.queue) - t.head
	t.move(d)
	if d < 0 {
		t.offset -= d
		t.prev += d
		t.before += d
	}
	t.release()
}

// release ends holding.
func (t *Track) release() {
	t.hold.state = running
	t.held = 0
}

// jump gives the media time of a frame whose timestamp has nothing to do with
// those before: it is taken from its arrival.
func (t *Track) jump(ticks, arrival int64) int64 {
	if t.held > 0 {
		t.timeout()
	}
	t.stats.Jumps++
	t.undo = undo{}
	t.origin, t.shift = ticks, arrival-t.recent.value()
	t.last.media, t.steady.media = t.shift, t.shift
	t.move(0)
	t.hold.begin(anchoring, arrival, t.recent.value()-t.delay.value(t.shift), min(settleTime, t.clock.maxHold), t.clock.now)
	return t.shift
}
