package server

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// addressBurst is what an address may do at once, in seconds' worth of what
	// it may do a second.
	addressBurst = 10
	// maxAddresses is how many addresses are kept in mind; while there are more,
	// new ones are refused.
	maxAddresses = 1 << 16
)

// address is what comes from one place on the network, whoever they say they
// are.
type address struct {
	joins, messages, credentials *rate.Limiter

	// Guarded by the lock of the addresses.
	sockets int
	kept    int       // clients who may come back, besides
	left    time.Time // when there was a socket, or a request for credentials, last
}

// addresses are those that have a socket, and those that had one less than
// addressBurst ago: after that, all that they may do at once is theirs again.
type addresses struct {
	mu    sync.Mutex
	known map[netip.Prefix]*address
	swept time.Time
}

// addressOf gives what an address is counted as. Those that can't be read are
// one.
func addressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	a := ap.Addr().Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// enter counts a new socket, or says why there can't be one. What it gives must
// be given to leave.
func (l *addresses) enter(from netip.Prefix, cfg Config, now time.Time) (a *address, refusal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch a = l.get(from, cfg, now); {
	case a == nil:
		return nil, "the server has too many clients"
	case a.sockets >= cfg.AddressSockets:
		return nil, fmt.Sprintf("there are %d connections from this address already", a.sockets)
	case !a.joins.AllowN(now, 1):
		return nil, "too many connections from this address in a short time"
	}
	a.sockets++
	return a, ""
}

// mayAsk counts a request for TURN credentials, and tells whether it is none too
// many.
func (l *addresses) mayAsk(from netip.Prefix, cfg Config, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.get(from, cfg, now)
	if a == nil {
		return false
	}
	a.left = now
	return a.credentials.AllowN(now, 1)
}

// get gives what is known of an address, or nil when there are too many. It is
// called locked.
func (l *addresses) get(from netip.Prefix, cfg Config, now time.Time) *address {
	l.sweep(now)
	a := l.known[from]
	if a == nil {
		if len(l.known) >= maxAddresses {
			return nil
		}
		a = &address{
			credentials: rate.NewLimiter(rate.Limit(cfg.AddressCredentials), burstOf(cfg.AddressCredentials)),
			joins:       rate.NewLimiter(rate.Limit(cfg.AddressJoins), burstOf(cfg.AddressJoins)),
			messages:    rate.NewLimiter(rate.Limit(cfg.AddressMessages), max(burstOf(cfg.AddressMessages), cost(cfg.MaxMessage))),
			left:        now,
		}
		if l.known == nil {
			l.known = make(map[netip.Prefix]*address)
		}
		l.known[from] = a
	}
	return a
}

// burstOf is what may come at once where so many may a second.
func burstOf(perSecond float64) int { return int(min(max(1, addressBurst*perSecond), math.MaxInt32)) }

func (l *addresses) leave(a *address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.sockets--
	a.left = time.Now()
}

// keep counts a client that may come back, or is false when there are as many as one
// address may have: a tenth of its sockets.
func (l *addresses) keep(a *address, cfg Config) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.kept >= max(1, cfg.AddressSockets/10) {
		return false
	}
	a.kept++
	return true
}

func (l *addresses) unkeep(a *address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.kept--
}

// sweep forgets who can be forgotten, now and then.
func (l *addresses) sweep(now time.Time) {
	if now.Sub(l.swept) < addressBurst*time.Second {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.known, func(_ netip.Prefix, a *address) bool {
		return a.sockets == 0 && a.kept == 0 && now.Sub(a.left) > addressBurst*time.Second
	})
}
