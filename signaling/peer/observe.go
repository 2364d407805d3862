package peer

import (
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// way is the selected candidate pair, as far as it is nobody's address.
type way struct{ local, remote, protocol string }

// measure looks at the way that media takes.
func (c *Conn) measure() {
	ice := c.pc.SCTP().Transport().ICETransport()
	if stats, ok := ice.GetSelectedCandidatePairStats(); ok {
		c.roundTrip.Store(int64(stats.CurrentRoundTripTime * float64(time.Second)))
	}
	pair, err := ice.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return // what is known of the last one stays
	}
	w := way{pair.Local.Typ.String(), pair.Remote.Typ.String(), pair.Local.Protocol.String()}
	if old := c.way.Load(); old == nil || *old != w {
		c.way.Store(&w)
	}
}

// Observe implements signaling.Observer.
func (t *track) Observe() signaling.Observation {
	c := t.conn
	o := signaling.Observation{RoundTrip: t.RoundTrip(), ICEState: c.pc.ICEConnectionState().String()}
	if w := c.way.Load(); w != nil {
		o.LocalCandidate, o.RemoteCandidate, o.Protocol = w.local, w.remote, w.protocol
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o.Nacks, o.PLIs, o.FIRs = t.sent.nacks, t.sent.plis, t.sent.firs
	if r := &t.source.stats; r.started {
		o.PacketsLost = r.lost()
		if r.rate > 0 {
			o.Jitter = time.Duration(r.jitter / float64(r.rate) * float64(time.Second))
		}
	}
	return o
}

// Works tells whether media could flow once, and the connection has not ended since,
// though it may be interrupted.
func (c *Conn) Works() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up && !c.closed && c.state != Failed && c.state != Closed
}
