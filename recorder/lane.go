package recorder

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
)

// lane is the place of one track in one file.
type lane struct {
	// id is the track's, of the sender.
	id    string
	codec media.Codec
	// number is the muxer's; 0 before the first frame is due.
	number        int
	width, height int
	// private is the decoder configuration that the file begins with.
	private []byte
	queue   frameQueue
	// newest is the latest session time that was pushed; less than 0: none.
	newest time.Duration
	// ended is set when the track has ended, and holds nobody back.
	ended bool

	// start is the session time of the frame that came last, less than 0 when
	// there is none; end is when that frame ends, step how long after the one
	// before it came.
	start, end, step time.Duration
	gaps             []gap
	sizes            []size

	// progress is what the muxer has taken, safe what it has written.
	progress, safe progress
	n              counts
}

// progress is how far a lane has got.
type progress struct {
	// at is the file time of the latest frame, last how long it lasts.
	at, last time.Duration
	// packets made up the frames, of which key are keyframes.
	packets, frames, key int64
}

// gap and size are the manifest's Gap and Size on the session's clock.
type gap struct {
	at, duration    time.Duration
	packets, frames int64
	reason          string
	merged          int
}

type size struct {
	at            time.Duration
	width, height int
}

func newLane(id string, codec media.Codec) *lane {
	return &lane{id: id, codec: codec, newest: -1, start: -1}
}

// follow notes where the frame stands among those of the track: what is missing
// before it, and a new size. It tells whether something has come to light.
func (l *lane) follow(f *depacket.Frame, at time.Duration) bool {
	news := false
	if l.start < 0 {
		l.end = at
	}
	silence := at - l.end
	switch {
	case f.LostPackets > 0 || f.DroppedFrames > 0:
		l.n.lost += int64(f.LostPackets)
		l.n.dropped += int64(f.DroppedFrames)
		l.gap(gap{at: min(l.end, at), duration: max(silence, 0), packets: int64(f.LostPackets), frames: int64(f.DroppedFrames), reason: GapLoss})
		news = true
	case silence > pauseOf(l.codec):
		l.gap(gap{at: l.end, duration: silence, reason: GapPause})
		news = true
	}
	if f.Key && f.Width > 0 && (len(l.sizes) == 0 || l.sizes[len(l.sizes)-1].differs(f)) {
		if len(l.sizes) < MaxGaps {
			l.sizes = append(l.sizes, size{at, f.Width, f.Height})
		}
		news = true
	}
	if step := at - l.start; l.start >= 0 && step <= pauseOf(l.codec) && f.LostPackets == 0 && f.DroppedFrames == 0 {
		l.step = step
	}
	l.start = at
	l.end = at + f.Duration
	if f.Duration == 0 {
		l.end = at + l.step
	}
	return news
}

func pauseOf(c media.Codec) time.Duration {
	if c.Kind() == media.Video {
		return videoPause
	}
	return audioPause
}

func (s size) differs(f *depacket.Frame) bool { return s.width != f.Width || s.height != f.Height }

// gap lists g, or adds it to the last one when there are too many.
func (l *lane) gap(g gap) {
	if len(l.gaps) < MaxGaps {
		l.gaps = append(l.gaps, g)
		return
	}
	last := &l.gaps[len(l.gaps)-1]
	last.duration = max(last.duration, g.at+g.duration-last.at)
	last.packets += g.packets
	last.frames += g.frames
	last.merged++
}

// count notes that the muxer has taken h.
func (l *lane) count(h *held) {
	p := &l.progress
	p.packets += int64(h.packets)
	p.frames++
	if h.frame.Key {
		p.key++
	}
	if p.last = h.frame.Duration; p.last == 0 {
		p.last = h.frame.Time - p.at
	}
	p.at = h.frame.Time
}

// rollback notes that the chunk that was being built will never be written.
func (l *lane) rollback() {
	l.n.discarded[reasonStorage] += l.progress.packets - l.safe.packets
	l.progress = l.safe
}

// total gives all counts of the lane.
func (l *lane) total() counts {
	n := l.n
	n.written, n.frames, n.key = l.progress.packets, l.progress.frames, l.progress.key
	return n
}

// discard gives a frame back that could not be stored.
func (l *lane) discard(h held) {
	l.n.discarded[reasonStorage] += int64(h.packets)
	h.from.Recycle(h.frame.Data)
}

// queued is how many packets the frames in the queue are made of.
func (l *lane) queued() int64 {
	var n int64
	for i := range l.queue.items[l.queue.head:] {
		n += int64(l.queue.items[l.queue.head+i].packets)
	}
	return n
}

// entry gives the lane's part of the manifest. offset is the session time of
// the file's zero, n what was counted so far.
func (l *lane) entry(offset time.Duration, n *counts) TrackEntry {
	e := TrackEntry{
		Kind:      l.codec.Kind().String(),
		Codec:     l.codec.String(),
		Number:    l.number,
		ClockRate: l.codec.ClockRate(),
		Width:     l.width,
		Height:    l.height,
		Packets:   n.packets(),
		Frames:    FrameCounts{Written: n.frames, Dropped: n.dropped, Key: n.key},
	}
	e.Gaps, e.Sizes = []Gap{}, []Size{}
	for _, g := range l.gaps {
		at := max(g.at-offset, 0)
		e.Gaps = append(e.Gaps, Gap{at.Milliseconds(), g.duration.Milliseconds(), g.packets, g.frames, g.reason, g.merged})
	}
	for _, s := range l.sizes {
		e.Sizes = append(e.Sizes, Size{max(s.at-offset, 0).Milliseconds(), s.width, s.height})
	}
	return e
}
