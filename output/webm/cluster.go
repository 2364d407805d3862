package webm

import (
	"encoding/binary"

	"github.com/roomtape/roomtape/media"
)

const (
	// clusterHead is what comes before the first block of a cluster: its id
	// and size in 4 bytes each, and Timestamp with 8 bytes.
	clusterHead = 4 + 4 + 2 + 8
	// blockHead is the longest head of a SimpleBlock: id, size, track number,
	// relative time, flags.
	blockHead = 1 + 4 + 1 + 2 + 1
)

// cluster builds the chunk that will be written next, in one buffer that is
// used again and again.
type cluster struct {
	buf  []byte // empty, or clusterHead bytes to be filled in and the blocks
	base int64  // the least time of a block, in ms
	last int64  // the greatest
	cues []cue  // relative to this cluster
}

func (c *cluster) empty() bool { return len(c.buf) == 0 }

// span gives how far apart blocks would be with one more that goes from start
// to end, all in ms.
func (c *cluster) span(start, end int64) int64 {
	return max(end, c.last) - min(start, c.base)
}

// add appends a SimpleBlock (RFC 9559 §5.1.3.4, §10.2) and returns its offset
// from the first byte of the cluster's data.
func (c *cluster) add(track int, time int64, f *media.Frame) int32 {
	if c.empty() {
		c.buf = append(c.buf, make([]byte, clusterHead)...)
		c.base, c.last = time, time
	}
	if time < c.base {
		c.rebase(time)
	}
	c.last = max(c.last, time)
	at := len(c.buf)
	c.buf = append(c.buf, idSimpleBlock)
	c.buf = appendSize(c.buf, 4+len(f.Data))
	var flags byte
	if f.Key {
		flags |= flagKey
	}
	if f.Hidden {
		flags |= flagInvisible
	}
	if f.Droppable {
		flags |= flagDroppable
	}
	rel := uint16(time - c.base)
	c.buf = append(c.buf, 0x80|byte(track), byte(rel>>8), byte(rel), flags)
	c.buf = append(c.buf, f.Data...)
	return int32(at - 8)
}

// rebase makes base the cluster's time, so that no block has a negative one:
// they are legal, but Media Source Extensions in browsers refuse them.
func (c *cluster) rebase(base int64) {
	shift := uint16(c.base - base)
	for p := clusterHead; p < len(c.buf); {
		size, n := readSize(c.buf[p+1:])
		p += 1 + n
		rel := c.buf[p+1 : p+3]
		binary.BigEndian.PutUint16(rel, binary.BigEndian.Uint16(rel)+shift)
		p += size
	}
	c.base = base
}

// finish fills in the head and returns the whole cluster, which is valid until
// reset.
func (c *cluster) finish() []byte {
	b := c.buf
	binary.BigEndian.PutUint32(b, idCluster)
	binary.BigEndian.PutUint32(b[4:], 1<<28|uint32(len(b)-8))
	b[8], b[9] = idTimestamp, 0x88
	binary.BigEndian.PutUint64(b[10:], uint64(c.base))
	return b
}

// reset empties the cluster, and gives memory back that only a frame of unusual
// size needed.
func (c *cluster) reset(limit int) {
	if cap(c.buf) > 2*limit {
		c.buf = nil
	}
	c.buf, c.cues = c.buf[:0], c.cues[:0]
}

// appendSize appends n as a data size in as few bytes as it takes (RFC 8794
// §4); n is less than 1<<28 - 1.
func appendSize(b []byte, n int) []byte {
	switch {
	case n < 1<<7-1:
		return append(b, 0x80|byte(n))
	case n < 1<<14-1:
		return append(b, 0x40|byte(n>>8), byte(n))
	case n < 1<<21-1:
		return append(b, 0x20|byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, 0x10|byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// readSize reads what appendSize wrote, and how many bytes that was.
func readSize(b []byte) (size, n int) {
	switch {
	case b[0]&0x80 != 0:
		return int(b[0] & 0x7F), 1
	case b[0]&0x40 != 0:
		return int(b[0]&0x3F)<<8 | int(b[1]), 2
	case b[0]&0x20 != 0:
		return int(b[0]&0x1F)<<16 | int(b[1])<<8 | int(b[2]), 3
	}
	return int(b[0]&0x0F)<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]), 4
}

// addCue notes a block for the index.
func (c *cluster) addCue(track int, time int64, relative int32) {
	c.cues = append(c.cues, cue{time: time, relative: relative, track: uint8(track)})
}
