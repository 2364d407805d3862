package depacket

import (
	"time"

	"github.com/roomtape/roomtape/media"
)

// opus depacketizes Opus (RFC 7587): each packet is a frame. RED packets (RFC
// 2198) have more than one: those that repeat what was lost take its place.
//
// Opus has a forward error correction of its own (RFC 6716 §2.1.7): a packet may
// hold a coarse copy of the one before. To use it for a packet that was lost one
// would have to decode and to encode again. It stays where it is: a player that
// finds the gap may use it.
type opus struct {
	assembler
	blocks [maxBlocks]redBlock
	// latest is the timestamp of the frame given last, end the one at which it
	// ends; they are nothing unless placed is set.
	latest, end uint32
	placed      bool
}

func newOpus(cfg Config) *opus { return &opus{assembler: assembler{cfg: cfg}} }

// Push implements Depacketizer.
func (o *opus) Push(p *media.Packet, lost int) {
	o.lost += lost
	switch {
	case len(p.Payload) == 0:
		o.stats.Packets.Padding++
		p.Release()
	case o.cfg.RED[p.PayloadType]:
		o.red(p, lost)
	default:
		o.frame(p)
	}
}

// frame takes a packet whose payload is a frame.
func (o *opus) frame(p *media.Packet) {
	d, ok := media.OpusDuration(p.Payload)
	if !ok || len(p.Payload) > o.cfg.MaxFrameSize {
		if ok {
			o.stats.Packets.Oversize++
		} else {
			o.stats.Packets.Malformed++
		}
		o.drop(1)
		p.Release()
		return
	}
	o.put(Frame{
		Data:        append(o.buffer(), p.Payload...),
		Timestamp:   p.Timestamp,
		Arrival:     p.Arrival,
		Recovered:   p.Recovered,
		Duration:    d,
		Packets:     1,
		Key:         true,
		CaptureTime: o.captureTime(p),
	})
	p.Release()
}

// put gives a frame and remembers its place.
func (o *opus) put(f Frame) {
	o.latest = f.Timestamp
	o.end = f.Timestamp + uint32(f.Duration*48/time.Millisecond)
	o.placed = true
	o.give(f)
}

// Restart implements Depacketizer.
func (o *opus) Restart() { o.restarted, o.placed = true, false }

// Flush implements Depacketizer.
func (o *opus) Flush() { o.placed = false }

// NeedsKeyframe implements Depacketizer.
func (o *opus) NeedsKeyframe() bool { return false }
