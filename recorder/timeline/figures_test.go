package timeline

import (
	"math"
	"slices"
	"testing"
	"time"
)

// figures are what a listener would notice.
type figures struct {
	median, p95, max time.Duration // of audio - video; the latter two from the median
	drift            time.Duration // per minute
	step             time.Duration // the largest within 200 ms
	maxAt            time.Duration
	first            time.Duration // the largest from the median in the first second
	// true95 and trueMax are of audio - video itself, from the first frame on.
	true95, trueMax time.Duration
}

func measure(skew []sample) figures {
	var f figures
	all := skew
	whole := make([]time.Duration, len(all))
	for i, s := range all {
		whole[i] = s.off.Abs()
	}
	slices.Sort(whole)
	if n := len(whole); n > 0 {
		f.true95, f.trueMax = whole[n*95/100], whole[n-1]
	}
	for len(skew) > 0 && skew[0].at < all[0].at+700*ms {
		skew = skew[1:]
	}
	if len(skew) == 0 {
		return f
	}
	offs := make([]time.Duration, len(skew))
	for i, s := range skew {
		offs[i] = s.off
	}
	slices.Sort(offs)
	f.median = offs[len(offs)/2]
	for _, s := range all[:len(all)-len(skew)] {
		f.first = max(f.first, (s.off - f.median).Abs())
	}
	var sx, sy, sxx, sxy float64
	for i, s := range skew {
		d := (s.off - f.median).Abs()
		offs[i] = d
		if d > f.max {
			f.max, f.maxAt = d, s.at
		}
		x, y := s.at.Minutes(), float64(s.off)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	slices.Sort(offs)
	f.p95 = offs[len(offs)*95/100]
	n := float64(len(skew))
	if d := n*sxx - sx*sx; d > 0 {
		f.drift = time.Duration(math.Abs((n*sxy - sx*sy) / d))
	}
	for i, j := 0, 0; i < len(skew); i++ {
		for skew[i].at-skew[j].at > 200*ms {
			j++
		}
		f.step = max(f.step, (skew[i].off - skew[j].off).Abs())
	}
	return f
}

func (f figures) log(t *testing.T) {
	t.Helper()
	r := func(d time.Duration) time.Duration { return d.Round(ms / 10) }
	t.Logf("median %7v  p95 %7v  max %7v at %8v  drift %7v/min  step %7v  first second %7v  true p95 %7v  max %7v",
		r(f.median), r(f.p95), r(f.max), f.maxAt.Round(ms), r(f.drift), r(f.step), r(f.first), r(f.true95), r(f.trueMax))
}

// play runs the scene for some seeds and gives the worst of each figure.
func play(t *testing.T, seeds uint64, s scene) figures {
	t.Helper()
	if underRace {
		seeds = min(seeds, 3)
	}
	var worst figures
	for seed := range seeds {
		s.seed = seed
		m := newSimulation(t, s)
		m.run()
		f := measure(m.skew)
		if m.maxHold > DefaultMaxHold+ms {
			t.Errorf("seed %d: a frame was held for %v", seed, m.maxHold)
		}
		if f.max > worst.max {
			worst.maxAt = f.maxAt
		}
		if f.median.Abs() > worst.median.Abs() {
			worst.median = f.median
		}
		worst.p95, worst.max, worst.first = max(worst.p95, f.p95), max(worst.max, f.max), max(worst.first, f.first)
		worst.true95, worst.trueMax = max(worst.true95, f.true95), max(worst.trueMax, f.trueMax)
		worst.drift, worst.step = max(worst.drift, f.drift), max(worst.step, f.step)
	}
	worst.log(t)
	return worst
}
