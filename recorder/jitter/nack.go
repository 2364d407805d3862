package jitter

import (
	"math"
	"time"

	"github.com/roomtape/roomtape/media"
)

const (
	// never is a time that does not come.
	never = time.Duration(math.MaxInt64)
	// minGrace is how long a packet that was overtaken may take before it is
	// asked for: many are a millisecond late, few are five. Where packets are
	// seen to overtake each other by more, it is longer, up to maxGrace.
	minGrace = 5 * time.Millisecond
	maxGrace = 60 * time.Millisecond
	// batch is by how much a request may come early to go with another one.
	batch = 5 * time.Millisecond
	// unknownRTT stands in for a round-trip time that is not known.
	unknownRTT = 100 * time.Millisecond
	// rttSlack is added to the round-trip time before a request is repeated:
	// the sender needs time too, and repeats nothing within a round trip.
	rttSlack = 10 * time.Millisecond
	// longRTT is a round trip from which on requests are repeated sooner.
	longRTT = 150 * time.Millisecond
	// patient is how many requests are given a whole round trip. What has not
	// come then is asked for more often, until the second is over for which
	// senders keep packets; after that at growing intervals up to maxAskEvery.
	patient     = 4
	minAskEvery = 50 * time.Millisecond
	maxAskEvery = time.Second

	// tailAfter is for how long nothing must have come for the numbers after
	// the newest packet to be asked for, since nothing shows that the last
	// packets before a pause were lost; tailSpan is how many, tailTries how
	// often. A sender ignores the numbers that it has not used.
	tailAfter = 250 * time.Millisecond
	tailSpan  = 16
	tailTries = 3

	// goneRun packets in a row, each asked for goneTries times without an
	// answer while the one after them was answered, are older than what the
	// sender keeps.
	goneRun   = 8
	goneTries = 4
	// senderKeeps is for how long a sender can be counted on to have a packet.
	senderKeeps = time.Second
)

// Missing appends to dst the sequence numbers that should be asked for now, for
// the first time or again, and notes that they are. rtt is the round-trip time,
// 0 when it is not known.
//
// A packet is asked for as soon as it can be told from one that was overtaken,
// then after each round trip, more often as the time runs out for which senders
// keep packets, and then at growing intervals for as long as the answer can come
// in time. Numbers that are due soon go along
// with those that are due. When the flow pauses, the numbers after the newest
// one are asked for as well, since the last packets before a pause may be lost;
// and those before the oldest one, when the flow can't begin with that.
func (b *Buffer) Missing(now time.Time, rtt time.Duration, dst []uint16) []uint16 {
	t := now.Sub(b.base)
	if !b.started || t < b.nextRequest() {
		return dst
	}
	if rtt <= 0 {
		rtt = unknownRTT
	}
	b.rtt = rtt
	if b.missing > 0 && t >= b.nextAsk {
		dst = b.askGaps(t, dst)
	}
	if b.opens() && t >= b.openAsk {
		before := b.highSeq - uint16(b.high-b.next)
		for i := range uint16(tailSpan) {
			dst = append(dst, before-tailSpan+i)
		}
		b.openAsk = t + b.askEvery()/2 // for the request may be lost too
	}
	if t >= b.tailAt {
		for i := range uint16(tailSpan) {
			dst = append(dst, b.highSeq+1+i)
		}
		if b.tailAsked++; b.tailAsked == tailTries {
			b.tailAt = never
		} else {
			b.tailAt = t + b.askEvery()
		}
	}
	return dst
}

// askGaps appends the numbers of the missing packets that are due at t.
func (b *Buffer) askGaps(t time.Duration, dst []uint16) []uint16 {
	b.nextAsk = never
	run := int64(0) // missing packets in a row that were asked for often
	for e := max(b.next, b.floor); e <= b.high; e++ {
		s := b.slot(e)
		if s.p != nil {
			if s.answered && run >= goneRun {
				for gone := e - run; gone < e; gone++ {
					b.slot(gone).ask = never
				}
			}
			run = 0
			continue
		}
		if s.asked >= goneTries {
			run++
		} else {
			run = 0
		}
		if s.ask != never && s.ask-batch <= t {
			dst = append(dst, b.highSeq-uint16(b.high-e))
			s.asked++
			s.asking = t
			s.ask = b.askAgain(s, t)
		}
		b.nextAsk = min(b.nextAsk, s.ask)
	}
	return dst
}

