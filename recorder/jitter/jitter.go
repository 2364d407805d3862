// Package jitter puts the RTP packets of one track into order.
//
// A call can't wait for a packet that is late; a recorder can. So a [Buffer]
// waits by time, not by count: a packet that is missing is waited for as long as
// it may still come, be it late or sent again, and the packets after it are held
// meanwhile. A flow without loss is never delayed, and whatever the network
// does, each packet comes out once and in order or is refused with a reason, and
// each gap is reported with the packet after it.
//
// Nothing here reads a clock: times are those of the packets' arrival and those
// that the caller gives. A Buffer is used by one goroutine.
package jitter

import (
	"time"

	"github.com/roomtape/roomtape/media"
)

// The defaults of Config.
const (
	DefaultMaxWait    = 3 * time.Second
	DefaultMaxPackets = 4096 // 10 Mbit/s for 4 s
)

// OpenWait is how long a flow that can't begin with its first packet is held for
// those before, at most; see Config.Begins.
const OpenWait = 500 * time.Millisecond

const (
	// openAgain is how long such a flow is held when it can begin with a later
	// packet. It does not go by the round-trip time, which a replay does not know.
	openAgain = OpenWait / 2
	// maxDropout is the largest step forward in sequence numbers that is loss
	// and not yet a jump (RFC 3550 appendix A.1).
	maxDropout = 3000
	// maxBehind is how far behind the newest packet one can be late.
	maxBehind = 8192
	// maxBeforeFirst is how far before the first packet an older one is taken
	// when it comes before the first was popped.
	maxBeforeFirst = 100
	// firstSlots is the size of a new ring; rings are powers of two.
	firstSlots = 32
	// historySize is for how many sequence numbers behind the next packet a
	// duplicate is told from a packet that was given up.
	historySize = 4096
)

// Config has the limits of a Buffer. The zero value is ready to use.
type Config struct {
	// MaxWait is how long a missing packet is waited for after its gap was
	// noticed. 0 means DefaultMaxWait; below 0, nothing is waited for.
	MaxWait time.Duration
	// MaxPackets bounds how many packets are held: while there are more, the
	// oldest gap is given up. 0 means DefaultMaxPackets.
	MaxPackets int
	// Begins tells whether a receiver can begin with a packet. When it can't
	// with the first one that arrives, those before it may have been lost or
	// overtaken: nothing is popped until one of those comes with which it can,
	// for OpenWait, or, when a later one comes with which it can, for half of
	// that. Nil: it can begin with every packet.
	Begins func(*media.Packet) bool
}

// Verdict says what became of a packet that was pushed.
type Verdict uint8

// The verdicts of Push. The buffer owns the packet after Kept, and leaves it to
// the caller after every other.
const (
	Kept      Verdict = iota
	Duplicate         // the packet is held, or was popped before
	Late              // its place was given up, or it is older than the first
	Overflow          // there is no room, since the caller does not pop
)

var verdictNames = [...]string{"kept", "duplicate", "late", "overflow"}

// String gives the verdict in one lower-case word.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// Popped is a packet in its order. The caller owns the packet.
type Popped struct {
	Packet *media.Packet
	// Lost is how many packets were given up between the packet popped before
	// and this one.
	Lost int
	// Restarted is set when the sender began anew with this packet: its sequence
	// number has nothing to do with those before. What was lost between
	// the two is not known; Lost counts only what was missing before.
	Restarted bool
}

// Stats counts what became of packets. At any time
//
//	Received = Popped + Duplicate + Late + Overflow + Wild + Probation + Len()
type Stats struct {
	Received  uint64 // every packet pushed
	Popped    uint64
	Duplicate uint64
	Late      uint64
	Overflow  uint64
	// Wild counts packets that were taken on probation, far from where the flow
	// was, and that no other packet confirmed: corrupt, or of another flow. The
	// buffer has released them.
	Wild uint64
	// Probation is how many packets are on probation now.
	Probation uint64
	// Recovered counts packets that came as a retransmission or after they had
	// been asked for.
	Recovered uint64
	// Lost counts packets that never came in time.
	Lost uint64
}

// slot is the place of one sequence number. Times count from Buffer.base.
type slot struct {
	p         *media.Packet // nil when missing
	noticed   time.Duration // when it was found missing
	sent      time.Duration // about when the sender sent it, if it is missing
	ask       time.Duration // when to ask for it next
	asking    time.Duration // when it was asked for last
	jump      uint16        // packets lost in a jump right before it
	asked     uint8         // how often it was asked for
	answered  bool          // it came because it was asked for
	restarted bool
}

