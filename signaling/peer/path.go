package peer

import (
	"math"
	"time"

	"github.com/pion/rtcp"
)

const (
	// pathMemory is how many packets that were sent are remembered at most, a power
	// of two: more than a second of 80 Mbit/s. What is not known any more when the
	// feedback comes says nothing.
	pathMemory = 1 << 13
	// wireHeaders is what a packet has on the wire beside its payload, in bytes: IP,
	// UDP, RTP with an extension, and SRTP's tag.
	wireHeaders = 58
	// standsFor is for how long packets must all have waited before that is taken for
	// a queue: one burst, or a machine that was busy for a moment, is none.
	standsFor = 200 * time.Millisecond
	// drains is by how much packets must wait less than half of standsFor before, for
	// a queue to be about to go by itself: it was a burst, such as a keyframe.
	drains = 5 * time.Millisecond
	// rateOver is over how long what arrives is measured.
	rateOver = 500 * time.Millisecond
	// The least delay is that of the latest least*leastFor.
	leastFor = 3 * time.Second
	leasts   = 5
	// rebaseAfter is after how long a delay that has not changed is no queue of ours:
	// the way has become longer.
	rebaseAfter = 6 * time.Second
)

// departure is a packet that was sent. at is on the path's scale.
type departure struct {
	at      time.Duration
	size    int32 // on the wire
	number  uint16
	cluster uint8 // the probe that it was a part of, or 0
	known   bool  // it was sent, and is not known to have arrived
	missing bool  // it was said not to have
}

// reached is a packet that has arrived.
type reached struct {
	at    time.Duration // by the peer's clock
	delay time.Duration // between the two clocks
	size  int32
}

// path is what transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01)
// tells of the way to a peer: how long packets wait before its narrowest part, and how
// much arrives. It has no clock.
type path struct {
	ring   []departure // by number; its length is a power of two
	epoch  time.Time
	latest []reached // of the last rateOver, as they were sent

	reference int64 // of the latest feedback, unwrapped, of 64 ms
	began     bool

	// least has the least delays of stretches of leastFor, the newest last.
	least []stretch
	// lost has when packets were reported missing, got when they were received.
	lost, got []time.Duration

	standing time.Duration // how long all packets waited of late
	draining bool          // and that becomes less
	flat     time.Duration // since when standing has not changed
	flatAt   time.Duration // and what it was then

	probe cluster
}

type stretch struct {
	from, delay time.Duration
}

// cluster is a probe: packets that are sent at a rate, to see at which they arrive.
type cluster struct {
	id          uint8
	sent, got   int // packets
	bytes       int // that arrived, without the first
	first, last time.Duration
	left, gone  time.Duration // when the first and the last were sent
	out         int           // bytes sent, without the last
}

// sent takes a packet of so many bytes of payload.
func (p *path) sent(number uint16, payload int, now time.Time, id uint8) {
	if p.ring == nil {
		p.ring, p.epoch = make([]departure, 64), now
	}
	at := now.Sub(p.epoch)
	d := &p.ring[int(number)%len(p.ring)]
	if d.known && len(p.ring) < pathMemory && at-d.at < 2*time.Second {
		ring := make([]departure, 2*len(p.ring))
		for _, d := range p.ring {
			if d.known {
				ring[int(d.number)%len(ring)] = d
			}
		}
		p.ring = ring
		d = &p.ring[int(number)%len(p.ring)]
	}
	*d = departure{at: at, size: int32(payload + wireHeaders), number: number, cluster: id, known: true}
	if id != 0 && id == p.probe.id {
		c := &p.probe
		if c.sent == 0 {
			c.left = at
		} else {
			c.out += int(d.size)
		}
		c.gone = at
		c.sent++
	}
}

// feedback takes what the peer says, and tells whether anything was learned. It is a
// stranger's: nonsense ends it.
func (p *path) feedback(f *rtcp.TransportLayerCC, now time.Time) bool {
	if p.ring == nil {
		return false
	}
	// The reference time has 24 bits.
	reference := int64(f.ReferenceTime)
	if p.began {
		reference = p.reference + int64(int32(uint32(reference-p.reference)<<8)>>8)
	}
	p.began, p.reference = true, reference
	clock := time.Duration(reference) * 64 * time.Millisecond
	at := now.Sub(p.epoch)
	number, deltas, left := f.BaseSequenceNumber, f.RecvDeltas, int(f.PacketStatusCount)
	learned := false
	take := func(symbol uint16) bool {
		if left == 0 {
			return false
		}
		left--
		came := symbol == rtcp.TypeTCCPacketReceivedSmallDelta || symbol == rtcp.TypeTCCPacketReceivedLargeDelta
		if came {
			if len(deltas) == 0 {
				return false
			}
			clock += time.Duration(deltas[0].Delta) * time.Microsecond
			deltas = deltas[1:]
		}
		// Whether it is known or not, the time of the next one counts from this one's.
		if d := &p.ring[int(number)%len(p.ring)]; d.known && d.number == number {
			learned = true
			if came {
				p.arrived(d, clock, at)
				d.known = false
			} else if !d.missing {
				d.missing = true
				p.lost = append(p.lost, at)
			}
		}
		number++
		return true
	}
	for _, chunk := range f.PacketChunks {
		switch chunk := chunk.(type) {
		case *rtcp.RunLengthChunk:
			for range chunk.RunLength {
				if !take(chunk.PacketStatusSymbol) {
					break
				}
			}
		case *rtcp.StatusVectorChunk:
			for _, symbol := range chunk.SymbolList {
				if !take(symbol) {
					break
				}
			}
		}
	}
	if learned {
		p.look(at)
	}
	return learned
}

