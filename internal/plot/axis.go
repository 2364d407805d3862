package plot

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// niceStep gives 1, 2 or 5 times a power of ten that is not less than v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}

// timeStep gives a step of the time axis that is not less than d.
func timeStep(d time.Duration) time.Duration {
	for _, unit := range []struct {
		unit  time.Duration
		steps []time.Duration
	}{
		{time.Millisecond, []time.Duration{1, 2, 5, 10, 20, 50, 100, 200, 500}},
		{time.Second, []time.Duration{1, 2, 5, 10, 15, 30}},
		{time.Minute, []time.Duration{1, 2, 5, 10, 15, 30}},
		{time.Hour, []time.Duration{1, 2, 3, 6, 12, 24}},
	} {
		for _, s := range unit.steps {
			if s*unit.unit >= d {
				return s * unit.unit
			}
		}
	}
	const day = 24 * time.Hour
	return time.Duration(niceStep(math.Ceil(float64(d)/float64(day)))) * day
}

// clock gives a time as h:mm:ss or m:ss, with as many decimals as the step of an
// axis needs.
func clock(d, step time.Duration) string {
	s := d / time.Second
	var text string
	if s >= 3600 {
		text = fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	} else {
		text = fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	switch ms := d % time.Second / time.Millisecond; {
	case step < 10*time.Millisecond:
		text += fmt.Sprintf(".%03d", ms)
	case step < 100*time.Millisecond:
		text += fmt.Sprintf(".%02d", ms/10)
	case step < time.Second:
		text += fmt.Sprintf(".%d", ms/100)
	}
	return text
}

// byteText and bitText give values of the axes.
func byteText(v float64) string { return scaled(v, "B", "kB", "MB") }
func bitText(v float64) string  { return scaled(v, "b/s", "kb/s", "Mb/s", "Gb/s") }

func scaled(v float64, units ...string) string {
	i := 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	if v >= 100 || v == math.Trunc(v) {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// shorten cuts a text that is longer than n characters.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