// Buffer orders the packets of one track. See the package comment.
type Buffer struct {
	maxWait    time.Duration
	maxPackets int
	maxSpan    int64 // largest ring
	begins     func(*media.Packet) bool

	base    time.Time // arrival of the first packet
	started bool
	popped  bool // a packet was popped or given up
	flushed bool
	// opening: the packets before the oldest one are waited for, until openEnd;
	// openAsk is when to ask for them.
	opening          bool
	openAsk, openEnd time.Duration

	// Sequence numbers are extended to 64 bits (RFC 3550 appendix A.1). After a
	// jump they go on without a hole, so that one ring holds both sides of it.
	ring    []slot
	next    int64 // to pop next
	high    int64 // newest; next > high when nothing is held
	floor   int64 // first since the last jump, or ever
	highSeq uint16
	highTS  uint32
	highAt  time.Duration

	held    int // packets in the ring
	missing int // empty slots in [next, high]
	pending int // given up since the last Pop
	// nextAsk is not after the earliest time at which a missing packet is to be
	// asked for, tailAt when to ask for those after the newest one.
	nextAsk, tailAt time.Duration
	tailAsked       int
	// grace is how long an overtaken packet may take, rtt the round-trip time
	// that Missing was told, answer how long answers take and answerVar how far
	// they are off that.
	grace, rtt, answer, answerVar time.Duration

	history  [historySize / 64]uint64 // one bit for each number popped
	suspects [maxSuspects]*media.Packet
	stats    Stats
}

// New makes an empty buffer.
func New(cfg Config) *Buffer {
	b := &Buffer{maxWait: cfg.MaxWait, begins: cfg.Begins, maxPackets: cfg.MaxPackets, nextAsk: never, tailAt: never, grace: minGrace}
	if b.maxWait == 0 {
		b.maxWait = DefaultMaxWait
	}
	if b.maxPackets <= 0 {
		b.maxPackets = DefaultMaxPackets
	}
	b.maxSpan = firstSlots
	for b.maxSpan < int64(b.maxPackets+maxDropout) {
		b.maxSpan *= 2
	}
	b.ring = make([]slot, firstSlots)
	b.next = 1
	return b
}

// Push takes a packet that has arrived. After the verdict Kept the buffer owns
// p, else the caller still does. Packets are pushed in the order in which they
// arrived.
func (b *Buffer) Push(p *media.Packet) Verdict {
	b.stats.Received++
	v := b.push(p)
	switch v {
	case Duplicate:
		b.stats.Duplicate++
	case Late:
		b.stats.Late++
	case Overflow:
		b.stats.Overflow++
	}
	return v
}

func (b *Buffer) push(p *media.Packet) Verdict {
	if !b.started {
		b.started = true
		b.base = p.Arrival
		b.high, b.next, b.floor = 0, 1, 1
		b.highSeq = p.SequenceNumber - 1
		b.opening = b.begins != nil && b.maxWait > 0 && !b.begins(p)
		b.openAsk, b.openEnd = b.grace, OpenWait
		return b.forward(p, 1)
	}
	d := int64(int16(p.SequenceNumber - b.highSeq))
	switch {
	case d == 1: // whatever its timestamp: the sender goes on
		return b.forward(p, d)
	case d > 0 && d <= maxDropout && b.goesOn(p):
		return b.forward(p, d)
	case d <= 0 && d > -maxBehind && (p.Recovered || b.isBehind(p)):
		return b.behind(p, b.high+d)
	}
	return b.suspect(p)
}

// forward takes a packet d numbers after the newest.
func (b *Buffer) forward(p *media.Packet, d int64) Verdict {
	at := p.Arrival.Sub(b.base)
	ext := b.high + d
	if !b.makeRoom(ext) {
		return Overflow
	}
	for e := b.high + 1; e < ext; e++ {
		sent := at
		if d > tailSpan { // an outage, all the time of which packets were sent
			sent = b.highAt + (at-b.highAt)*time.Duration(e-b.high)/time.Duration(d)
		}
		b.miss(e, at, sent)
	}
	if b.maxWait > minGrace {
		b.tailAt, b.tailAsked = at+tailAfter, 0
	}
	b.high, b.highSeq, b.highTS, b.highAt = ext, p.SequenceNumber, p.Timestamp, at
	*b.slot(ext) = slot{p: p}
	b.held++
	if p.Recovered {
		b.stats.Recovered++
	}
	if b.opening && b.openEnd == OpenWait && b.begins(p) {
		// A receiver can begin here at the latest; the keyframe before, if this
		// is an answer to its loss, may be about to be sent again.
		b.openEnd = openAgain
	}
	return Kept
}

// behind takes a packet that is not newer than the newest.
func (b *Buffer) behind(p *media.Packet, ext int64) Verdict {
	if ext < b.next {
		if !b.popped && b.floor-ext <= maxBeforeFirst && b.makeRoomBefore(ext) {
			at := p.Arrival.Sub(b.base)
			for e := ext + 1; e < b.next; e++ {
				b.miss(e, at, at)
			}
			b.next, b.floor = ext, ext
			*b.slot(ext) = slot{p: p}
			b.held++
			if p.Recovered {
				b.stats.Recovered++
			}
			b.opening = b.opening && !b.begins(p)
			return Kept
		}
		if ext >= b.floor && b.wasPopped(ext) {
			return Duplicate
		}
		return Late
	}
	s := b.slot(ext)
	if ext < b.floor { // of before the last jump: its place is given up
		return Late
	}
	if s.p != nil {
		return Duplicate
	}
	if p.Recovered || s.asked > 0 {
		b.stats.Recovered++
	}
	b.filled(s, p)
	p.Recovered = true
	*s = slot{p: p, answered: s.answered}
	b.missing--
	b.held++
	return Kept
}

