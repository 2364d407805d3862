package timeline

// Limits of a line's samples.
const (
	maxSamples = 32
	maxAge     = 300 * second // of media time; older samples are forgotten
	// maxSlope bounds the skew between two clocks, in parts per billion. Real
	// ones stay below 500,000.
	maxSlope = 1_500_000
	// slopeInertia is the weight, in ms², of what is already believed of the
	// slope against what the samples say: with samples that are off by 5 ms and
	// skews around 125 ppm, (5 ms / 125e-6)².
	slopeInertia = 40_000 * 40_000
	// maxDeviation bounds what one sample can do to the slope.
	maxDeviation = second / 5
	// clip is how far from the line a sample counts, once the line stands on
	// several: one that is further off is noise, or the first of a change.
	clip       = 15 * second / 1000
	clipAfter  = 4
	clipStreak = 4
)

// line is a straight line through samples of a slowly drifting offset between
// two clocks: least squares over a window, with a slope that moves from what
// was believed before only as the samples can bear it.
type line struct {
	at, off [maxSamples]int64 // a ring: position and value, ns
	next, n int
	// guessed: the one sample is not measured but carried over.
	guessed bool
	clipped int // samples clipped in a row, positive or negative by their side

	meanAt, meanOff int64
	prior, slope    int64 // ppb: believed at the restart, and now
}

// value gives the line at position at.
func (l *line) value(at int64) int64 {
	return l.meanOff + (at-l.meanAt)/1000*l.slope/1_000_000
}

// restart forgets all samples, but not the slope, and goes through (at, off).
func (l *line) restart(at, off int64, guessed bool) {
	l.n, l.next, l.clipped = 0, 0, 0
	l.guessed, l.prior = guessed, l.slope
	l.put(at, off)
	l.meanAt, l.meanOff = at, off
}

// add takes a sample and fits the line again.
func (l *line) add(at, off int64) {
	if l.n == 0 {
		l.restart(at, off, false)
		return
	}
	if l.n >= clipAfter {
		p := l.value(at)
		switch d := off - p; {
		case d > clip:
			l.clipped = max(l.clipped, 0) + 1
			off = p + clip
		case d < -clip:
			l.clipped = min(l.clipped, 0) - 1
			off = p - clip
		default:
			l.clipped = 0
		}
		if abs(int64(l.clipped)) >= clipStreak {
			// Not noise: the offset has changed. Follow it.
			l.restart(at, off, false)
			return
		}
	}
	l.guessed = false
	l.put(at, off)
	l.fit()
}

func (l *line) put(at, off int64) {
	l.at[l.next], l.off[l.next] = at, off
	l.next = (l.next + 1) % maxSamples
	l.n = min(l.n+1, maxSamples)
	for l.n > 1 && at-l.at[l.oldest()] > maxAge {
		l.n--
	}
}

func (l *line) oldest() int { return (l.next - l.n + maxSamples) % maxSamples }

func (l *line) newest() int64 { return l.at[(l.next-1+maxSamples)%maxSamples] }

func (l *line) fit() {
	first := l.oldest()
	at0, off0 := l.at[first], l.off[first]
	var at, off int64
	for i := range l.n {
		j := (first + i) % maxSamples
		at += l.at[j] - at0
		off += l.off[j] - off0
	}
	n := int64(l.n)
	l.meanAt, l.meanOff = at0+at/n, off0+off/n

	// Positions in ms up to maxAge, deviations up to maxDeviation: the sums
	// stay below 32 · 3e5 · 2e8 · 1000 = 2e18.
	var sxy, sxx int64
	for i := range l.n {
		j := (first + i) % maxSamples
		dx := (l.at[j] - l.meanAt) / (second / 1000)
		dx = min(max(dx, -maxAge/1e6), maxAge/1e6)
		dy := l.off[j] - l.meanOff - dx*l.prior/1000
		dy = min(max(dy, -maxDeviation), maxDeviation)
		sxy += dx * dy
		sxx += dx * dx
	}
	l.slope = l.prior + sxy*1000/(sxx+slopeInertia)
	l.slope = min(max(l.slope, -maxSlope), maxSlope)
}
