package timeline

// Limits of a line's samples.
const (
	maxSamples = 32
	// binSpan: samples that are closer share one place in the window, with
	// their mean, so that frequent ones don't make it short; longSpan is the
	// same as soon as there are longAfter, which tell a slope.
	binSpan   = second * 5 / 2
	longSpan  = 10 * second
	longAfter = 16
	maxAge    = 300 * second // of media time; older samples are forgotten
	// maxSlope bounds the skew between two clocks, in parts per billion. Real
	// ones stay below 500,000.
	maxSlope = 1_500_000
	// usualNoise, in µs, is how far samples are taken to be from the line as
	// long as there are few, and usualSlope, in ppm, what a skew between two
	// clocks is taken to be: what the samples show of it is believed as far as
	// it is larger than what their noise can make. learntSlope is how far it may
	// be from what many samples have shown.
	usualNoise  = 5000
	usualSlope  = 125
	learntSlope = 25
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
	count   [maxSamples]int64 // how many samples they are the mean of
	start   int64             // position of the first sample in the newest
	next, n int
	// guessed: the one sample is not measured but carried over.
	guessed bool
	clipped int // samples clipped in a row, positive or negative by their side

	meanAt, meanOff int64
	prior, slope    int64 // ppb: believed at the restart, and now
	pace            int64 // slope, in parts of 2^30
	// learnt: prior is what many samples have shown.
	learnt bool
	noise  int64 // how far samples are from the line, in the mean
	// even: the samples are least values, with little noise.
	even bool
}

// value gives the line at position at.
func (l *line) value(at int64) int64 {
	return along(l.meanOff, at-l.meanAt, l.pace)
}

// maxAlong, in ns, bounds how far a value is taken along a slope.
const maxAlong = 1 << 50 // 13 days

// along gives what v becomes over d ns by changing at a pace in parts of 2^30.
func along(v, d, pace int64) int64 {
	d = min(max(d, -maxAlong), maxAlong)
	return v + (d>>10*pace)>>20
}

// restart forgets all samples, but not the slope, and goes through (at, off).
func (l *line) restart(at, off int64, guessed bool) {
	l.learnt = l.learnt || l.n >= longAfter
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
	p := l.value(at)
	d := off - p
	if l.n >= clipAfter {
		switch {
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
	l.noise += (min(abs(d), clip) - l.noise) / 8
	if i := l.newest(); l.n >= clipAfter && abs(at-l.start) < l.span() && l.count[i] < 1000 {
		l.count[i]++
		l.at[i] += (at - l.at[i]) / l.count[i]
		l.off[i] += (off - l.off[i]) / l.count[i]
	} else {
		l.put(at, off)
	}
	l.fit()
}

// span is how much of the axis one place in the window takes up.
func (l *line) span() int64 {
	if l.n >= longAfter {
		return longSpan
	}
	return binSpan
}

func (l *line) put(at, off int64) {
	l.at[l.next], l.off[l.next], l.count[l.next], l.start = at, off, 1, at
	l.next = (l.next + 1) % maxSamples
	l.n = min(l.n+1, maxSamples)
	for l.n > 1 && at-l.at[l.oldest()] > maxAge {
		l.n--
	}
}

// strange is how far from the line a sample is hardly noise.
func (l *line) strange() int64 {
	if l.guessed || l.n < clipAfter {
		return sampleNoise
	}
	return min(max(4*l.noise, clip*4/5), sampleNoise)
}

// move says that positions are d later from now on.
func (l *line) move(d int64) {
	for i := range l.at {
		l.at[i] += d
	}
	l.start += d
	l.meanAt += d
}

func (l *line) oldest() int { return (l.next - l.n + maxSamples) % maxSamples }

func (l *line) newest() int { return (l.next - 1 + maxSamples) % maxSamples }

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

	// Positions are in ms and deviations in µs, from the line with the slope
	// believed before: the sums stay below 32 · 3e5 · 3e5.
	var sxy, sxx, syy int64
	for i := range l.n {
		j := (first + i) % maxSamples
		dx := (l.at[j] - l.meanAt) / 1e6
		dx = min(max(dx, -maxAge/1e6), maxAge/1e6)
		dy := (l.off[j] - l.meanOff - dx*l.prior/1000) / 1000
		dy = min(max(dy, -maxDeviation/1000), maxDeviation/1000)
		sxy += dx * dy
		sxx += dx * dx
		syy += dy * dy
	}
	// Ridge regression: the weight of the slope believed before is the variance
	// of the samples about their own line over that of slopes.
	noise := int64(usualNoise)
	if l.even {
		noise = usualNoise / 8
	}
	variance := 2 * noise * noise
	if sxx > 0 {
		own := min(max(sxy*1000/sxx, -maxSlope/1000), maxSlope/1000) // ppm
		variance += max(syy-2*own*(sxy/1000)+own*own*(sxx/1_000_000), 0)
	}
	spread := int64(usualSlope)
	if l.learnt {
		spread = learntSlope
	}
	weight := variance / n * 1_000_000 / (spread * spread)
	l.slope = l.prior + sxy*1_000_000/(sxx+weight)
	l.slope = min(max(l.slope, -maxSlope), maxSlope)
	l.pace = l.slope << 30 / second
}
