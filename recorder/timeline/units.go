package timeline

import "time"

// All times below are int64 nanoseconds, so that every computation is exact or
// rounds the same way on every machine. maxTime keeps sums and differences of a
// few of them far from overflow, whatever a damaged dump says.
const maxTime = int64(1) << 55 // 417 days

const second = int64(time.Second)

// clampTime brings an arrival time into the range that the arithmetic is made
// for.
func clampTime(d time.Duration) int64 {
	return min(max(int64(d), 0), maxTime)
}

// ntpSince gives the nanoseconds from NTP timestamp ref to ntp (32.32 fixed
// point, RFC 3550 §4), rounded down. The difference is taken modulo 2^64, so
// that it is right across the end of an NTP era; its range is ±68 years.
func ntpSince(ntp, ref uint64) int64 {
	d := int64(ntp - ref)
	return d>>32*second + int64(uint64(uint32(d))*uint64(second)>>32)
}

// ticksToNanos converts RTP ticks of a clock of rate Hz, rounded down. It works
// on the whole count, never on differences, so that rounding does not add up.
func ticksToNanos(ticks, rate int64) int64 {
	if abs(ticks) < 1<<46 { // 24 years; no division by a variable
		switch rate {
		case 48000:
			return floorDiv(ticks*62500, 3)
		case 90000:
			return floorDiv(ticks*100_000, 9)
		}
	}
	q, r := ticks/rate, ticks%rate
	if r < 0 {
		q, r = q-1, r+rate
	}
	return q*second + r*second/rate
}

// floorDiv divides, rounded down.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// nanosToTicks is the reverse of ticksToNanos, rounded towards zero.
func nanosToTicks(ns, rate int64) int64 {
	return ns/second*rate + ns%second*rate/second
}

// abs gives the absolute value; the arguments are never the least int64.
func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}

// maxRise is how much a floor may rise from span to span, as a divisor of the
// span: 1500 ppm, more than the skew of any clock. What rises faster is a queue,
// which may last for minutes and says nothing about the clocks.
const maxRise = 667

// floor is a minimum over a sliding window: of the last one to two spans of its
// axis. Values must be added with a position that does not depend on how long
// nothing came, so that a pause does not make it forget.
type floor struct {
	cur, prev low
	start     int64
	n         int  // values in cur
	older     bool // prev is set
}

// low is the least value of a span, and where it was.
type low struct{ at, v int64 }

// value gives what the value has become at position at, by drifting at the pace.
func (l low) value(at, pace int64) int64 { return along(l.v, at-l.at, pace) }

// add takes the value v at position at of the axis.
func (f *floor) add(at, v, span int64) {
	f.addAlong(at, v, span, 0, false)
}

// addAlong takes the value v at position at of the axis; both are in ns. Values
// drift at the pace, in parts of 2^30, and the floor does not rise faster than
// clocks drift.
func (f *floor) addAlong(at, v, span, pace int64, slow bool) {
	switch {
	case f.n == 0:
		f.cur, f.start = low{at, v}, at
	case at-f.start >= span:
		if f.older && slow {
			if most := f.prev.v + (at-f.start)/maxRise; f.cur.v > most {
				f.cur.v = most
			}
		}
		f.prev, f.older = f.cur, true
		f.cur, f.start, f.n = low{at, v}, at, 0
	case v <= f.cur.value(at, pace):
		f.cur = low{at, v}
	}
	f.n++
}

// value gives the minimum; it is meaningless before the first add.
func (f *floor) value() int64 {
	if f.older {
		return min(f.cur.v, f.prev.v)
	}
	return f.cur.v
}

// valueAt gives the minimum at position at.
func (f *floor) valueAt(at, pace int64) int64 {
	v := f.cur.value(at, pace)
	if f.older {
		v = min(v, f.prev.value(at, pace))
	}
	return v
}

// drift is a floor of how late something is that follows the skew between two
// clocks.
type drift struct {
	floor
	line line // through the least values
	bin  low  // the least of the bin that is open
	from int64
	any  bool
}

// add takes how late something is at position at.
func (d *drift) add(at, late, span int64) {
	d.addAlong(at, late, span, d.line.pace, true)
}

// learn takes the same for the skew. What is mapped by an estimate of the skew
// must not come here.
func (d *drift) learn(at, late int64) {
	switch {
	case !d.any:
		d.any, d.line.even = true, true
		d.bin, d.from = low{at, late}, at
	case at-d.from >= d.line.span():
		d.line.add(d.bin.at, d.bin.v)
		d.bin, d.from = low{at, late}, at
	case late < d.bin.v:
		d.bin = low{at, late}
	}
}

// value gives the least lateness at position at.
func (d *drift) value(at int64) int64 { return d.valueAt(at, d.line.pace) }

// move says that positions are d later from now on, without any drift between.
func (d *drift) move(by int64) {
	d.cur.at += by
	d.prev.at += by
	d.bin.at += by
	d.from += by
	d.line.move(by)
}
