package webm

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Report says what is in a file. As JSON it is what `roomtape inspect --json`
// prints.
type Report struct {
	// File is left for the caller to fill in.
	File string `json:"file"`
	// DocType is "webm" or "matroska", or empty when the file is neither.
	DocType string `json:"doc_type"`
	// DurationMS is what the file says of its length or, when it does not, the
	// time of its last frame.
	DurationMS int64 `json:"duration_ms"`
	// Seekable is set when the file has an index that can be found without
	// reading the whole of it, and that has no wrong entry.
	Seekable bool `json:"seekable"`
	// Finalized is set when the file's size and length are filled in, as they
	// are once writing has ended. A file that is still growing, or whose
	// writer was killed, is not finalized; that alone is no fault.
	Finalized bool `json:"finalized"`
	// Clusters and Cues are how many there are of each.
	Clusters int `json:"clusters"`
	Cues     int `json:"cues"`
	// Tracks are in the order of the file.
	Tracks []TrackReport `json:"tracks"`
	// Chapters are the moments that the file names, of a flat list, at most
	// MaxChapters.
	Chapters []Chapter `json:"chapters,omitempty"`
	// Faults is what is wrong, in the order it was found.
	Faults []Fault `json:"faults"`
}

// Chapter is a moment of the file that has a name, which is the maker's words.
type Chapter struct {
	AtMS int64  `json:"at_ms"`
	Name string `json:"name"`
}

// TrackReport is what is in one track. Times are those of the blocks, from the
// beginning of the file, in ms.
type TrackReport struct {
	Number int `json:"number"`
	// Codec is a name such as "VP8", or Matroska's for one that we don't know.
	Codec string `json:"codec"`
	// Width and Height are in pixels, and 0 for audio, as Channels is for
	// video.
	Width     int `json:"width"`
	Height    int `json:"height"`
	Channels  int `json:"channels"`
	Frames    int `json:"frames"`
	Keyframes int `json:"keyframes"`
	// FirstMS and LastMS are when the first and the last frame are presented.
	FirstMS int64 `json:"first_ms"`
	LastMS  int64 `json:"last_ms"`
	// MaxGapMS is the longest time from one frame to the next, in the order
	// of their presentation.
	MaxGapMS int64 `json:"max_gap_ms"`
}

// Inspect reads a file to its end and reports what is in it, whatever its
// state. It reads at most size bytes, so that of a growing file no chunk is
// seen in part, or all when size is negative. The error is the reader's own.
//
// A fault is what makes a file less than what it says it is: it ends inside an
// element, has bytes that are no element, blocks that can't be read, or an
// index that points to nothing. Sizes that are left unknown, and a missing
// length or index, are no faults: a live stream has them so.
func Inspect(r io.Reader, size int64) (Report, error) {
	return Survey(r, size, nil)
}

// Survey is Inspect that also gives each block, with its track, to f, if f is
// not nil.
func Survey(r io.Reader, size int64, f func(Block, Track)) (Report, error) {
	if size >= 0 {
		r = io.LimitReader(r, size)
	}
	x := NewReader(r)
	x.seen = &structure{}
	var tracks []TrackReport
	place := map[int]int{}
	var orders []media.Order // like tracks
	var last time.Duration
	for {
		b, err := x.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Report{}, fmt.Errorf("webm: inspecting: %w", err)
		}
		i, ok := place[b.Track]
		if !ok {
			tracks = addTracks(tracks, place, x.Tracks())
			i, ok = place[b.Track]
		}
		if ok {
			for len(orders) <= i {
				orders = append(orders, media.Order{})
			}
			tracks[i].count(b, &orders[i])
		}
		last = max(last, b.Time+b.Duration)
		if f != nil {
			f(b, x.tracks[x.index[b.Track]])
		}
	}
	for i := range orders {
		tracks[i].finish(&orders[i])
	}
	rep := Report{
		DocType:    x.docType,
		DurationMS: x.seen.durationMS,
		Seekable:   x.seen.seekable(),
		Finalized:  x.seen.segments > 0 && !x.seen.open && x.seen.durationMS > 0,
		Clusters:   x.seen.clusters,
		Cues:       x.seen.cueCount,
		Tracks:     addTracks(tracks, place, x.Tracks()),
		Chapters:   x.seen.chapters,
		Faults:     x.faults,
	}
	if rep.DurationMS == 0 {
		rep.DurationMS = last.Milliseconds()
	}
	if rep.Tracks == nil {
		rep.Tracks = []TrackReport{}
	}
	if rep.Faults == nil {
		rep.Faults = []Fault{}
	}
	return rep, nil
}

// addTracks appends a report for each track that has none; place is from a
// track's number to its report.
func addTracks(reports []TrackReport, place map[int]int, tracks []Track) []TrackReport {
	for _, t := range tracks {
		if _, ok := place[t.Number]; ok || len(reports) == maxReadTracks {
			continue
		}
		place[t.Number] = len(reports)
		codec := t.CodecID
		if t.Codec != media.CodecUnknown {
			codec = t.Codec.String()
		}
		reports = append(reports, TrackReport{
			Number: t.Number, Codec: codec, Width: t.Width, Height: t.Height, Channels: t.Channels,
		})
	}
	return reports
}

