package lossy

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// Odds say what becomes of packets in one direction. Probabilities are from 0 to
// 1; each packet draws for itself. The zero value is a perfect network.
type Odds struct {
	// Loss is the probability that a packet is lost; 1 is a blackout.
	Loss float64
	// Delay is how long every packet is on its way, Jitter how much longer it
	// may be, evenly spread: packets overtake each other then.
	Delay, Jitter time.Duration
	// Reorder is the probability that a packet is held back by HoldBack
	// beyond its delay, while those after it pass; HoldBack is 20 ms if 0.
	Reorder  float64
	HoldBack time.Duration
	// Duplicate is the probability that a packet comes twice; the copy has a
	// jitter of its own.
	Duplicate float64
	// Corrupt is the probability that one bit of a packet is flipped.
	Corrupt float64
	// Rate is how many bit/s of UDP payload go through, one packet after the
	// other; 0: any. A packet that would wait for longer than Queue, 200 ms if 0,
	// is lost.
	Rate  int
	Queue time.Duration
}

const (
	defaultHoldBack = 20 * time.Millisecond
	defaultQueue    = 200 * time.Millisecond
)

// Counts are packets of one or more directions. Every packet that came is lost
// or sent on, or waits for its time still: once a network without delay is
// quiet, Sent = Packets - Lost + Duplicated.
type Counts struct {
	Packets, Bytes uint64 // that came
	Lost           uint64
	Duplicated     uint64
	Reordered      uint64 // held back
	Corrupted      uint64
	Sent           uint64 // copies that went on

	// Media and MediaLost are the RTP packets among Packets and Lost, told as
	// RFC 7983 and RFC 5761 say; MediaSent those among Sent.
	Media, MediaLost, MediaSent uint64
}

func (c *Counts) add(o Counts) {
	c.Packets += o.Packets
	c.Bytes += o.Bytes
	c.Lost += o.Lost
	c.Duplicated += o.Duplicated
	c.Reordered += o.Reordered
	c.Corrupted += o.Corrupted
	c.Sent += o.Sent
	c.Media += o.Media
	c.MediaLost += o.MediaLost
	c.MediaSent += o.MediaSent
}

// String gives the counts as a line for people.
func (c Counts) String() string {
	return fmt.Sprintf("%d packets (%d RTP), %d lost (%d RTP), %d duplicated, %d reordered, %d corrupted, %d sent on (%d RTP)",
		c.Packets, c.Media, c.Lost, c.MediaLost, c.Duplicated, c.Reordered, c.Corrupted, c.Sent, c.MediaSent)
}

// link is one direction between two participants.
type link struct {
	from, to string

	mu     sync.Mutex
	odds   Odds
	free   time.Time // when what has come by now has gone through, with a rate
	random *rand.Rand
	counts Counts
}

func newLink(seed uint64, from, to string, o Odds) *link {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q", from, to)
	return &link{from: from, to: to, odds: o, random: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

func (l *link) set(o Odds) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.odds = o
}

// fate decides about a packet that comes now, which it may change, and gives the
// delay of each of its n copies.
func (l *link) fate(b []byte, now time.Time) (delays [2]time.Duration, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Always the same number of draws, so that odds for one thing do not
	// change what becomes of another.
	var draw [5]float64
	for i := range draw {
		draw[i] = l.random.Float64()
	}
	bit := l.random.Uint64()

	media := isRTP(b)
	l.counts.Packets++
	l.counts.Bytes += uint64(len(b))
	if media {
		l.counts.Media++
	}
	queued, full := l.queue(len(b), now)
	if draw[0] < l.odds.Loss || full {
		l.counts.Lost++
		if media {
			l.counts.MediaLost++
		}
		return delays, 0
	}
	n = 1
	jitter := float64(l.odds.Jitter)
	delays[0] = queued + l.odds.Delay + time.Duration(draw[1]*jitter)
	delays[1] = queued + l.odds.Delay + time.Duration(draw[2]*jitter)
	if draw[3] < l.odds.Reorder {
		l.counts.Reordered++
		if l.odds.HoldBack > 0 {
			delays[0] += l.odds.HoldBack
		} else {
			delays[0] += defaultHoldBack
		}
	}
	if draw[4] < l.odds.Duplicate {
		l.counts.Duplicated++
		n = 2
	}
	if float64(bit>>32)/(1<<32) < l.odds.Corrupt && len(b) > 0 {
		l.counts.Corrupted++
		at := int(bit&0xffffffff) % (len(b) * 8)
		b[at/8] ^= 1 << (at % 8)
	}
	return delays, n
}

// queue tells how long a packet takes for those before it and itself to go through
// at the link's rate, and whether there is no room for it. It is called locked.
func (l *link) queue(size int, now time.Time) (wait time.Duration, full bool) {
	if l.odds.Rate <= 0 {
		return 0, false
	}
	most := l.odds.Queue
	if most <= 0 {
		most = defaultQueue
	}
	if l.free.Before(now) {
		l.free = now
	}
	if l.free.Sub(now) > most {
		return 0, true
	}
	l.free = l.free.Add(time.Duration(size) * 8 * time.Second / time.Duration(l.odds.Rate))
	return l.free.Sub(now), false
}

// sent counts a copy that has gone on.
func (l *link) sent(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Sent++
	if isRTP(b) {
		l.counts.MediaSent++
	}
}

// isRTP tells RTP from STUN, DTLS and the rest (RFC 7983 §7), and from RTCP
// (RFC 5761 §4).
func isRTP(b []byte) bool {
	if len(b) < 12 || b[0]&0xc0 != 0x80 {
		return false
	}
	pt := b[1] & 0x7f
	return pt < 64 || pt > 95
}
