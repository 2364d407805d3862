package main

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the units of a size in bytes, in lower case and the longest
// ending first.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"t", 1e12},
	{"b", 1}, {"", 1},
}

// parseBytes reads a size in bytes, such as 500M, 1.5GB (powers of 1000) or 2GiB
// (of 1024). ok is false for what is none, or is less than nothing.
func parseBytes(s string) (bytes int64, ok bool) {
	text := strings.ToLower(strings.TrimSpace(s))
	for _, u := range sizeUnits {
		digits, found := strings.CutSuffix(text, u.name)
		if !found {
			continue
		}
		digits = strings.TrimSpace(digits)
		if strings.Trim(digits, "0123456789.") != "" { // no exponents, signs or words
			return 0, false
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || n*u.bytes >= math.MaxInt64 {
			return 0, false
		}
		return int64(math.Round(n * u.bytes)), true
	}
	return 0, false
}

// The shortest and the smallest file that rotation makes.
const (
	minRotateEvery = time.Second
	minRotateSize  = 100_000
)

// rotation is when a recording goes on in a new file. The zero values: never.
type rotation struct {
	every time.Duration
	bytes int64
}

// parseRotation reads the values of --rotate-every and --rotate-size; its errors
// are usage errors.
func parseRotation(every time.Duration, size string) (rotation, error) {
	r := rotation{every: every}
	if every != 0 && every < minRotateEvery {
		return r, usagef("--rotate-every %v is less than %v", every, minRotateEvery)
	}
	if size == "" {
		return r, nil
	}
	var ok bool
	if r.bytes, ok = parseBytes(size); !ok {
		return r, usagef("--rotate-size %q is no size in bytes, such as 500M or 2GiB", size)
	}
	if r.bytes != 0 && r.bytes < minRotateSize {
		return r, usagef("--rotate-size %q is less than 100k", size)
	}
	return r, nil
}
