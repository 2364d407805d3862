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
	// newest is the latest turn that was pushed; less than 0: none.
	newest time.Duration
	// ended is set when the track has ended, and holds nobody back.
	ended bool

	// order has the session times of the frames that came. Of those that have
	// got their place in it, start is the last one's, less than 0 when there is
	// none; end is when it ends, and step how long after the one before it is.
	order            media.Order
	start, end, step time.Duration
	// loss is a gap whose place is open until the frame at until, which has told
	// of it, has got its own.
	loss  gap
	until time.Duration
	open  bool
	gaps  []gap
	sizes []size

	// progress is what the muxer has taken, safe what it has written.
	progress, safe progress
	n              counts
}

// progress is how far a lane has got.
type progress struct {
	// at is the file time of the latest frame, last how long it lasts.
	at, last time.Duration
	// order has the file times of the frames, and before is the last one that
	// has got its place in it.
	order  media.Order
	before time.Duration
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
	if f.LostPackets > 0 || f.DroppedFrames > 0 {
		l.n.lost += int64(f.LostPackets)
		l.n.dropped += int64(f.DroppedFrames)
		if !l.open {
			l.loss, l.until, l.open = gap{at: -1, reason: GapLoss}, at, true
		}
		l.loss.packets += int64(f.LostPackets)
		l.loss.frames += int64(f.DroppedFrames)
		l.until = max(l.until, at)
		news = true
	}
	if f.Key && f.Width > 0 && (len(l.sizes) == 0 || l.sizes[len(l.sizes)-1].differs(f)) {
		if len(l.sizes) < MaxGaps {
			l.sizes = append(l.sizes, size{at, f.Width, f.Height})
		}
		news = true
	}
	l.order.Push(at)
	return l.arrange(f.Duration) || news
}

// arrange looks at the frames whose order of presentation is known by now, for
// gaps between them. d is how long one lasts, or 0.
func (l *lane) arrange(d time.Duration) bool {
	news := false
	for at, ok := l.order.Pop(); ok; at, ok = l.order.Pop() {
		if l.start < 0 {
			l.end = at
		}
		silence := at - l.end
		switch {
		case l.open:
			l.locate(at, silence)
		case silence > pauseOf(l.codec):
			l.gap(gap{at: l.end, duration: silence, reason: GapPause})
			news = true
		case l.start >= 0 && at-l.start <= pauseOf(l.codec):
			l.step = at - l.start
		}
		l.start = at
		l.end = at + d
		if d == 0 {
			l.end = at + l.step
		}
	}
	return news
}

// locate notes that nothing is presented for so long before at: the open gap goes
// over all there is of that, until the frame that told of it.
func (l *lane) locate(at, silence time.Duration) {
	last := at >= l.until
	if silence > l.step/2 || last && l.loss.at < 0 {
		if l.loss.at < 0 {
			l.loss.at = min(l.end, at)
		}
		l.loss.duration = at - l.loss.at
	}
	if last {
		l.close()
	}
}

// close lists the open gap, if there is one.
func (l *lane) close() {
	if !l.open {
		return
	}
	if l.loss.at < 0 {
		l.loss.at = l.end
	}
	l.gap(l.loss)
	l.open = false
}

// finish notes that nothing more comes from the track.
func (l *lane) finish() {
	l.order.Flush()
	l.arrange(0)
	l.close()
	l.ended = true
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
	p.at = max(p.at, h.frame.Time)
	p.order.Push(h.frame.Time)
	for at, ok := p.order.Pop(); ok; at, ok = p.order.Pop() {
		p.last, p.before = at-p.before, at
	}
	if h.frame.Duration > 0 {
		p.last = h.frame.Duration
	}
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
	gaps := l.gaps
	if l.open {
		g := l.loss
		if g.at < 0 {
			g.at = l.end
		}
		gaps = append(gaps[:len(gaps):len(gaps)], g)
	}
	for _, g := range gaps {
		at := max(g.at-offset, 0)
		e.Gaps = append(e.Gaps, Gap{at.Milliseconds(), g.duration.Milliseconds(), g.packets, g.frames, g.reason, g.merged})
	}
	for _, s := range l.sizes {
		e.Sizes = append(e.Sizes, Size{max(s.at-offset, 0).Milliseconds(), s.width, s.height})
	}
	return e
}