// count takes in a block of the track, whose blocks so far are in o.
func (t *TrackReport) count(b Block, o *media.Order) {
	at := b.Time.Truncate(time.Millisecond)
	switch {
	case t.Frames == 0:
		t.FirstMS, t.LastMS = at.Milliseconds(), at.Milliseconds()
	case at < o.Floor(): // further than decoders can go: time begins anew
		t.finish(o)
		*o = media.Order{}
		t.LastMS = at.Milliseconds()
	}
	t.FirstMS = min(t.FirstMS, at.Milliseconds())
	o.Wait()
	o.Push(at)
	t.follow(o)
	t.Frames++
	if b.Key {
		t.Keyframes++
	}
}

// follow looks at the blocks that have got their place in order of presentation.
func (t *TrackReport) follow(o *media.Order) {
	for at, ok := o.Pop(); ok; at, ok = o.Pop() {
		t.MaxGapMS = max(t.MaxGapMS, at.Milliseconds()-t.LastMS)
		t.LastMS = at.Milliseconds()
	}
}

// finish looks at the last ones.
func (t *TrackReport) finish(o *media.Order) {
	o.Flush()
	t.follow(o)
}

// maxPointers bounds the places that are remembered in order to check what
// points to them: a cluster a second for twelve days.
const maxPointers = 1 << 20

// pointer is an entry of a SeekHead or of Cues: it says that at a position
// there is an element of an id.
type pointer struct {
	offset   int64 // of the entry in the file
	position int64 // from the beginning of the segment
	id       uint32
	track    int
}

// structure collects how a file is built, and checks it segment by segment.
type structure struct {
	segments, clusters, cueCount int
	durationMS                   int64
	open                         bool // a segment is of unknown size
	unseekable                   bool // a segment has no good index

	chapters []Chapter

	segment  int64 // offset of the current segment's data
	places   []pointer
	seeks    []pointer
	cueList  []pointer
	media    bool // a cluster has been seen in this segment
	early    bool // Cues have been seen before the first cluster
	overflow bool
}

// begin is called at the head of a segment.
func (s *structure) begin(e element) {
	s.segments++
	s.open = s.open || e.end == unknownEnd
	s.segment = e.data
	s.media, s.early, s.overflow = false, false, false
}

// element is called at the head of each element of a segment's first level.
func (s *structure) element(e element) {
	switch e.id {
	case idCluster:
		s.clusters++
		s.media = true
	case idCues:
		s.early = s.early || !s.media
	}
	s.places = s.bounded(s.places, pointer{id: e.id, position: e.start - s.segment})
}

func (s *structure) seek(p pointer) { s.seeks = s.bounded(s.seeks, p) }

func (s *structure) cue(p pointer) {
	s.cueCount++
	s.cueList = s.bounded(s.cueList, p)
}

func (s *structure) bounded(list []pointer, p pointer) []pointer {
	if len(list) >= maxPointers {
		s.overflow = true
		return list
	}
	return append(list, p)
}

// finish is called at the end of a segment.
func (s *structure) finish(r *Reader) {
	if d := r.duration * float64(r.scale) / 1e6; d > 0 && d < math.MaxInt64/1e6 {
		s.durationMS += int64(math.Round(d))
	}
	r.duration = 0
	if !s.overflow { // else it can't be told whether a pointer is right
		s.check(r)
	}
	s.places, s.seeks, s.cueList = s.places[:0], s.seeks[:0], s.cueList[:0]
}

// check looks at where the SeekHead and the Cues point to.
func (s *structure) check(r *Reader) {
	found := s.early
	for _, p := range s.seeks {
		switch {
		case p.position == noPosition:
			// A live stream has no better to say.
		case !s.has(p):
			r.fault(p.offset, fmt.Sprintf("an entry of the SeekHead for element %X, which is not at %d", p.id, s.segment+p.position))
		case p.id == idCues:
			found = true
		}
	}
	bad, first := 0, int64(0)
	for _, p := range s.cueList {
		if _, listed := r.index[p.track]; !listed || !s.has(p) {
			if bad++; bad == 1 {
				first = p.offset
			}
		}
	}
	if bad > 0 {
		r.fault(first, fmt.Sprintf("%d of %d entries of the index point to no cluster or no track", bad, len(s.cueList)))
	}
	s.unseekable = s.unseekable || !found || bad > 0 || len(s.cueList) == 0
}

// has tells whether what p points to is there. The places are in the order of
// the file.
func (s *structure) has(p pointer) bool {
	i, ok := slices.BinarySearchFunc(s.places, p.position, func(q pointer, at int64) int {
		return int(min(max(q.position-at, -1), 1))
	})
	return ok && s.places[i].id == p.id
}

// seekable tells whether every segment has an index that can be found.
func (s *structure) seekable() bool { return s.segments > 0 && !s.unseekable }
