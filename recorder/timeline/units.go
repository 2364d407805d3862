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
	q, r := ticks/rate, ticks%rate
	if r < 0 {
		q, r = q-1, r+rate
	}
	return q*second + r*second/rate
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
	cur, prev int64
	start     int64
	n         int  // values in cur
	older     bool // prev is set
}

// add takes the value v at position at of the axis. With slow set, axis and
// values are in ns, and the floor does not rise faster than clocks drift.
func (f *floor) add(at, v, span int64, slow bool) {
	switch {
	case f.n == 0:
		f.cur, f.start = v, at
	case at-f.start >= span:
		if f.older && slow {
			f.cur = min(f.cur, f.prev+(at-f.start)/maxRise)
		}
		f.prev, f.older = f.cur, true
		f.cur, f.start, f.n = v, at, 0
	default:
		f.cur = min(f.cur, v)
	}
	f.n++
}

// value gives the minimum; it is meaningless before the first add.
func (f *floor) value() int64 {
	if f.older {
		return min(f.cur, f.prev)
	}
	return f.cur
}
