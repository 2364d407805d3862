package main

import (
	"cmp"
	"slices"
)

// middle gives the median of each figure; the samples must be some.
func middle(samples []sample) sample {
	return sample{
		At:         median(samples, func(s sample) float64 { return s.At }),
		Present:    median(samples, func(s sample) int { return s.Present }),
		RSS:        median(samples, func(s sample) int64 { return s.RSS }),
		Heap:       median(samples, func(s sample) int64 { return s.Heap }),
		Goroutines: median(samples, func(s sample) int { return s.Goroutines }),
		Files:      median(samples, func(s sample) int { return s.Files }),
		CPU:        median(samples, func(s sample) float64 { return s.CPU }),
	}
}

func median[T cmp.Ordered](samples []sample, of func(sample) T) T {
	var values []T
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	if len(values) == 0 {
		var none T
		return none
	}
	return values[len(values)/2]
}

// slope is by how much the live heap has grown, in bytes an hour: the line of
// least squares.
func slope(samples []sample) float64 {
	var n, x, y, xx, xy float64
	for _, s := range samples {
		h, b := s.At/3600, float64(s.Heap)
		n, x, y, xx, xy = n+1, x+h, y+b, xx+h*h, xy+h*b
	}
	if d := n*xx - x*x; d > 0 {
		return (n*xy - x*y) / d
	}
	return 0
}
