package process

import "time"

// Restarts bounds how often something that has ended by itself is started again:
// Most times within any stretch of Within. It is used by one goroutine at a time.
type Restarts struct {
	Most   int
	Within time.Duration

	times []time.Time // of those that still count, and of the last refused one
}

// Take counts a restart at the given time, and tells whether it may be.
func (r *Restarts) Take(now time.Time) bool {
	recent := r.times[:0]
	for _, t := range r.times {
		if now.Sub(t) < r.Within {
			recent = append(recent, t)
		}
	}
	r.times = append(recent, now)
	return len(r.times) <= r.Most
}
