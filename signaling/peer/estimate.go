package peer

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	// Who sends little learns little: an estimate is of what was sent. So while
	// nothing is congested, and nothing can be tried by a probe, what may be sent grows
	// by itself.
	growEvery = time.Second
	growBy    = 8 // per cent
	// growAfter is how long after a congestion growing begins again.
	growAfter = 3 * time.Second
	// Of little that was sent an estimate is low by far, so what there was before a
	// congestion comes back at regrowBy a growEvery, unless there was another one
	// within regrowOver.
	regrowBy   = 25 // per cent
	regrowOver = 20 * time.Second
	// overuse is for how long packets wait in a queue that is taken for a congestion;
	// then what arrives, but for so many per cent, is what may be sent.
	overuse   = 40 * time.Millisecond
	afterOver = 85
	// backoffEvery is the least time between two times that less may be sent, beside a
	// round trip, since a queue takes time to go.
	backoffEvery = 300 * time.Millisecond
	// unproven is a limit beyond which one is believed, when packets are lost, as
	// far as twice as much is sent, in bit/s.
	unproven = 20_000_000
	// unheard is after how long without feedback that was agreed upon none is waited
	// for.
	unheard = 5 * time.Second
	// believed is for how long a receiver report is, when no other one comes.
	believed = 10 * time.Second
	// deliveryRatio is how much of an estimate is asked of the encoder: the rest
	// is for headers, sound and retransmissions.
	deliveryRatio = 90 // per cent
)

// estimator is what a viewer can receive, by how long packets wait on their way
// (transport-wide feedback; the idea is that of Google congestion control,
// draft-ietf-rmcat-gcc-02, and RFC 6817's queue), or what the viewer says
// itself by REMB (draft-alvestrand-rmcat-remb-03) when it gives no other
// feedback.
type estimator struct {
	max, initial int
	// sustained is for how long packets wait, while nothing is lost, before that is
	// taken for a congestion: on a machine that is busy for a moment they do, too.
	sustained time.Duration

	mu       sync.Mutex
	path     path
	extID    uint8
	sequence uint16
	began    time.Time // when the first packet with a number was sent
	sent     map[uint32]webrtc.TrackLocalWriter

	limit  int // bit/s
	heard  bool
	remb   int
	losses [5]float64 // by the latest receiver reports, smoothed
	// congested is when less than what is sent got through last, grown when the
	// limit was raised, reduced when it was lowered.
	congested, grown, reduced time.Time
	waiting                   time.Time // since when packets wait; zero: they do not
	before                    int       // the limit before the congestion; 0: there were several
	// bytes were sent since the time counted.
	bytes   int
	counted time.Time
	// reported is when a receiver report came last.
	reported time.Time

	probing
}

// newEstimator makes one that takes initial for what can be received until
// feedback tells otherwise, and never more than maxBitrate, both in bit/s.
func newEstimator(initial, maxBitrate int) *estimator {
	return &estimator{
		max: maxBitrate, initial: initial, limit: initial, sent: map[uint32]webrtc.TrackLocalWriter{},
	}
}

// add makes the estimator the way by which packets of this source are sent. id is
// that of the transport-wide sequence number's extension, or 0.
func (e *estimator) add(ssrc uint32, id uint8, to webrtc.TrackLocalWriter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sent[ssrc] = to
	switch {
	case id != 0 && e.extID == 0 && !e.heard:
		e.extID, e.limit = id, e.initial
	case id != 0:
		e.extID = id
	case e.extID == 0:
		e.limit = e.max // nothing will tell what it can receive, but what is lost
	}
}

// remove forgets sources.
func (e *estimator) remove(ssrcs ...uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ssrc := range ssrcs {
		delete(e.sent, ssrc)
	}
}

// write sends a packet of a source that was added.
func (e *estimator) write(h *rtp.Header, payload []byte) error {
	now := time.Now()
	e.mu.Lock()
	w, id := e.sent[h.SSRC], e.extID
	e.bytes += len(payload)
	if id != 0 {
		if err := h.SetExtension(id, []byte{byte(e.sequence >> 8), byte(e.sequence)}); err != nil {
			e.mu.Unlock()
			return err
		}
		if e.began.IsZero() {
			e.began = now
		}
		e.path.sent(e.sequence, len(payload), now, e.cluster)
		e.sequence++
	}
	e.mu.Unlock()
	if w == nil {
		return fmt.Errorf("%w: source %d is not sent", ErrPublication, h.SSRC)
	}
	_, err := w.WriteRTP(h, payload)
	return err
}

