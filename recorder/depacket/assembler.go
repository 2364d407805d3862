package depacket

import (
	"encoding/binary"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/media/dependency"
)

const (
	// maxFree bounds how many buffers wait to be used again, and maxFreeBytes
	// how large they are together.
	maxFree      = 64
	maxFreeBytes = 2 << 20
	// firstBuffer is the capacity of a new buffer for a frame.
	firstBuffer = 2048
)

// assembler has what all codecs share: frames that wait for Next, buffers, and
// counts.
type assembler struct {
	cfg   Config
	stats Stats

	queue []Frame
	head  int // of queue

	free      [][]byte
	freeBytes int

	// Since the frame given last:
	lost, dropped int
	restarted     bool
}

// Ready implements Depacketizer.
func (a *assembler) Ready() bool { return a.head < len(a.queue) }

// Next implements Depacketizer.
func (a *assembler) Next() (Frame, bool) {
	if !a.Ready() {
		return Frame{}, false
	}
	f := a.queue[a.head]
	a.queue[a.head] = Frame{}
	if a.head++; a.head == len(a.queue) {
		a.queue, a.head = a.queue[:0], 0
	}
	return f, true
}

// Stats implements Depacketizer.
func (a *assembler) Stats() Stats { return a.stats }

// Recycle implements Depacketizer.
func (a *assembler) Recycle(data []byte) {
	if cap(data) == 0 || len(a.free) == maxFree || a.freeBytes+cap(data) > maxFreeBytes {
		return
	}
	a.free = append(a.free, data[:0])
	a.freeBytes += cap(data)
}

// buffer gives an empty buffer.
func (a *assembler) buffer() []byte {
	n := len(a.free) - 1
	if n < 0 {
		return make([]byte, 0, firstBuffer)
	}
	b := a.free[n]
	a.free[n] = nil
	a.free = a.free[:n]
	a.freeBytes -= cap(b)
	return b
}

// give queues a frame for Next.
func (a *assembler) give(f Frame) {
	f.LostPackets, f.DroppedFrames, f.Restarted = a.lost, a.dropped, a.restarted
	a.lost, a.dropped, a.restarted = 0, 0, false
	a.queue = append(a.queue, f)
	a.stats.Packets.Used += uint64(f.Packets)
	a.stats.Frames.Given++
	if f.Key {
		a.stats.Frames.Key++
	}
}

// drop counts frames that are not given.
func (a *assembler) drop(frames int) {
	a.dropped += frames
	a.stats.Frames.Dropped += uint64(frames)
}

// captureTime reads the abs-capture-time extension of a packet, or gives 0.
func (a *assembler) captureTime(p *media.Packet) uint64 {
	if a.cfg.AbsCaptureTime == 0 {
		return 0
	}
	ext := p.Extension(a.cfg.AbsCaptureTime)
	if len(ext) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(ext)
}

// partial is a video frame of which more packets may come.
type partial struct {
	open     bool // there is one
	broken   bool // a packet of it was lost
	oversize bool
	// gap is how many packets were lost right before it.
	gap     int
	packets int
	data    []byte

	timestamp uint32
	arrival   time.Time
	recovered bool
	capture   uint64
}

// video is the part of a depacketizer that is the same for all video codecs.
type video struct {
	assembler
	chain chain
	cur   partial
	gap   int // packets lost since the last packet that has a payload

	dependencies dependency.Reader
	links        links // of the open frame
}

// NeedsKeyframe implements Depacketizer.
func (v *video) NeedsKeyframe() bool { return v.chain.starving }

// arrived counts what came before p, and tells whether p carries anything.
func (v *video) arrived(p *media.Packet, lost int) bool {
	v.lost += lost
	v.gap += lost
	if len(p.Payload) == 0 {
		v.stats.Packets.Padding++
		p.Release()
		return false
	}
	return true
}

// malformed drops a packet that can't be read. It leaves a hole like a packet
// that was lost.
func (v *video) malformed(p *media.Packet) {
	v.stats.Packets.Malformed++
	v.gap++
	p.Release()
}

// begin opens a frame with p as its first packet; start tells whether it is.
func (v *video) begin(p *media.Packet, start bool) {
	v.cur = partial{
		open: true, broken: !start, gap: v.gap, data: v.cur.data,
		timestamp: p.Timestamp, arrival: p.Arrival, recovered: p.Recovered, capture: v.captureTime(p),
	}
	if v.cur.data == nil {
		v.cur.data = v.buffer()
	}
	v.cur.data = v.cur.data[:0]
	v.links.begin()
}

// add adds a payload to the open frame and releases p.
func (v *video) add(p *media.Packet, payload []byte) {
	v.write(payload)
	v.count(p)
}

// write adds bytes to the open frame.
func (v *video) write(b []byte) {
	c := &v.cur
	switch {
	case c.oversize, c.broken:
	case len(c.data)+len(b) > v.cfg.MaxFrameSize:
		c.oversize = true
	default:
		c.data = append(c.data, b...)
	}
}

// count counts p, whose payload is in the open frame, and releases it.
func (v *video) count(p *media.Packet) {
	c := &v.cur
	if id := v.cfg.Dependencies; id != 0 {
		v.links.add(&v.dependencies, p.Extension(id), c.packets == 0)
	}
	c.packets++
	if !p.Recovered && (c.recovered || p.Arrival.Before(c.arrival)) {
		c.arrival, c.recovered = p.Arrival, false
	}
	if c.capture == 0 {
		c.capture = v.captureTime(p)
	}
	v.gap = 0
	p.Release()
}

// finish ends the open frame: f has what the codec knows of it, and pic its
// place among the others. valid tells whether its header can be right. It tells
// whether the frame was given.
func (v *video) finish(f Frame, pic *picture, valid bool) bool {
	c := &v.cur
	c.open = false
	pic.describe(&v.links)
	ok, missed := v.chain.next(pic, c.gap, valid && !c.broken && !c.oversize)
	v.drop(missed)
	n := &v.stats.Packets
	switch {
	case ok:
		f.Data, f.Timestamp, f.CaptureTime = c.data, c.timestamp, c.capture
		f.Arrival, f.Recovered = c.arrival, c.recovered
		f.Packets = c.packets
		c.data = nil
		v.give(f)
		return true
	case c.oversize:
		n.Oversize += uint64(c.packets)
	case c.broken:
		n.Incomplete += uint64(c.packets)
	case !valid:
		n.Malformed += uint64(c.packets)
	default:
		n.Undecodable += uint64(c.packets)
	}
	v.drop(1)
	return false
}

// starve notes that nothing can be decoded until a keyframe comes, the open frame
// included.
func (v *video) starve() {
	v.chain.alive, v.chain.starving = false, true
	v.links.known = false
}

// restart forgets the sender's numbers.
func (v *video) restart() {
	v.chain = newChain()
	v.dependencies = dependency.Reader{}
	v.gap = 0
	v.restarted = true
}