// Pop gives the next packet in order, or ok = false when there is none or a
// missing one is still waited for. It is called until ok is false, after each
// Push and at Deadline.
func (b *Buffer) Pop(now time.Time) (out Popped, ok bool) {
	if b.opens() && now.Sub(b.base) < b.openEnd {
		return Popped{}, false
	}
	for b.next <= b.high {
		s := b.slot(b.next)
		if s.p != nil {
			b.opening = false
			out = Popped{Packet: s.p, Lost: b.pending + int(s.jump), Restarted: s.restarted}
			s.p = nil
			b.held--
			b.pending = 0
			b.pass(true)
			b.stats.Popped++
			return out, true
		}
		if b.waits() && now.Sub(b.base) < s.noticed+b.maxWait {
			return Popped{}, false
		}
		b.giveUp()
	}
	return Popped{}, false
}

// opens tells whether what is before the oldest packet may be waited for, its
// deadline aside.
func (b *Buffer) opens() bool {
	return b.opening && !b.flushed && b.held <= b.maxPackets
}

// waits tells whether the missing packet at next may be waited for, its deadline
// aside.
func (b *Buffer) waits() bool {
	return !b.flushed && b.next >= b.floor && b.held <= b.maxPackets
}

// giveUp gives up the missing packet at next.
func (b *Buffer) giveUp() {
	b.missing--
	b.pending++
	b.stats.Lost++
	b.pass(false)
}

// pass moves next on, remembering whether its packet was popped.
func (b *Buffer) pass(popped bool) {
	i := uint64(b.next) % historySize
	b.history[i/64] &^= 1 << (i % 64)
	if popped {
		b.history[i/64] |= 1 << (i % 64)
	}
	b.next++
	b.popped = true
}

func (b *Buffer) wasPopped(ext int64) bool {
	i := uint64(ext) % historySize
	return b.next-ext <= historySize && b.history[i/64]&(1<<(i%64)) != 0
}

// Deadline gives the time at which Pop should be called though nothing arrives,
// which may have passed. It is zero when there is nothing to wait for.
func (b *Buffer) Deadline() time.Time {
	if b.next > b.high {
		return time.Time{}
	}
	if b.opens() {
		return b.base.Add(b.openEnd)
	}
	s := b.slot(b.next)
	if s.p != nil {
		return s.p.Arrival
	}
	if !b.waits() {
		return b.base.Add(s.noticed)
	}
	return b.base.Add(s.noticed + max(b.maxWait, 0))
}

// Flush ends all waiting: from now on Pop gives what is held and passes over
// what is missing. Packets on probation are released.
func (b *Buffer) Flush() {
	b.flushed = true
	for i, p := range b.suspects {
		if p != nil {
			b.suspects[i] = nil
			b.dropSuspect(p)
		}
	}
}

// Len is how many packets are held and will be popped.
func (b *Buffer) Len() int { return b.held }

// Lost is how many packets were given up.
func (b *Buffer) Lost() uint64 { return b.stats.Lost }

// Recovered is how many packets came as a retransmission or after they had been
// asked for.
func (b *Buffer) Recovered() uint64 { return b.stats.Recovered }

// Stats gives all counts.
func (b *Buffer) Stats() Stats { return b.stats }

func (b *Buffer) slot(ext int64) *slot { return &b.ring[ext&int64(len(b.ring)-1)] }

// makeRoom makes the ring reach up to ext, if need be by giving up the oldest
// gap.
func (b *Buffer) makeRoom(ext int64) bool {
	for ext-b.next >= b.maxSpan {
		if b.next > b.high || b.slot(b.next).p != nil {
			return false
		}
		b.giveUp()
	}
	b.grow(ext - b.next + 1)
	return true
}

// makeRoomBefore makes the ring reach down to ext.
func (b *Buffer) makeRoomBefore(ext int64) bool {
	if b.high-ext >= b.maxSpan {
		return false
	}
	b.grow(b.high - ext + 1)
	return true
}

// grow makes the ring hold at least span slots.
func (b *Buffer) grow(span int64) {
	n := int64(len(b.ring))
	if span <= n {
		return
	}
	for n < span {
		n *= 2
	}
	old := b.ring
	b.ring = make([]slot, n)
	for e := b.next; e <= b.high; e++ {
		*b.slot(e) = old[e&int64(len(old)-1)]
	}
}