// feedback takes what the viewer says, and tells whether it was about bandwidth.
func (e *estimator) feedback(p rtcp.Packet, now time.Time) bool {
	switch p := p.(type) {
	case *rtcp.TransportLayerCC:
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.path.feedback(p, now) {
			e.heard = true
			e.update(now)
		}
	case *rtcp.ReceiverEstimatedMaximumBitrate:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.remb = int(min(max(p.Bitrate, minTarget), 1e9))
	default:
		return false
	}
	return true
}

// update follows what is known of the path. It is called locked.
func (e *estimator) update(now time.Time) {
	rate := e.path.rate()
	share, lost := e.path.loss()
	waits := e.path.standing > overuse && !e.path.draining
	switch {
	case !waits:
		e.waiting = time.Time{}
	case e.waiting.IsZero():
		e.waiting = now
	}
	loses := lost >= 4 && share > 0.1 && e.path.standing > overuse/4
	if loses || waits && now.Sub(e.waiting) >= e.sustained {
		if now.Sub(e.reduced) >= backoffEvery {
			e.reduced = now
			e.congest(now, rate/100*afterOver)
		}
		e.abandon(now)
		return
	}
	if waits {
		return
	}
	e.judge(now)
	if e.path.standing < overuse/2 && rate > e.limit {
		e.limit = min(rate, e.max) // it got through
	}
	if now.Sub(e.congested) < growAfter || now.Sub(e.grown) < growEvery || e.probes() {
		return
	}
	e.grown = now
	by := growBy
	if e.limit < e.before {
		by = regrowBy
	}
	e.limit = min(e.limit+e.limit*by/100, e.max)
}

// congest lowers the limit to what gets through. It is called locked.
func (e *estimator) congest(now time.Time, through int) {
	switch since := now.Sub(e.congested); {
	case since >= regrowOver:
		e.before = e.limit
	case since >= growAfter:
		e.before = 0 // what there was is not there
	}
	e.congested = now
	e.limit = max(min(e.limit, through), minTarget)
}

// lost takes the share of packets, from 0 to 1, that a receiver report says were
// lost (draft-ietf-rmcat-gcc-02 §6). A link that loses as much
// whatever it is sent, as radio does, is not congested: only what is lost beyond
// the least of late counts, and where there is transport-wide feedback no more than that
// says.
func (e *estimator) lost(share float64, now time.Time) {
	const much = 0.1
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.heard && !e.began.IsZero() && now.Sub(e.began) > unheard && e.congested.IsZero() {
		e.limit = e.max // there is no feedback but this
	}
	if e.heard {
		// What was lost before it came to us is missing too, and is not lost here.
		here, _ := e.path.loss()
		share = min(share, here)
	}
	e.reported = now
	rate, least := e.rate(now), slices.Min(e.losses[:])
	copy(e.losses[:], e.losses[1:])
	last := &e.losses[len(e.losses)-1]
	*last = (*last + share) / 2
	if beyond := *last - least; beyond > much && share > much { // and it goes on
		e.congest(now, int(float64(min(e.limit, max(2*rate, unproven)))*(1-beyond/2)))
	}
}

// rate gives how much was sent since it was called last, in bit/s, and the first
// time what may be. It is called locked.
func (e *estimator) rate(now time.Time) int {
	rate := e.limit
	if took := now.Sub(e.counted); took > 0 && !e.counted.IsZero() {
		rate = int(float64(8*e.bytes) / took.Seconds())
	}
	e.bytes, e.counted = 0, now
	return rate
}

// bitrate gives what the viewer can receive, in bit/s.
func (e *estimator) bitrate() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current()
}

// current is bitrate, called locked.
func (e *estimator) current() int {
	if e.heard || e.remb == 0 {
		return e.limit
	}
	return min(e.remb, e.max)
}

// narrow tells whether the viewer was sent too much a moment ago.
func (e *estimator) narrow(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Sub(e.congested) < growAfter || e.path.standing > overuse/2
}

// loss gives the share of packets that were lost by the latest reports, smoothed. Who
// is sent nothing reports nothing, and loses nothing.
func (e *estimator) loss(now time.Time) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.reported) > believed {
		return 0
	}
	return e.losses[len(e.losses)-1]
}
