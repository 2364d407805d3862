package depacket

import (
	"time"

	"github.com/roomtape/roomtape/media"
)

// opus depacketizes Opus (RFC 7587): each packet is a frame. RED packets (RFC
// 2198) have more than one: those that repeat what was lost take its place.
//
// Opus has a forward error correction of its own (RFC 6716 §2.1.7): a packet may
// hold a coarse copy of the one before. To use it for a packet that was lost one
// would have to decode and to encode again. It stays where it is: a player that
// finds the gap may use it.
type opus struct {
	assembler
	blocks [maxBlocks]redBlock
	// latest is the timestamp of the frame given last, end the one at which it
	// ends; they are nothing unless placed is set.
	latest, end uint32
	placed      bool
}

func newOpus(cfg Config) *opus { return &opus{assembler: assembler{cfg: cfg}} }

// Push implements Depacketizer.
func (o *opus) Push(p *media.Packet, lost int) {
	o.lost += lost
	switch {
	case len(p.Payload) == 0:
		o.stats.Packets.Padding++
		p.Release()
	case o.cfg.RED[p.PayloadType]:
		o.red(p, lost)
	default:
		o.frame(p)
	}
}

// frame takes a packet whose payload is a frame.
func (o *opus) frame(p *media.Packet) {
	d, ok := opusDuration(p.Payload)
	if !ok || len(p.Payload) > o.cfg.MaxFrameSize {
		if ok {
			o.stats.Packets.Oversize++
		} else {
			o.stats.Packets.Malformed++
		}
		o.drop(1)
		p.Release()
		return
	}
	o.put(Frame{
		Data:        append(o.buffer(), p.Payload...),
		Timestamp:   p.Timestamp,
		Arrival:     p.Arrival,
		Recovered:   p.Recovered,
		Duration:    d,
		Packets:     1,
		Key:         true,
		CaptureTime: o.captureTime(p),
	})
	p.Release()
}

// put gives a frame and remembers its place.
func (o *opus) put(f Frame) {
	o.latest = f.Timestamp
	o.end = f.Timestamp + uint32(f.Duration*48/time.Millisecond)
	o.placed = true
	o.give(f)
}

// Restart implements Depacketizer.
func (o *opus) Restart() { o.restarted, o.placed = true, false }

// Flush implements Depacketizer.
func (o *opus) Flush() { o.placed = false }

// NeedsKeyframe implements Depacketizer.
func (o *opus) NeedsKeyframe() bool { return false }

const (
	maxOpusDuration = 120 * time.Millisecond
	maxOpusFrame    = 1275 // bytes, RFC 6716 §3.2.1
)

// opusDuration gives how long an Opus packet lasts. ok is false when it breaks a
// rule of RFC 6716 §3.4, so that no decoder would take it.
func opusDuration(b []byte) (d time.Duration, ok bool) {
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
