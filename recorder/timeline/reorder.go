package timeline

import (
	"math/bits"
	"time"

	"github.com/roomtape/roomtape/recorder/depacket"
)

// Frames of a codec with B-frames come in decode order: a frame that others
// between it and the one before refer to comes first, and then those, whose
// timestamps are less. Only frames that are not behind tell something of the
// clocks; the others get their place between them.

// isBehind tells whether a frame with media time m is presented before one that
// came before it. Its payload must say so too, and it must not be further back
// than a decoder can hold frames: else its timestamp has jumped.
func (t *Track) isBehind(f *depacket.Frame, m int64) bool {
	return f.Reordered && !f.Restarted && t.frames > 0 &&
		m < t.last.media && time.Duration(m) >= t.order.Floor()
}

// insert takes a frame that is behind.
func (t *Track) insert(f depacket.Frame, ticks, m, arrival int64) {
	t.order.Push(time.Duration(m))
	t.put(item{frame: f, arrival: arrival, media: m, behind: true})
	sure := f.CaptureTime != 0 && t.sample(captures, f.CaptureTime, ticks, arrival, arrival-m)
	t.decide(0, 0, sure, true)
}

// early is how much earlier than any before a frame may be.
func early(f *depacket.Frame) int64 {
	if f.Reorders {
		return earlyJump + aheadTime
	}
	return earlyJump
}

// between gives the place of a frame at media time m that is behind the last one
// placed: evenly between that and the one before.
func (t *Track) between(m int64) int64 {
	span, d := t.prev-t.before, m-t.before
	if d <= 0 || span <= 0 {
		return max(t.beforeTime+d, 0)
	}
	hi, lo := bits.Mul64(uint64(t.prevTime-t.beforeTime), uint64(d))
	q, _ := bits.Div64(hi, lo, uint64(span))
	return t.beforeTime + int64(q)
}
