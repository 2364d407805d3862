package jitter

import (
	"math"
	"time"
)

const (
	// never is a time that does not come.
	never = time.Duration(math.MaxInt64)
	// reorderTolerance is how long a packet that was overtaken may take before
	// it is asked for: many are a millisecond late, few are five.
	reorderTolerance = 5 * time.Millisecond
	// batch is by how much a request may come early to go with another one.
	batch = 5 * time.Millisecond
	// unknownRTT stands in for a round-trip time that is not known.
	unknownRTT = 100 * time.Millisecond
	// rttSlack is added to the round-trip time before a request is repeated:
	// the sender needs time too, and repeats nothing within a round trip.
	rttSlack = 10 * time.Millisecond
	// maxAskEvery bounds the back-off.
	maxAskEvery = time.Second
)

// Missing appends to dst the sequence numbers that should be asked for now, for
// the first time or again, and notes that they are. rtt is the round-trip time,
// 0 when it is not known.
//
// A packet is asked for 5 ms after its gap was noticed, then after one
// round trip, then after two, four and so on up to a second, for as long as the
// answer can come in time. Numbers that are due soon go along with those that
// are due.
func (b *Buffer) Missing(now time.Time, rtt time.Duration, dst []uint16) []uint16 {
	if b.missing == 0 || b.flushed || b.nextAsk == never {
		return dst
	}
	t := now.Sub(b.base)
	if t < b.nextAsk {
		return dst
	}
	if rtt <= 0 {
		rtt = unknownRTT
	}
	b.nextAsk = never
	for e := max(b.next, b.floor); e <= b.high; e++ {
		s := b.slot(e)
		if s.p != nil {
			continue
		}
		if s.ask-batch <= t {
			dst = append(dst, b.highSeq-uint16(b.high-e))
			s.ask = b.askAgain(s, t, rtt)
			s.asked++
		}
		b.nextAsk = min(b.nextAsk, s.ask)
	}
	return dst
}

// NextNack gives the time at which Missing has something to say, if the packets
// do not come before. It may have passed; it is zero when there is no such time.
func (b *Buffer) NextNack() time.Time {
	if b.missing == 0 || b.flushed || b.nextAsk == never {
		return time.Time{}
	}
	return b.base.Add(b.nextAsk)
}

// firstAsk gives the time at which a packet found missing at the given time is
// asked for.
func (b *Buffer) firstAsk(noticed time.Duration) time.Duration {
	if b.maxWait <= reorderTolerance {
		return never
	}
	b.nextAsk = min(b.nextAsk, noticed+reorderTolerance)
	return noticed + reorderTolerance
}

// askAgain gives the time at which a packet that is being asked for at t is
// asked for once more, or never when the answer would come too late.
func (b *Buffer) askAgain(s *slot, t, rtt time.Duration) time.Duration {
	every := min(rtt+rttSlack, maxAskEvery)
	for range min(s.asked, 7) {
		every = min(2*every, maxAskEvery)
	}
	if t+every+rtt > s.noticed+b.maxWait {
		return never
	}
	return t + every
}
