package jitter

import (
	"time"

	"github.com/roomtape/roomtape/media"
)

// A packet that does not fit to the flow may be corrupt, may belong to somebody
// else, or may be the first of a sender that began anew. It is held on
// probation, which is over as soon as a second packet comes whose sequence
// number is next to it (RFC 3550 appendix A.1). Then the flow goes on with
// both: a restart, or, when the timestamps went on with the time that passed, an
// outage in which very many packets were lost.

const (
	// maxSuspects bounds the packets on probation; the oldest goes first.
	maxSuspects = 16
	// maxCluster is how far apart in sequence numbers packets on probation can
	// be and belong together.
	maxCluster = 100
	// tsSlack is how far a timestamp may be off from the time that passed.
	tsSlack = 30 * time.Second
	// tsBack is how far timestamps go back in a flow, as B-frames do.
	tsBack = time.Second

	// maxRate is more packets per second than one track has.
	maxRate = 10000

	// Clock rates of media that are recorded lie between these. The buffer
	// needs no better knowledge: timestamps that are not of the flow are
	// off by hours.
	slowClock = 48000
	fastClock = 90000
)

// shortest gives the media time between two timestamps, by the clock rate that
// makes it short.
func shortest(from, to uint32) time.Duration {
	return time.Duration(int32(to-from)) * time.Second / fastClock
}

// goesOn tells whether the packet's timestamp is one that can follow the
// newest packet's by now.
func (b *Buffer) goesOn(p *media.Packet) bool {
	step := shortest(b.highTS, p.Timestamp)
	elapsed := p.Arrival.Sub(b.base) - b.highAt
	return step >= -tsBack && (step <= tsSlack || step-tsSlack <= elapsed)
}

// isBehind tells whether the packet's timestamp is one that came before the
// newest packet's.
func (b *Buffer) isBehind(p *media.Packet) bool {
	step := shortest(b.highTS, p.Timestamp)
	return step <= tsBack && step >= -tsSlack-max(b.maxWait, 0)
}

// suspect takes a packet on probation.
func (b *Buffer) suspect(p *media.Packet) Verdict {
	if p.Recovered || b.flushed {
		// A retransmission was asked for: it is of the flow, and too old.
		return Late
	}
	confirmed := false
	n := 0
	for ; n < maxSuspects && b.suspects[n] != nil; n++ {
		q := b.suspects[n]
		if q.SequenceNumber == p.SequenceNumber && q.Timestamp == p.Timestamp {
			return Duplicate
		}
		d := int16(p.SequenceNumber - q.SequenceNumber)
		confirmed = confirmed || (d == 1 || d == -1) && together(q, p)
	}
	if confirmed && !b.makeRoom(b.high+1+maxCluster) {
		return Overflow
	}
	if n == maxSuspects {
		b.dropSuspect(b.suspects[0])
		copy(b.suspects[:], b.suspects[1:])
		n--
	}
	b.suspects[n] = p
	b.stats.Probation++
	if confirmed {
		b.jump(p)
	}
	return Kept
}

// together tells whether two packets on probation can be of one flow.
func together(q, p *media.Packet) bool {
	d := int16(p.SequenceNumber - q.SequenceNumber)
	step := shortest(q.Timestamp, p.Timestamp)
	return d >= -maxCluster && d <= maxCluster &&
		step >= -tsSlack && (step <= tsSlack || step-tsSlack <= p.Arrival.Sub(q.Arrival))
}

// jump lets the flow go on with p and all that is on probation with it. What was
// missing before is given up.
func (b *Buffer) jump(p *media.Packet) {
	var flow [maxSuspects]*media.Packet
	var n, rest int
	for i, q := range b.suspects {
		b.suspects[i] = nil
		switch {
		case q == nil:
		case together(q, p):
			at := n // insertion sort by sequence number: few, and nearly in order
			for ; at > 0 && int16(q.SequenceNumber-flow[at-1].SequenceNumber) < 0; at-- {
				flow[at] = flow[at-1]
			}
			flow[at] = q
			n++
		default:
			b.suspects[rest] = q
			rest++
		}
	}
	b.stats.Probation -= uint64(n)

	first := flow[0]
	outage, lost := b.isOutage(first)
	b.nextAsk = never // all that is missing is given up
	b.opening = false
	b.floor = b.high + 1
	b.highSeq = first.SequenceNumber - 1
	for i, q := range flow[:n] {
		d := int64(int16(q.SequenceNumber - b.highSeq))
		if d <= 0 { // another packet under the same number
			b.stats.Wild++
			q.Release()
			continue
		}
		b.forward(q, d)
		if i == 0 && outage {
			b.slot(b.high).jump = lost
			b.stats.Lost += uint64(lost)
		} else if i == 0 {
			b.slot(b.high).restarted = true
		}
	}
}

// isOutage tells whether the sender had gone on all the time until p, so that
// only packets are missing, and how many.
func (b *Buffer) isOutage(p *media.Packet) (bool, uint16) {
	lost := p.SequenceNumber - b.highSeq - 1
	ticks := int64(int32(p.Timestamp - b.highTS))
	elapsed := p.Arrival.Sub(b.base) - b.highAt
	if ticks <= 0 || lost == 0 || elapsed < time.Duration(lost)*time.Second/maxRate {
		return false, 0
	}
	return time.Duration(ticks)*time.Second/fastClock <= elapsed+tsBack &&
		time.Duration(ticks)*time.Second/slowClock >= elapsed-tsBack, lost
}

// dropSuspect releases a packet that stayed alone.
func (b *Buffer) dropSuspect(p *media.Packet) {
	b.stats.Wild++
	b.stats.Probation--
	p.Release()
}
