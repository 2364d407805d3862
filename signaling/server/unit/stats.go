package unit

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/peer"
)

// Party is a client, whose ID is unique in its room, and Number in the process.
type Party struct {
	ID     string
	Number int
}

// Forwarded is how a track is sent to one subscriber.
type Forwarded struct {
	Publisher, Subscriber Party
	Kind                  media.Kind
	// Track numbers the publisher's tracks of this kind, from 1.
	Track int
	// Bitrate is what was sent of it in the last second, in bit/s of payload,
	// without what was sent again.
	Bitrate int
	// Layer is which of the track's Layers encodings, or layers of the only one, is
	// sent, 0 being the least;
	// -1: none, since there was no keyframe yet or the subscriber can't receive it.
	Layer, Layers int
	peer.OutletStats
}

// Subscriber is a client who is sent tracks.
type Subscriber struct {
	Party
	// Receivable is how much it can receive, in bit/s, as estimated.
	Receivable int
	// Poor is set while what is sent to it suffers, and so less is.
	Poor bool
}

// Stats is what a unit forwards now, and has forwarded since it began.
type Stats struct {
	// Tracks are those that are forwarded now, the oldest first.
	Tracks []Forwarded
	// Subscribers are those who are sent them.
	Subscribers []Subscriber
	// Video and Audio count what was sent in all; their Loss says nothing.
	Video, Audio peer.OutletStats
}

// ledger is what a unit knows of all that it forwards.
type ledger struct {
	mu    sync.Mutex
	open  map[*subscription]*peer.Outlet
	ended [2]peer.OutletStats // by account
}

func account(k media.Kind) int {
	if k == media.Audio {
		return 1
	}
	return 0
}

// begin takes a subscription in.
func (l *ledger) begin(s *subscription, o *peer.Outlet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[*subscription]*peer.Outlet{}
	}
	l.open[s] = o
}

// end keeps what a subscription came to. There may be none.
func (l *ledger) end(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.open[s]; o != nil {
		l.ended[account(s.publication.kind)].Add(o.Stats())
		delete(l.open, s)
	}
}

// Stats tells what is forwarded. It may be called by any goroutine.
func (u *Unit) Stats() Stats {
	type entry struct {
		s *subscription
		f Forwarded
	}
	var list []entry
	u.ledger.mu.Lock()
	sums := u.ledger.ended
	for s, o := range u.ledger.open {
		e := entry{s, Forwarded{OutletStats: o.Stats()}}
		sums[account(s.publication.kind)].Add(e.f.OutletStats)
		list = append(list, e)
	}
	u.ledger.mu.Unlock()
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.s.client.number, b.s.client.number), cmp.Compare(a.s.number, b.s.number))
	})
	stats := Stats{Video: sums[0], Audio: sums[1]}
	now := time.Now()
	for _, e := range list {
		e.s.publication.describe(e.s, &e.f, now)
		if n := len(stats.Subscribers); n == 0 || stats.Subscribers[n-1].Party != e.f.Subscriber {
			if conn := e.s.client.conn.Load(); conn != nil {
				stats.Subscribers = append(stats.Subscribers, Subscriber{e.f.Subscriber, conn.Receivable(), e.s.client.poor.Load()})
			}
		}
		stats.Tracks = append(stats.Tracks, e.f)
	}
	return stats
}

func (c *Client) party() Party { return Party{c.id, c.number} }

// describe says of which track a subscription is, and how it is sent.
func (p *publication) describe(s *subscription, f *Forwarded, now time.Time) {
	f.Publisher, f.Subscriber, f.Kind, f.Track = p.owner.party(), s.client.party(), p.kind, p.place
	p.mu.Lock()
	defer p.mu.Unlock()
	f.Bitrate = s.rate.bitrate(now)
	choices := p.choices()
	f.Layers, f.Layer = len(choices), -1
	if s.stream == nil || s.paused {
		return
	}
	source, ok := s.stream.Current()
	for i, e := range choices {
		if ok && e.Source == source && (f.Layer < 0 || e.Layers == s.layers) {
			f.Layer = i
		}
	}
}

// meter measures a bitrate.
type meter struct {
	since time.Time
	bytes int
	rate  int
}

func (m *meter) count(bytes int, now time.Time) {
	if m.since.IsZero() {
		m.since = now
	}
	m.bytes += bytes
	if d := now.Sub(m.since); d >= rateOver {
		m.rate = int(float64(m.bytes) * 8 / d.Seconds())
		m.since, m.bytes = now, 0
	}
}

// bitrate is what was measured last, in bit/s, unless nothing has come since.
func (m *meter) bitrate(now time.Time) int {
	if now.Sub(m.since) >= 2*rateOver {
		return 0
	}
	return m.rate
}
