package webm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/at-wat/ebml-go"
	"github.com/at-wat/ebml-go/webm"
)

// The elements that ebml-go marshals for us, with the fields that its own
// structs lack. The tags name elements by ebml-go's table.
type (
	info struct {
		TimestampScale uint64    `ebml:"TimecodeScale"`
		SegmentUUID    []byte    `ebml:"SegmentUID,omitempty"`
		MuxingApp      string    `ebml:"MuxingApp"`
		WritingApp     string    `ebml:"WritingApp"`
		DateUTC        time.Time `ebml:"DateUTC,omitempty,size=8"`
		Duration       *float64  `ebml:"Duration"`
		Reserve        []byte    `ebml:"Void,omitempty"` // in the place of Duration until it is known
	}
	trackEntry struct {
		TrackNumber uint64 `ebml:"TrackNumber"`
		TrackUID    uint64 `ebml:"TrackUID"`
		TrackType   uint64 `ebml:"TrackType"`
		FlagLacing  uint64 `ebml:"FlagLacing"`
		// In ns; 0 leaves it out.
		DefaultDuration uint64 `ebml:"DefaultDuration,omitempty,size=4"`
		Language        string `ebml:"Language"`
		CodecID         string `ebml:"CodecID"`
		CodecPrivate    []byte `ebml:"CodecPrivate,omitempty"`
		CodecDelay      uint64 `ebml:"CodecDelay,omitempty"`
		SeekPreRoll     uint64 `ebml:"SeekPreRoll,omitempty"`
		Video           *video `ebml:"Video"`
		Audio           *audio `ebml:"Audio"`
	}
	video struct {
		FlagInterlaced uint64 `ebml:"FlagInterlaced"`
		PixelWidth     uint64 `ebml:"PixelWidth,size=2"`
		PixelHeight    uint64 `ebml:"PixelHeight,size=2"`
	}
	audio struct {
		SamplingFrequency float64 `ebml:"SamplingFrequency"`
		Channels          uint64  `ebml:"Channels"`
	}
	seek struct {
		SeekID       []byte `ebml:"SeekID"`
		SeekPosition uint64 `ebml:"SeekPosition,size=8"`
	}
)

const (
	// durationSize is the size of the Duration element: id, size, float64.
	durationSize = 2 + 1 + 8
	// seekHeadSize is the size of a SeekHead with its four entries.
	seekHeadSize = 4 + 1 + 4*seekSize
	seekSize     = 2 + 1 + (2 + 1 + 4) + (2 + 1 + 8)
	// tracksReserve is the room for tracks that are added after the header was
	// written: some ten of them, or fewer with decoder configurations.
	tracksReserve = 1024
)

// unknownSize is the data size of an element that is still growing, in 8 bytes
// (RFC 8794 §6.2).
var unknownSize = []byte{0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}

// header is everything before the first cluster. Its fixed places are filled in
// when the file is closed.
//
//	EBML | Segment id, size | SeekHead or Void | Info (… Duration or Void) | Tracks | Void
type header struct {
	head []byte // all before Tracks
	// Offsets in the file.
	segmentSize, segment, seekHead, info, duration int
	// tracksRoom is how many bytes Tracks and the Void after it have together.
	tracksRoom int
}

// newHeader lays out a header; growable tells that Tracks can be rewritten.
func newHeader(cfg Config, docType string, tracks []byte, growable bool) (*header, error) {
	h := &header{tracksRoom: len(tracks)}
	if growable {
		h.tracksRoom += tracksReserve
	}
	b, err := marshal(&struct {
		EBML webm.EBMLHeader `ebml:"EBML"`
	}{webm.EBMLHeader{
		EBMLVersion: 1, EBMLReadVersion: 1, EBMLMaxIDLength: 4, EBMLMaxSizeLength: 8,
		DocType: docType, DocTypeVersion: 4, DocTypeReadVersion: 2,
	}})
	if err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint32(b, idSegment)
	h.segmentSize = len(b)
	b = append(b, unknownSize...)
	h.segment = len(b)
	h.seekHead = len(b)
	if growable {
		b = appendVoid(b, seekHeadSize)
	}

	in := info{
		TimestampScale: uint64(time.Millisecond),
		MuxingApp:      "Roomtape",
		WritingApp:     cfg.Writer,
		DateUTC:        cfg.Date,
	}
	if docType == docTypeMatroska { // WebM has no SegmentUUID
		in.SegmentUUID = uuid(cfg.UID, "segment")
	}
	if growable {
		in.Reserve = make([]byte, durationSize-2)
	}
	h.info = len(b)
	ib, err := marshal(&struct {
		Info info `ebml:"Info"`
	}{in})
	if err != nil {
		return nil, err
	}
	h.head = append(b, ib...)
	h.duration = len(h.head) - durationSize
	return h, nil
}

