package webm

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Bounds of what is kept of a header, in elements and bytes.
const (
	maxReadTracks  = 256
	maxReadString  = 1 << 10
	maxReadPrivate = 64 << 10
)

// children calls f for each child of a master element. What f does not read of
// the child is skipped.
func (r *Reader) children(parent element, f func(element)) {
	r.src.skipTo(parent.data)
	for !r.done && r.src.pos < parent.end {
		at := r.src.pos
		c, state := r.src.head()
		switch {
		case state == headNone || state == headCut:
			r.cut(parent.start, "an element")
			return
		case state == headWrong || c.end > parent.end:
			r.fault(at, "a child that does not fit into its element")
			r.skip(parent)
			return
		}
		r.src.skipTo(c.data)
		f(c)
		r.skip(c)
	}
}

// skip goes to the end of an element.
func (r *Reader) skip(e element) {
	if !r.done && !r.src.skipTo(e.end) {
		r.cut(e.start, "an element")
	}
}

// uint reads an unsigned integer (RFC 8794 §7.2).
func (r *Reader) uint(e element) (uint64, bool) {
	if e.size() > 8 {
		r.fault(e.start, fmt.Sprintf("an integer of %d bytes", e.size()))
		r.skip(e)
		return 0, false
	}
	r.src.skipTo(e.data)
	var v uint64
	b := r.src.peek(int(e.size()))
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	r.skip(e)
	return v, int64(len(b)) == e.size()
}

// float reads a floating-point number (RFC 8794 §7.3).
func (r *Reader) float(e element) float64 {
	var v float64
	switch b := r.src.peek(int(min(e.size(), 9))); len(b) {
	case 0:
	case 4:
		v = float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	case 8:
		v = math.Float64frombits(binary.BigEndian.Uint64(b))
	default:
		r.fault(e.start, fmt.Sprintf("a floating-point number of %d bytes", e.size()))
	}
	r.skip(e)
	return v
}

// bytes reads at most limit bytes; longer data is a fault, and gives nil.
func (r *Reader) bytes(e element, limit int64) []byte {
	if e.size() > limit {
		r.fault(e.start, fmt.Sprintf("an element of %d bytes, where %d are the most that make sense", e.size(), limit))
		return nil
	}
	b, ok := r.src.appendTo(nil, int(e.size()))
	if !ok {
		r.cut(e.start, "an element")
		return nil
	}
	return b
}

func (r *Reader) string(e element) string {
	s, _, _ := strings.Cut(string(r.bytes(e, maxReadString)), "\x00")
	return s
}

// nanoseconds reads an unsigned integer in nanoseconds.
func (r *Reader) nanoseconds(e element) time.Duration {
	v, _ := r.uint(e)
	return time.Duration(min(v, math.MaxInt64/1024))
}

func (r *Reader) ebmlHeader(e element) {
	r.docType = "matroska" // what an EBML header without DocType would be
	if e.end == unknownEnd {
		r.resync(e.start)
		return
	}
	r.children(e, func(c element) {
		if c.id == idDocType {
			r.docType = r.string(c)
		}
	})
	if r.docType != docTypeWebM && r.docType != docTypeMatroska {
		r.fault(e.start, fmt.Sprintf("a document of type %q", r.docType))
	}
}

func (r *Reader) info(e element) {
	r.children(e, func(c element) {
		switch c.id {
		case idTimestampScale:
			v, _ := r.uint(c)
			if v == 0 || v > uint64(time.Hour) {
				r.fault(c.start, fmt.Sprintf("a timestamp scale of %d ns", v))
				v = uint64(time.Millisecond)
			}
			r.scale = int64(v)
		case idDuration:
			r.duration = r.float(c)
		}
	})
}

func (r *Reader) readTracks(e element) {
	var tracks []Track
	r.children(e, func(c element) {
		if c.id != idTrackEntry {
			return
		}
		if len(tracks) == maxReadTracks {
			r.fault(c.start, fmt.Sprintf("more than %d tracks", maxReadTracks))
			return
		}
		if t := r.track(c); t.Number > 0 {
			tracks = append(tracks, t)
		} else {
			r.fault(c.start, "a track without a number")
		}
	})
	r.tracks, r.index = tracks, make(map[int]int, len(tracks))
	for i, t := range tracks {
		if _, ok := r.index[t.Number]; ok {
			r.fault(e.start, fmt.Sprintf("two tracks with the number %d", t.Number))
			continue
		}
		r.index[t.Number] = i
	}
}

func (r *Reader) track(e element) Track {
	var t Track
	r.children(e, func(c element) {
		switch c.id {
		case idTrackNumber:
			t.Number = r.int(c)
		case idTrackType:
			switch r.int(c) {
			case typeVideo:
				t.Type = media.Video
			case typeAudio:
				t.Type = media.Audio
			}
		case idCodecID:
			t.CodecID = r.string(c)
		case idCodecPrivate:
			t.Private = r.bytes(c, maxReadPrivate)
		case idCodecDelay:
			t.CodecDelay = r.nanoseconds(c)
		case idSeekPreRoll:
			t.SeekPreRoll = r.nanoseconds(c)
		case idDefaultDuration:
			t.DefaultDuration = min(r.nanoseconds(c), time.Hour)
		case idVideo:
			r.children(c, func(v element) {
				switch v.id {
				case idPixelWidth:
					t.Width = r.int(v)
				case idPixelHeight:
					t.Height = r.int(v)
				}
			})
		case idAudio:
			t.Channels = 1 // unless it says otherwise
			r.children(c, func(a element) {
				if a.id == idChannels {
					t.Channels = r.int(a)
				}
			})
		}
	})
	for codec, c := range codecs {
		if c.id == t.CodecID {
			t.Codec = codec
		}
	}
	return t
}

// int reads an unsigned integer that is small in all sensible files.
func (r *Reader) int(e element) int {
	v, _ := r.uint(e)
	return int(min(v, math.MaxInt32))
}

func (r *Reader) seekHead(e element) {
	if r.seen == nil {
		r.skip(e)
		return
	}
	r.children(e, func(c element) {
		if c.id != idSeek {
			return
		}
		s := pointer{offset: c.start}
		r.children(c, func(f element) {
			switch f.id {
			case idSeekID:
				if f.size() > 4 {
					return
				}
				for _, b := range r.bytes(f, 4) {
					s.id = s.id<<8 | uint32(b)
				}
			case idSeekPosition:
				s.position = r.position(f)
			}
		})
		r.seen.seek(s)
	})
}

func (r *Reader) cues(e element) {
	if r.seen == nil {
		r.skip(e)
		return
	}
	r.children(e, func(c element) {
		if c.id != idCuePoint {
			return
		}
		r.children(c, func(p element) {
			if p.id != idCueTrackPositions {
				return
			}
			s := pointer{offset: c.start, id: idCluster}
			r.children(p, func(f element) {
				switch f.id {
				case idCueTrack:
					s.track = r.int(f)
				case idCueClusterPosition:
					s.position = r.position(f)
				}
			})
			r.seen.cue(s)
		})
	})
}

// position reads an offset from the beginning of the segment.
func (r *Reader) position(e element) int64 {
	v, _ := r.uint(e)
	return int64(min(v, noPosition))
}

// noPosition is what position gives where no file can reach, as do places that
// are kept free with all bits set.
const noPosition = math.MaxInt64 / 2
