package media

import (
	"math"
	"time"
)

// MaxReorder is how many frames that come before one may be presented after it:
// as many as a decoder of H264 can hold (ITU-T H.264 §A.3.1).
const MaxReorder = 16

// MaxReorderTime is how long before one of those it may be presented: 16 frames
// of less than two a second. It leaves room in the 16-bit times of Matroska.
const MaxReorderTime = 10 * time.Second

// Reorders tells whether frames of the codec may come in another order than
// that of their presentation. Those of VP8, VP9, AV1 and Opus never do.
func (c Codec) Reorders() bool { return c == H264 }

// Order follows the times of one track's frames, which come in decode order. It
// learns from them how many frames are presented later than one that comes after
// them, and gives their times in order of presentation as soon as nothing can
// come in between. As long as times only rise, that is at once.
//
// The zero value is ready for use. It has no pointers, and a copy of it goes on
// by itself.
type Order struct {
	// times are the greatest times so far, rising; the first done of them were
	// given by Pop.
	times   [MaxReorder + 1]time.Duration
	n, done int
	// depth is how many frames one has been behind, at most.
	depth int
	ended bool
}

// Wait lets Pop wait from now on as if MaxReorder frames could be presented later
// than one that comes after them. So it leaves none out.
func (o *Order) Wait() { o.depth = MaxReorder }

// Floor gives the least time that the next frame may have: that of the frame
// which no more than MaxReorder others are after, and at least the latest less
// MaxReorderTime. Before the first frame it is below every time.
func (o *Order) Floor() time.Duration {
	switch o.n {
	case 0:
		return math.MinInt64
	case len(o.times):
		return max(o.times[0], o.Latest()-MaxReorderTime)
	}
	return o.Latest() - MaxReorderTime
}

// Latest gives the greatest time so far; 0 when there was none.
func (o *Order) Latest() time.Duration {
	return o.times[max(o.n-1, 0)]
}

// Push takes the time of the next frame; one below Floor counts as Floor. Pop
// must be called until it gives no more after each Push.
func (o *Order) Push(t time.Duration) {
	t = max(t, o.Floor())
	if o.n == len(o.times) {
		copy(o.times[:], o.times[1:])
		o.n--
		o.done = max(o.done-1, 0)
	}
	at := o.n
	for at > 0 && o.times[at-1] > t { // seldom further than two
		at--
	}
	o.depth = max(o.depth, o.n-at)
	copy(o.times[at+1:o.n+1], o.times[at:o.n])
	o.times[at] = t
	o.n++
	o.ended = false
	if at < o.done { // too late to be given in order
		o.done++
	}
}

// Least gives t, or the least time that the next frame of the codec may have
// when that is later: for a codec that does not reorder, the latest so far.
func (o *Order) Least(c Codec, t time.Duration) time.Duration {
	switch {
	case c.Reorders():
		return max(t, o.Floor())
	case o.n > 0:
		return max(t, o.Latest())
	}
	return t
}

// Pop gives the next time in order of presentation, if by what is known no frame
// can come before it. A frame that shows for the first time that frames come in
// another order may be left out.
func (o *Order) Pop() (time.Duration, bool) {
	if left := o.n - o.done; left == 0 || !o.ended && left <= o.depth {
		return 0, false
	}
	o.done++
	return o.times[o.done-1], true
}

// Flush lets Pop give all that is left, until the next Push.
func (o *Order) Flush() { o.ended = true }