// tracks is the file's offset of the Tracks element.
func (h *header) tracks() int { return len(h.head) }

// size is the length of the whole header.
func (h *header) size() int { return len(h.head) + h.tracksRoom }

// fits tells whether Tracks of n bytes fit; a Void needs two bytes or none.
func (h *header) fits(n int) bool {
	return n == h.tracksRoom || n <= h.tracksRoom-2
}

// appendTracks appends Tracks and what is left of its room to b.
func (h *header) appendTracks(b, tracks []byte) []byte {
	return appendVoid(append(b, tracks...), h.tracksRoom-len(tracks))
}

// finish fills in what is known when the file is complete, and returns the
// bytes to be written at h.segmentSize: all of it in one write, so that a crash
// leaves either a growing file or a finished one. cues, chapters and end are
// offsets in the file; those of what is not there are 0.
func (h *header) finish(cues, chapters, end int64, durationMS int64) ([]byte, error) {
	binary.BigEndian.PutUint64(h.head[h.segmentSize:], 1<<56|uint64(end-int64(h.segment)))

	at := func(id uint32, offset int64) seek {
		return seek{SeekID: binary.BigEndian.AppendUint32(nil, id), SeekPosition: uint64(offset - int64(h.segment))}
	}
	seeks := []seek{at(idInfo, int64(h.info)), at(idTracks, int64(h.tracks()))}
	if cues != 0 {
		seeks = append(seeks, at(idCues, cues))
	}
	if chapters != 0 {
		seeks = append(seeks, at(idChapters, chapters))
	}
	sh, err := marshal(&struct {
		SeekHead struct {
			Seek []seek `ebml:"Seek"`
		} `ebml:"SeekHead"`
	}{struct {
		Seek []seek `ebml:"Seek"`
	}{seeks}})
	if err != nil {
		return nil, err
	}
	copy(h.head[h.seekHead:], appendVoid(sh, seekHeadSize-len(sh)))

	if durationMS > 0 { // 0 is not a legal Duration
		d := append(h.head[:h.duration:h.duration], idDuration>>8, idDuration&0xFF, 0x88)
		d = binary.BigEndian.AppendUint64(d, math.Float64bits(float64(durationMS)))
		copy(h.head[h.duration:], d[h.duration:])
	}
	return h.head[h.segmentSize:], nil
}

// marshalTracks gives the Tracks element.
func marshalTracks(seed string, tracks []*track) ([]byte, error) {
	entries := make([]trackEntry, len(tracks))
	for i, t := range tracks {
		entries[i] = t.entry(seed, i+1)
	}
	return marshal(&struct {
		Tracks struct {
			TrackEntry []trackEntry `ebml:"TrackEntry"`
		} `ebml:"Tracks"`
	}{struct {
		TrackEntry []trackEntry `ebml:"TrackEntry"`
	}{entries}})
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := ebml.Marshal(v, &b); err != nil {
		return nil, fmt.Errorf("webm: marshalling the header: %w", err)
	}
	return b.Bytes(), nil
}

// appendVoid appends a Void element of n bytes in all; n is 0, or at least 2.
func appendVoid(b []byte, n int) []byte {
	switch {
	case n < 2:
		return b
	case n-2 < 0x7F:
		b = append(b, idVoid, 0x80|byte(n-2))
		n -= 2
	default:
		b = append(b, idVoid)
		b = binary.BigEndian.AppendUint64(b, 1<<56|uint64(n-9))
		n -= 9
	}
	return append(b, make([]byte, n)...)
}
