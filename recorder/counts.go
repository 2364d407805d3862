package recorder

import (
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/recorder/jitter"
)

// reason tells why a packet that arrived is in no file.
type reason uint8

const (
	reasonPayloadType reason = iota // not of a codec that is recorded
	reasonAuxiliary                 // telephone events, comfort noise, FEC
	reasonOverflow                  // the jitter buffer was full
	reasonStray                     // of another flow, or corrupt
	reasonPadding                   // without media
	reasonMalformed                 // not in the form of the payload type
	reasonOversize                  // of a frame that is too large
	reasonIncomplete                // of a frame that lacks others
	reasonUndecodable               // of a frame whose reference is missing
	reasonStorage                   // could not be stored
	reasonPaused                    // of a time in which the recording is paused
	reasons
)

var reasonNames = [reasons]string{
	"payload_type", "auxiliary", "overflow", "stray", "padding", "malformed", "oversize", "incomplete", "undecodable", "storage", "paused",
}

// counts is what became of packets and frames.
type counts struct {
	received, recovered, lost, late, duplicate, written int64

	discarded [reasons]int64

	frames, dropped, key int64
}

// add adds o, sign times.
func (c *counts) add(o *counts, sign int64) {
	c.received += sign * o.received
	c.recovered += sign * o.recovered
	c.lost += sign * o.lost
	c.late += sign * o.late
	c.duplicate += sign * o.duplicate
	c.written += sign * o.written
	for i, n := range o.discarded {
		c.discarded[i] += sign * n
	}
	c.frames += sign * o.frames
	c.dropped += sign * o.dropped
	c.key += sign * o.key
}

// pending is how many packets were received whose fate is open.
func (c *counts) pending() int64 {
	n := c.received - c.late - c.duplicate - c.written
	for _, d := range c.discarded {
		n -= d
	}
	return n
}

// packets gives the manifest's form.
func (c *counts) packets() PacketCounts {
	p := PacketCounts{
		Received: c.received, Lost: c.lost, Recovered: c.recovered,
		Late: c.late, Duplicate: c.duplicate, Written: c.written,
	}
	for i, n := range c.discarded {
		if n == 0 {
			continue
		}
		if p.Discarded == nil {
			p.Discarded = make(map[string]int64, reasons)
		}
		p.Discarded[reasonNames[i]] = n
	}
	return p
}

// addJitter adds what a jitter buffer counted.
func (c *counts) addJitter(s jitter.Stats) {
	c.received += int64(s.Received)
	c.recovered += int64(s.Recovered)
	c.late += int64(s.Late)
	c.duplicate += int64(s.Duplicate)
	c.discarded[reasonOverflow] += int64(s.Overflow)
	c.discarded[reasonStray] += int64(s.Wild)
}

// addDepacket adds the packets that a depacketizer discarded, and those that it
// could do without.
func (c *counts) addDepacket(stats *depacket.Stats) {
	c.recovered += int64(stats.Recovered)
	s := &stats.Packets
	c.discarded[reasonPadding] += int64(s.Padding)
	c.discarded[reasonMalformed] += int64(s.Malformed)
	c.discarded[reasonOversize] += int64(s.Oversize)
	c.discarded[reasonIncomplete] += int64(s.Incomplete)
	c.discarded[reasonUndecodable] += int64(s.Undecodable)
	c.discarded[reasonPayloadType] += int64(s.Foreign)
}
