package recorder

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
)

// withheld is what of a track is left out because the recording is paused.
type withheld struct {
	// pauses is how many pauses the track has come back from.
	pauses int
	// any is set when a frame was left out in the pause that it has not come back
	// from, lost and dropped are those that such frames have told of.
	any           bool
	lost, dropped int64
}

// withholds tells whether a frame at a session time is left out since the
// recording is paused. A picture comes back with a keyframe that nothing later
// goes behind; until then none is taken after one that was left out, though it be
// presented before the pause, since it may refer to that.
func (t *track) withholds(f *depacket.Frame, at time.Duration) bool {
	n, within := t.s.pauseAt(at)
	away := n > t.away.pauses
	if !away && (!t.away.any || t.in.Kind != media.Video) {
		return false
	}
	if away && !within && (t.in.Kind != media.Video || begins(f)) {
		t.away.pauses = n
		if t.follows(f, at) { // the pause was a stop, and ended the file
			t.move(at, t.s.now)
		}
		t.comeBack(at)
		return false
	}
	lost, dropped := int64(f.LostPackets), int64(f.DroppedFrames)
	t.away.any = true
	t.away.lost, t.away.dropped = t.away.lost+lost, t.away.dropped+dropped
	t.lost, t.dropped = t.lost+lost, t.dropped+dropped
	c := &t.lane.n
	c.lost, c.dropped = c.lost+lost, c.dropped+dropped
	c.discarded[reasonPaused] += int64(f.Packets)
	t.dep.Recycle(f.Data)
	return true
}

// comeBack lists what the pause has left out until a session time.
func (t *track) comeBack(at time.Duration) {
	t.lane.pause(at, t.away.lost, t.away.dropped)
	t.away.any, t.away.lost, t.away.dropped = false, 0, 0
}

// awaitsReturn tells whether the track needs a keyframe to come back from a pause.
func (t *track) awaitsReturn() bool {
	return t.in.Kind == media.Video && t.away.pauses < len(t.s.control.pauses) && !t.s.paused()
}

// pause notes that what should have been presented up to the session time at has
// been left out. A lane that has no frame yet begins there.
func (l *lane) pause(at time.Duration, packets, frames int64) {
	l.order.Flush()
	l.arrange(0)
	l.close()
	from := at
	if l.start >= 0 {
		from = min(l.end, at)
	}
	if from < at || packets > 0 || frames > 0 {
		l.gap(gap{at: from, duration: at - from, packets: packets, frames: frames, reason: GapPaused})
	}
	if from == at {
		return
	}
	// The next frame follows like the one before.
	l.end, l.start = at, max(at-l.step, 0)
}
