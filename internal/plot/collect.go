// Package plot draws a recording: bitrate, the sizes of frames with keyframes
// marked, audio packets, gaps, changes of resolution and chunk boundaries, along
// one time axis, as SVG or PNG.
//
// A [Recording] collects what is drawn, block by block, in bins that get wider as
// the recording gets longer; so memory does not depend on its length.
package plot

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
)

// Bounds of what is collected.
const (
	maxBins  = 4096
	firstBin = 5 * time.Millisecond // how wide bins are at first
	maxLanes = 8                    // tracks drawn
	maxGaps  = 200                  // of a track; the longest are kept
	maxSizes = 50                   // changes of resolution of a track
	// videoGap and audioGap are how long a track is silent at least for a gap
	// to be drawn, if its frames are closer as a rule.
	videoGap = 500 * time.Millisecond
	audioGap = 200 * time.Millisecond
)

// bin is what came in one stretch of time of a track.
type bin struct {
	bytes      int64
	count      int32
	least, top int32 // the smallest and the largest frame, in bytes
	key        int32 // the largest keyframe, or 0
}

func (b *bin) merge(c bin) {
	if c.count == 0 {
		return
	}
	if b.count == 0 || c.least < b.least {
		b.least = c.least
	}
	b.bytes, b.count = b.bytes+c.bytes, b.count+c.count
	b.top, b.key = max(b.top, c.top), max(b.key, c.key)
}

type span struct{ from, to time.Duration }

type sizeChange struct {
	at            time.Duration
	width, height int
}

// lane is one track.
type lane struct {
	number int
	name   string // of the codec
	video  bool
	bins   []bin
	frames int
	keys   int
	order  media.Order
	last   time.Duration // in order of presentation
	gaps   []span
	sizes  []sizeChange
}

// Recording collects what is drawn of a recording. The zero value is ready for
// use; it is used by one goroutine.
type Recording struct {
	width   time.Duration // of a bin
	lanes   []*lane
	hidden  int // tracks beyond maxLanes
	strange map[int]bool
	end     time.Duration
	chunks  []bool // a chunk begins in the bin
	count   int    // of chunks
	cluster int64  // where the latest one began in the file
}

// Add takes the next block, of track t.
func (r *Recording) Add(b webm.Block, t webm.Track) {
	if r.width == 0 {
		r.width, r.cluster = firstBin, -1
	}
	at := max(b.Time, 0)
	for at/r.width >= maxBins {
		r.widen()
	}
	r.end = max(r.end, at+b.Duration)
	i := int(at / r.width)
	if b.Cluster != r.cluster {
		r.cluster = b.Cluster
		r.count++
		for len(r.chunks) <= i {
			r.chunks = append(r.chunks, false)
		}
		r.chunks[i] = true
	}
	l := r.lane(t)
	if l == nil {
		return
	}
	for len(l.bins) <= i {
		l.bins = append(l.bins, bin{})
	}
	size := int32(len(b.Data)) // a frame is 64 MiB at most
	one := bin{bytes: int64(size), count: 1, least: size, top: size}
	if b.Key && l.video {
		one.key = size
		l.keys++
		if w, h := pictureSize(t.Codec, b.Data); w > 0 {
			l.resize(at, w, h)
		}
	}
	l.bins[i].merge(one)
	if l.frames == 0 || at < l.order.Floor() { // time begins, or begins anew
		l.order, l.last = media.Order{}, at
	}
	l.frames++
	l.order.Wait()
	l.order.Push(at)
	l.follow()
}

// follow looks for gaps between frames that have got their place in order of
// presentation.
func (l *lane) follow() {
	least := audioGap
	if l.video {
		least = videoGap
	}
	for at, ok := l.order.Pop(); ok; at, ok = l.order.Pop() {
		if at-l.last > least {
			l.gap(span{l.last, at})
		}
		l.last = at
	}
}

// finish looks at the last frames.
func (r *Recording) finish() {
	for _, l := range r.lanes {
		l.order.Flush()
		l.follow()
	}
}

// lane gives a track's lane, or nil when there are too many.
func (r *Recording) lane(t webm.Track) *lane {
	for _, l := range r.lanes {
		if l.number == t.Number {
			return l
		}
	}
	if len(r.lanes) == maxLanes {
		if r.strange == nil {
			r.strange = map[int]bool{}
		}
		if !r.strange[t.Number] && r.hidden < 1000 {
			r.strange[t.Number] = true
			r.hidden++
		}
		return nil
	}
	l := &lane{number: t.Number, name: t.CodecID, video: t.Type == media.Video || t.Codec.Kind() == media.Video}
	if t.Codec != media.CodecUnknown {
		l.name = t.Codec.String()
	}
	r.lanes = append(r.lanes, l)
	slices.SortFunc(r.lanes, func(a, b *lane) int { return cmp.Compare(a.number, b.number) })
	return l
}

// widen makes each bin twice as wide.
func (r *Recording) widen() {
	r.width *= 2
	for _, l := range r.lanes {
		for i, b := range l.bins {
			if i%2 == 0 {
				l.bins[i/2] = b
			} else {
				l.bins[i/2].merge(b)
			}
		}
		l.bins = l.bins[:(len(l.bins)+1)/2]
	}
	for i, b := range r.chunks {
		r.chunks[i/2] = b || i%2 == 1 && r.chunks[i/2]
	}
	r.chunks = r.chunks[:(len(r.chunks)+1)/2]
}

func (l *lane) gap(s span) {
	if len(l.gaps) < maxGaps {
		l.gaps = append(l.gaps, s)
		return
	}
	least := 0
	for i, g := range l.gaps {
		if g.to-g.from < l.gaps[least].to-l.gaps[least].from {
			least = i
		}
	}
	if g := l.gaps[least]; s.to-s.from > g.to-g.from {
		l.gaps[least] = s
	}
}

func (l *lane) resize(at time.Duration, width, height int) {
	if n := len(l.sizes); n > 0 && l.sizes[n-1].width == width && l.sizes[n-1].height == height || n == maxSizes {
		return
	}
	l.sizes = append(l.sizes, sizeChange{at, width, height})
}

// Frames gives how many blocks have been collected of the tracks that are drawn.
func (r *Recording) Frames() int {
	n := 0
	for _, l := range r.lanes {
		n += l.frames
	}
	return n
}