func (p *path) arrived(d *departure, clock, now time.Duration) {
	a := reached{at: clock, delay: clock - d.at, size: d.size}
	p.latest, p.got = append(p.latest, a), append(p.got, now)
	if c := &p.probe; d.cluster != 0 && d.cluster == c.id {
		if c.got == 0 {
			c.first, c.last = a.at, a.at
		} else {
			c.bytes += int(a.size)
			c.first, c.last = min(c.first, a.at), max(c.last, a.at)
		}
		c.got++
	}
	if n := len(p.least); n == 0 || now-p.least[n-1].from >= leastFor {
		if n == leasts {
			p.least = append(p.least[:0], p.least[1:]...)
		}
		p.least = append(p.least, stretch{now, a.delay})
	} else {
		p.least[n-1].delay = min(p.least[n-1].delay, a.delay)
	}
}

// look forgets what is old, and sees how long packets wait.
func (p *path) look(now time.Duration) {
	if n := len(p.latest); n > 0 {
		last := p.latest[n-1]
		newest := last.at
		p.latest = drop(p.latest, func(a reached) bool { return a.at <= newest-rateOver })
		if n := len(p.latest) - pathMemory/2; n > 0 { // its clock stands still
			p.latest = append(p.latest[:0], p.latest[n:]...)
		}
		least := last.delay
		before := time.Duration(math.MaxInt64) // the least of the first half
		for _, a := range p.latest {
			if a.at <= newest-standsFor {
				continue
			}
			least = min(least, a.delay)
			if a.at <= newest-standsFor/2 {
				before = min(before, a.delay)
			}
		}
		base := p.least[0].delay
		for _, s := range p.least {
			base = min(base, s.delay)
		}
		p.standing, p.draining = least-base, before != math.MaxInt64 && before-least > drains
	}
	old := func(at time.Duration) bool { return at <= now-rateOver }
	p.lost, p.got = drop(p.lost, old), drop(p.got, old)
	if d := (p.standing - p.flatAt).Abs(); d > 10*time.Millisecond+p.flatAt/5 {
		p.flat, p.flatAt = now, p.standing
	} else if p.standing > 0 && now-p.flat > rebaseAfter {
		p.least = append(p.least[:0], stretch{now, p.least[0].delay})
		p.least[0].delay = p.latest[len(p.latest)-1].delay
		p.flat, p.flatAt, p.standing = now, 0, 0
	}
}

// drop removes what is old from the beginning of a list.
func drop[T any](list []T, old func(T) bool) []T {
	i := 0
	for i < len(list) && old(list[i]) {
		i++
	}
	return append(list[:0], list[i:]...)
}

// rate gives what has arrived of late, on the wire, in bit/s.
func (p *path) rate() int {
	n := len(p.latest)
	if n < 2 {
		return 0
	}
	first, last, sum := p.latest[0].at, p.latest[0].at, 0
	for _, a := range p.latest[1:] {
		first, last, sum = min(first, a.at), max(last, a.at), sum+int(a.size)
	}
	// Of less than standsFor a burst would be taken for a rate.
	return int(float64(8*sum) / max(last-first, standsFor).Seconds())
}

// loss gives the share of packets, from 0 to 1, of those that were heard of lately,
// that did not arrive, and how many did not.
func (p *path) loss() (share float64, packets int) {
	return float64(len(p.lost)) / float64(max(len(p.lost)+len(p.got), 1)), len(p.lost)
}

// probing begins a probe.
func (p *path) probing() (id uint8) {
	id = p.probe.id + 1
	if id == 0 {
		id = 1
	}
	p.probe = cluster{id: id}
	return id
}

// probed gives at which rate, in bit/s on the wire, the probe was sent and has
// arrived; ok is false while not enough of it has.
func (p *path) probed() (sent, arrived int, ok bool) {
	c := &p.probe
	if c.sent < 2 || c.got < 2 || 10*c.got < 7*c.sent {
		return 0, 0, false
	}
	over := func(bytes int, d time.Duration) int {
		return int(float64(8*bytes) / max(d, time.Millisecond).Seconds())
	}
	return over(c.out, c.gone-c.left), over(c.bytes, c.last-c.first), true
}
