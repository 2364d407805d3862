package media

import "time"

const (
	maxOpusDuration = 120 * time.Millisecond
	maxOpusFrame    = 1275 // bytes, RFC 6716 §3.2.1
)

// OpusDuration gives how long an Opus packet lasts, by its TOC byte (RFC 6716
// §3.1, §3.2): 2.5 to 120 ms. ok is false when the packet breaks a rule of §3.4, so
// that no decoder would take it. It does not keep b.
func OpusDuration(b []byte) (d time.Duration, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	toc := b[0]
	frame := opusFrameDuration(toc >> 3)
	b = b[1:]
	switch toc & 3 {
	case 0:
		return frame, len(b) <= maxOpusFrame
	case 1:
		return 2 * frame, len(b)%2 == 0 && len(b)/2 <= maxOpusFrame
	case 2:
		first, n, ok := opusLength(b)
		return 2 * frame, ok && first <= len(b)-n && len(b)-n-first <= maxOpusFrame
	}
	// Code 3: any number of frames, with their count, padding and, when they
	// differ, sizes.
	if len(b) == 0 {
		return 0, false
	}
	vbr, padded, count := b[0]&0x80 != 0, b[0]&0x40 != 0, int(b[0]&0x3f)
	b = b[1:]
	d = time.Duration(count) * frame
	if count == 0 || d > maxOpusDuration {
		return 0, false
	}
	if padded {
		pad := 0
		for more := true; more; {
			if len(b) == 0 {
				return 0, false
			}
			n := int(b[0])
			b = b[1:]
			if more = n == 255; more {
				n = 254
			}
			pad += n
		}
		if pad > len(b) {
			return 0, false
		}
		b = b[:len(b)-pad]
	}
	if !vbr {
		return d, len(b)%count == 0 && len(b)/count <= maxOpusFrame
	}
	sum := 0
	for range count - 1 {
		size, n, ok := opusLength(b)
		if !ok {
			return 0, false
		}
		sum += size
		b = b[n:]
	}
	return d, sum <= len(b) && len(b)-sum <= maxOpusFrame
}

// opusLength reads a frame length of one or two bytes (RFC 6716 §3.2.1).
func opusLength(b []byte) (size, n int, ok bool) {
	switch {
	case len(b) == 0 || b[0] >= 252 && len(b) == 1:
		return 0, 0, false
	case b[0] < 252:
		return int(b[0]), 1, true
	}
	return int(b[1])*4 + int(b[0]), 2, true
}

// opusFrameDuration gives the duration of each frame of a configuration
// (RFC 6716 §3.1, table 2).
func opusFrameDuration(config byte) time.Duration {
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return [...]time.Duration{10, 20, 40, 60}[config&3] * time.Millisecond
	case config < 16: // hybrid: 10, 20 ms
		return [...]time.Duration{10, 20}[config&1] * time.Millisecond
	}
	return 2500 * time.Microsecond << (config & 3) // CELT: 2.5, 5, 10, 20 ms
}
