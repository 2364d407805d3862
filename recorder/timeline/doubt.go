package timeline

// Limits of doubt.
const (
	// doubtLimit is how much later than the least late frame a report may place
	// frames before it is doubted.
	doubtLimit = second / 40
	// doubtTime and doubtFrames: what frames that come for so long, and so many,
	// do not disprove is true.
	doubtTime   = second * 2 / 5
	doubtFrames = 4
)

// doubt is a sender report that places a track later than its frames have come.
// It is right if timestamps have stood still. But a sender that has stood still,
// and sends at once what it should have sent meanwhile, says in the midst of it
// that a frame is of now which is of long ago: many count from the last packet
// sent. The next frames tell, since none can come before it was captured.
type doubt struct {
	set     bool
	weighed bool // the frames have told
	ntp     uint64
	ticks   int64
	arrival int64
	shift   int64 // the track's, when it came
	n       int
	// last is when the last frame came, and elapsed for how long they have come;
	// a time without any counts as little.
	last, elapsed int64
}

// doubtful tells whether a report that has been found credible places frames
// later than they have come, or may do so, since only the first have, and
// remembers it until the next frames have told.
func (t *Track) doubtful(ntp uint64, ticks, arrival int64) bool {
	if t.doubt.weighed {
		return false
	}
	d := doubt{set: true, ntp: ntp, ticks: ticks, arrival: arrival, last: arrival, shift: t.shift}
	if t.hold.state != settling && t.ahead(&d) <= doubtLimit {
		return false
	}
	t.doubt = d
	return true
}

// ahead gives how much later than the least late frame a report places frames.
func (t *Track) ahead(d *doubt) int64 {
	w := &t.clock.walls[reports]
	m, at := t.media(d.ticks), w.nanos(d.ntp)
	return at - m + min(w.delay.value(at), d.arrival-at) - t.delay.value(m)
}

// weigh holds a frame that came so late against the report in doubt.
func (t *Track) weigh(arrival, late int64) {
	d := &t.doubt
	if t.hold.state == settling {
		return
	}
	if d.shift == t.shift {
		claim := t.ahead(d)
		if claim > doubtLimit && late < claim-min(max(claim/8, doubtLimit), sampleNoise) {
			if w := &t.clock.walls[reports]; !w.set {
				*w = wall{} // it began with this report, which may have been late
			}
			*d = doubt{}
			t.stats.Refused++
			return
		}
		d.n++
		d.elapsed += min(arrival-d.last, doubtTime/doubtFrames)
		d.last = arrival
		if claim > doubtLimit && (d.n < doubtFrames || d.elapsed < doubtTime) {
			return
		}
	}
	if t.hold.state == running {
		t.trust()
	}
}

// trust takes the report in doubt.
func (t *Track) trust() {
	d := &t.doubt
	d.weighed = true
	t.sample(reports, d.ntp, d.ticks, d.arrival, t.recent.value())
	*d = doubt{}
}
