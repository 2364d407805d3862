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
	ntp     uint64
	ticks   int64
	arrival int64
	claim   int64 // how much later than the least late frame
	shift   int64 // the track's, when it came
	n       int
}

// doubtful tells whether a report that has been found credible places frames
// later than they have come, and remembers it until the next frames have told.
func (t *Track) doubtful(ntp uint64, ticks, arrival int64) bool {
	if t.frames == 0 || t.doubt.n >= doubtFrames {
		return false
	}
	w := &t.clock.walls[reports]
	m, at := t.media(ticks), w.nanos(ntp)
	claim := at - m + min(w.delay.value(at), arrival-at) - t.delay.value(m)
	if claim <= doubtLimit {
		return false
	}
	t.doubt = doubt{set: true, ntp: ntp, ticks: ticks, arrival: arrival, claim: claim, shift: t.shift}
	return true
}

// weigh holds a frame that came so late against the report in doubt.
func (t *Track) weigh(arrival, late int64) {
	d := &t.doubt
	if d.shift == t.shift && late < d.claim-min(max(d.claim/8, doubtLimit), sampleNoise) {
		*d = doubt{}
		t.stats.Refused++
		return
	}
	d.n++
	if t.hold.state != running || d.shift == t.shift && (d.n < doubtFrames || arrival-d.arrival < doubtTime) {
		return
	}
	d.n = max(d.n, doubtFrames)
	t.sample(reports, d.ntp, d.ticks, d.arrival, t.recent.value())
	*d = doubt{}
}
