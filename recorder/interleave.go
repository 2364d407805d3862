package recorder

import (
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
)

// held is a frame that waits for its turn in its file.
type held struct {
	// frame's Time is the session's, not the file's.
	frame media.Frame
	// turn is its place among other tracks' frames: its time, or less when it
	// comes before frames that are presented before it. Turns never fall.
	turn time.Duration
	// private is the decoder configuration that the frame needs; nil: none.
	private []byte
	// packets is how many the frame was made of.
	packets int
	// entered is when the frame was complete.
	entered time.Time
	// from gets frame.Data back when it is written.
	from depacket.Depacketizer
}

// frameQueue is a queue of frames that stops allocating once it is as long as
// it ever gets.
type frameQueue struct {
	items []held
	head  int
}

func (q *frameQueue) len() int     { return len(q.items) - q.head }
func (q *frameQueue) first() *held { return &q.items[q.head] }

func (q *frameQueue) push(h held) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, h)
}

func (q *frameQueue) pop() held {
	h := q.items[q.head]
	q.items[q.head] = held{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return h
}

// interleaver puts the frames of one recording's tracks in order of time: that of
// their decoding, so that each comes when a player needs it.
//
// A frame goes out when every other track has got as far, so that nothing
// earlier can come, and at the latest when it has been held for hold: a silent
// track holds nothing back for longer. A frame that is late even so goes out at
// once; the order within its own track is kept, and no frame is dropped.
type interleaver struct {
	hold  time.Duration
	lanes []*lane
	// frames and bytes are held in all lanes.
	frames, bytes int
}

// add takes in a lane with all that it holds.
func (in *interleaver) add(l *lane) {
	in.lanes = append(in.lanes, l)
	in.count(l, 1)
}

// remove lets a lane go with all that it holds.
func (in *interleaver) remove(l *lane) {
	in.lanes = slices.DeleteFunc(in.lanes, func(o *lane) bool { return o == l })
	in.count(l, -1)
}

func (in *interleaver) count(l *lane, sign int) {
	for i := range l.queue.items[l.queue.head:] {
		in.frames += sign
		in.bytes += sign * len(l.queue.items[l.queue.head+i].frame.Data)
	}
}

// push takes a frame of l, which is one of the lanes.
func (in *interleaver) push(l *lane, h held) {
	l.queue.push(h)
	l.newest = max(l.newest, h.turn)
	in.frames++
	in.bytes += len(h.frame.Data)
}

// next gives the lane whose first frame is due now, or nil. With all set, every
// frame is due.
func (in *interleaver) next(now time.Time, all bool) *lane {
	if in.frames == 0 {
		return nil
	}
	if in.frames > MaxHeldFrames || in.bytes > MaxHeldBytes {
		all = true
	}
	var best *lane
	for _, l := range in.lanes {
		if l.queue.len() == 0 {
			continue
		}
		h := l.queue.first()
		if best == nil || h.turn < best.queue.first().turn {
			best = l
		}
		all = all || !now.Before(h.entered.Add(in.hold))
	}
	if all {
		return best
	}
	t := best.queue.first().turn
	for _, l := range in.lanes {
		if l.queue.len() == 0 && !l.ended && l.newest < t {
			return nil
		}
	}
	return best
}

// pop takes the first frame of l.
func (in *interleaver) pop(l *lane) held {
	h := l.queue.pop()
	in.frames--
	in.bytes -= len(h.frame.Data)
	return h
}

// takeFrom takes out the frames of l from the first one on whose session time is
// at least from.
func (in *interleaver) takeFrom(l *lane, from time.Duration) []held {
	q := &l.queue
	i := q.head
	for i < len(q.items) && q.items[i].frame.Time < from {
		i++
	}
	taken := slices.Clone(q.items[i:])
	clear(q.items[i:])
	if q.items = q.items[:i]; q.head == i {
		q.items, q.head = q.items[:0], 0
	}
	for _, h := range taken {
		in.frames--
		in.bytes -= len(h.frame.Data)
	}
	return taken
}

// due tells when next may give a lane though no frame comes; zero: never.
func (in *interleaver) due() time.Time {
	if in.frames == 0 {
		return time.Time{}
	}
	var due time.Time
	for _, l := range in.lanes {
		if l.queue.len() > 0 {
			due = earliest(due, l.queue.first().entered.Add(in.hold))
		}
	}
	return due
}

// earliest gives the earlier of two times, of which the zero one never comes.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// reached tells whether the time t, which never comes when it is zero, has come.
func reached(t, now time.Time) bool {
	return !t.IsZero() && !now.Before(t)
}
