package turn

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Of one client address: STUN requests (Config.Rate a second), with a burst
	// of so many seconds' worth, …
	burstSeconds = 4
	// … and how often allocations and connections may be made, in 1/s, after
	// twice as many at once as allocations may be held.
	allocationRate = 10
	// maxSources is how many addresses are told apart at once. Those beyond get
	// nothing until others have been quiet.
	maxSources = 1 << 16
	// maxPeers is how many addresses an allocation may send to at once, and as
	// many channels.
	maxPeers = 256
	// portTries is how many ports are tried for an allocation.
	portTries = 512
	// idle is how long a TCP connection may be open without an allocation, its
	// TLS handshake included, and writeTime how long a write may take.
	idle      = 30 * time.Second
	writeTime = 10 * time.Second
	// outgoing is how many packets wait for a slow TCP client. More are lost.
	outgoing = 256
	// maxFrame is the longest message that clients may send, in bytes; pion
	// takes less than its MTU.
	maxFrame = mtu - 1
	mtu      = 1700
	// leastBurst is what an allocation may relay at once in each direction, bytes.
	leastBurst = 128 << 10
	// buffer is what sockets that take the packets of many should hold, bytes.
	buffer = 4 << 20
)

// newPace gives what keeps one direction of an allocation to a bitrate, if there
// is one: it allows bytes.
func newPace(bitrate int64) *rate.Limiter {
	if bitrate == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(bitrate)/8, int(max(leastBurst, min(bitrate/8, 1<<30))))
}

// sources limits what each address does in its time. It is safe for concurrent
// use.
type sources struct {
	every rate.Limit
	burst int

	mu    sync.Mutex
	of    map[netip.Addr]*rate.Limiter
	swept time.Time
}

func newSources(every rate.Limit, burst int) *sources {
	return &sources{every: every, burst: burst, of: map[netip.Addr]*rate.Limiter{}}
}

// allow counts one more of what is limited, unless it is one too many.
func (s *sources) allow(a netip.Addr, now time.Time) bool {
	a = source(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.of[a]
	if l == nil {
		if len(s.of) >= maxSources && !s.sweep(now) {
			return false
		}
		l = rate.NewLimiter(s.every, s.burst)
		s.of[a] = l
	}
	return l.AllowN(now, 1)
}

// sweep forgets those who have been quiet, at most once a second, and tells
// whether there is place.
func (s *sources) sweep(now time.Time) bool {
	if now.Sub(s.swept) < time.Second {
		return false
	}
	s.swept = now
	for a, l := range s.of {
		if l.TokensAt(now) >= float64(s.burst) {
			delete(s.of, a)
		}
	}
	return len(s.of) < maxSources
}

// quotas counts what is held. It is safe for concurrent use.
type quotas struct {
	max, perUser, perAddress int

	mu        sync.Mutex
	total     int
	users     map[string]int
	addresses map[netip.Addr]int
}

// full tells which quota another allocation would exceed.
func (q *quotas) full(user string, from netip.Addr) refusal {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isFull(user, source(from))
}

func (q *quotas) isFull(user string, from netip.Addr) refusal {
	switch {
	case q.total >= q.max:
		return quotaTotal
	case q.users[user] >= q.perUser:
		return quotaUser
	case q.addresses[from] >= q.perAddress:
		return quotaAddress
	}
	return none
}

// take counts an allocation in, if it fits; release counts it out.
func (q *quotas) take(user string, from netip.Addr) refusal {
	from = source(from)
	q.mu.Lock()
	defer q.mu.Unlock()
	if why := q.isFull(user, from); why != none {
		return why
	}
	q.total++
	q.users[user]++
	q.addresses[from]++
	return none
}

func (q *quotas) release(user string, from netip.Addr) {
	from = source(from)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.users[user]--; q.users[user] == 0 {
		delete(q.users, user)
	}
	if q.addresses[from]--; q.addresses[from] == 0 {
		delete(q.addresses, from)
	}
}