// NextNack gives the time at which Missing has something to say, if the packets
// do not come before. It may have passed; it is zero when there is no such time.
func (b *Buffer) NextNack() time.Time {
	if next := b.nextRequest(); b.started && next != never {
		return b.base.Add(next)
	}
	return time.Time{}
}

func (b *Buffer) nextRequest() time.Duration {
	if b.flushed {
		return never
	}
	next := b.tailAt
	if b.missing > 0 {
		next = min(next, b.nextAsk)
	}
	if b.opens() {
		next = min(next, b.openAsk)
	}
	return next
}

// DoubtAt gives the time from which it is unlikely that the packet will come
// that all others wait for, because it was sent too long before to be sent
// again. It is zero when nothing is waited for, and may have passed. It says
// nothing about Pop, which waits on.
func (b *Buffer) DoubtAt() time.Time {
	if b.flushed || b.next > b.high {
		return time.Time{}
	}
	s := b.slot(b.next)
	if s.p != nil {
		return time.Time{}
	}
	return b.base.Add(s.sent + max(senderKeeps, 4*b.rtt))
}

// Noticed gives the time at which the packet was found missing that all others
// wait for, and is zero when nothing is waited for.
func (b *Buffer) Noticed() time.Time {
	if b.DoubtAt().IsZero() {
		return time.Time{}
	}
	return b.base.Add(b.slot(b.next).noticed)
}

// Gap gives the packet after those that all others wait for, and how many these
// are; nil when nothing is waited for. The packet stays the buffer's.
func (b *Buffer) Gap() (after *media.Packet, missing int) {
	for e := b.next; e <= b.high; e++ {
		if p := b.slot(e).p; p != nil {
			return p, int(e - b.next)
		}
	}
	return nil, 0
}

// miss notes at the given time that a packet has not come, which was sent about
// the time sent.
func (b *Buffer) miss(ext int64, at, sent time.Duration) {
	s := slot{noticed: at, sent: sent, ask: never}
	if b.maxWait > minGrace {
		s.ask = at + b.grace
		b.nextAsk = min(b.nextAsk, s.ask)
	}
	*b.slot(ext) = s
	b.missing++
}

// filled learns from a packet that has come after all.
func (b *Buffer) filled(s *slot, p *media.Packet) {
	at := p.Arrival.Sub(b.base)
	took := at - s.asking
	switch {
	case !p.Recovered && (s.asked == 0 || s.asked == 1 && took < b.rtt/2):
		// It was overtaken, and is no answer.
		if late := at - s.noticed; late > b.grace {
			b.grace = min(late+minGrace, maxGrace)
		} else {
			b.grace -= (b.grace - max(late, minGrace)) / 16
		}
		return
	case s.asked == 1:
		// Of a packet that was asked for more than once it is not known which
		// request was answered.
		if b.answer == 0 {
			b.answer = took
		}
		b.answerVar += ((took - b.answer).Abs() - b.answerVar) / 4
		b.answer += (took - b.answer) / 8
	}
	b.grace -= (b.grace - minGrace) / 64
	s.answered = s.asked > 0
}

// askEvery gives the time between two requests for a packet: that after which
// an answer should have come, by the round trip as measured, or as answers have
// shown, if they take longer. Where that leaves few attempts in the second for
// which senders keep packets, half of it: one that has answered the first
// request ignores the second.
func (b *Buffer) askEvery() time.Duration {
	every := max(b.rtt, b.answer+2*b.answerVar)
	if every > longRTT {
		every = max(longRTT, every/2)
	}
	return min(every+rttSlack, maxAskEvery)
}

// askAgain gives the time at which a packet that is being asked for at t is
// asked for once more, or never when the answer would come too late.
func (b *Buffer) askAgain(s *slot, t time.Duration) time.Duration {
	every := b.askEvery()
	if s.asked >= patient {
		every = max(every/2, minAskEvery)
	}
	if age := t - s.noticed; age >= senderKeeps {
		every = min(max(every, age/4), maxAskEvery)
	}
	if t+every+b.rtt > s.noticed+b.maxWait {
		return never
	}
	return t + every
}
