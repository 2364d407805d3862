package webm

import (
	"math"
	"math/bits"
	"slices"
)

// maxCues bounds the index of one file in memory: a keyframe every two seconds
// for a day and a half. A longer list is thinned out.
const maxCues = 1 << 16

// cue is one entry of the index.
type cue struct {
	time     int64 // ms, or ticks in a file that others made
	cluster  int64 // offset in the file of the cluster
	relative int32 // offset of the block from the first byte of the cluster's data
	track    uint8 // its number, or its place in a list of numbers
}

// cueList is an index that stays bounded: when it is full, the least distance
// between two entries of a track grows.
type cueList struct {
	cues []cue
	gap  int64 // like the times
	last [math.MaxUint8 + 1]int64
}

func (l *cueList) add(c cue) {
	if l.gap > 0 && c.time-l.last[c.track] < l.gap {
		return
	}
	if len(l.cues) == maxCues {
		l.thin()
	}
	l.last[c.track] = c.time
	l.cues = append(l.cues, c)
}

// thin drops entries until half of the room is free.
func (l *cueList) thin() {
	for len(l.cues) > maxCues/2 {
		l.gap = max(2*l.gap, 500)
		var seen [math.MaxUint8 + 1]bool
		kept := l.cues[:0]
		for _, c := range l.cues {
			if seen[c.track] && c.time-l.last[c.track] < l.gap {
				continue
			}
			seen[c.track], l.last[c.track] = true, c.time
			kept = append(kept, c)
		}
		l.cues = kept
	}
}

// marshal gives the Cues element, or nil when there are none. segment is the
// offset in the file that positions count from. numbers are the numbers of the
// tracks by their place, or nil when cues have the numbers themselves. It is written by hand since the
// index of a day takes ebml-go a second, which a stop does not have.
func (l *cueList) marshal(segment int64, numbers []int) []byte {
	if len(l.cues) == 0 {
		return nil
	}
	trackSize := 1
	if numbers != nil {
		trackSize = max(1, (bits.Len(uint(slices.Max(numbers)))+7)/8)
	}
	// CuePoint, CueTime, CueTrackPositions, and the three elements in it.
	pointSize := 2 + (2 + 8) + 2 + (2 + trackSize) + (2 + 8) + (2 + 4)
	size := len(l.cues) * pointSize
	b := make([]byte, 0, 4+8+size)
	b = appendUint(b, idCues, 4)
	b = append(b, 0x01)
	b = appendUint(b, uint64(size), 7)
	for _, c := range l.cues {
		number := uint64(c.track)
		if numbers != nil {
			number = uint64(numbers[c.track])
		}
		b = append(b, idCuePoint, 0x80|byte(pointSize-2), idCueTime, 0x88)
		b = appendUint(b, uint64(c.time), 8)
		b = append(b, idCueTrackPositions, 0x80|byte(pointSize-2-10-2), idCueTrack, 0x80|byte(trackSize))
		b = appendUint(b, number, trackSize)
		b = append(b, idCueClusterPosition, 0x88)
		b = appendUint(b, uint64(c.cluster-segment), 8)
		b = append(b, idCueRelativePos, 0x84)
		b = appendUint(b, uint64(c.relative), 4)
	}
	return b
}

// appendUint appends the lowest n bytes of v, big endian.
func appendUint(b []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}
