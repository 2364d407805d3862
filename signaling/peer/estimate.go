package peer

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/gcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	// Who sends little learns little: an estimate is of what was sent. So while
	// nothing is congested, what may be sent grows by itself.
	growEvery = time.Second
	growBy    = 8 // per cent
	// growAfter is how long after a congestion growing begins again.
	growAfter = 3 * time.Second
	// Of little that was sent an estimate is low by far, so what there was before a
	// congestion comes back at regrowBy a growEvery, unless there was another one
	// within regrowOver.
	regrowBy   = 25 // per cent
	regrowOver = 20 * time.Second
	// unproven is a limit beyond which one is believed, when packets are lost, as
	// far as twice as much is sent, in bit/s.
	unproven = 20_000_000
	// deliveryRatio is how much of an estimate is asked of the encoder: the rest
	// is for headers, sound and retransmissions.
	deliveryRatio = 90 // per cent
)

// estimator is what a viewer can receive: Google congestion control
// (draft-ietf-rmcat-gcc-02) by transport-wide feedback, or what the viewer says
// itself by REMB (draft-alvestrand-rmcat-remb-03) when it gives no other
// feedback.
type estimator struct {
	max int
	// sustained is for how long delays grow, while nothing is lost, before that is
	// taken for a congestion: packets that wait for a busy machine look like one
	// for a moment.
	sustained time.Duration

	mu       sync.Mutex
	bwe      *gcc.SendSideBWE
	extID    uint8
	sequence uint16
	sent     map[uint32]interceptor.RTPWriter
	// attributes go with each packet, since the estimator makes a map of its own
	// otherwise. Its pacer's lock guards them.
	attributes interceptor.Attributes

	limit  int // bit/s
	heard  bool
	remb   int
	losses [5]float64 // by the latest receiver reports, smoothed
	// congested is when less than what is sent got through last, grown when the
	// limit was raised.
	congested, grown time.Time
	overused         time.Time // since when delays grow; zero: they do not
	lossy            time.Time // when more than usual was lost last
	before           int       // the limit before the congestion; 0: there were several
	// bytes were sent since the time counted.
	bytes   int
	counted time.Time
}

func newEstimator(maxBitrate int) (*estimator, error) {
	bwe, err := gcc.NewSendSideBWE(
		gcc.SendSideBWEPacer(gcc.NewNoOpPacer()),
		gcc.SendSideBWEInitialBitrate(maxBitrate),
		gcc.SendSideBWEMinBitrate(minTarget),
		gcc.SendSideBWEMaxBitrate(2*maxBitrate),
		gcc.WithLoggerFactory(loggers{to: slog.New(slog.DiscardHandler)}),
	)
	if err != nil {
		return nil, fmt.Errorf("peer: making a bandwidth estimator: %w", err)
	}
	return &estimator{
		max: maxBitrate, bwe: bwe, limit: maxBitrate,
		sent: map[uint32]interceptor.RTPWriter{}, attributes: interceptor.Attributes{},
	}, nil
}

// add makes the estimator the way by which packets of this source are sent. id is
// that of the transport-wide sequence number's extension, or 0.
func (e *estimator) add(ssrc uint32, id uint8, to webrtc.TrackLocalWriter) {
	writer := interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		return to.WriteRTP(h, payload)
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if id == 0 {
		e.sent[ssrc] = writer
		return
	}
	e.extID = id
	e.sent[ssrc] = e.bwe.AddStream(&interceptor.StreamInfo{
		SSRC: ssrc, RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{URI: uriTWCC, ID: int(id)}},
	}, writer)
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
	e.mu.Lock()
	w, id := e.sent[h.SSRC], e.extID
	sequence := e.sequence
	e.bytes += len(payload)
	if id != 0 {
		e.sequence++
	}
	e.mu.Unlock()
	if w == nil {
		return fmt.Errorf("%w: source %d is not sent", ErrPublication, h.SSRC)
	}
	if id != 0 {
		if err := h.SetExtension(id, []byte{byte(sequence >> 8), byte(sequence)}); err != nil {
			return err
		}
	}
	_, err := w.Write(h, payload, e.attributes)
	return err
}

// feedback takes what the viewer says, and tells whether it was about bandwidth.
func (e *estimator) feedback(p rtcp.Packet, now time.Time) bool {
	switch p := p.(type) {
	case *rtcp.TransportLayerCC:
		// It is a stranger's: what can't be used is as good as not sent.
		if e.bwe.WriteRTCP([]rtcp.Packet{p}, nil) != nil {
			return true
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = true
		e.update(now)
	case *rtcp.ReceiverEstimatedMaximumBitrate:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.remb = int(min(max(p.Bitrate, minTarget), 1e9))
	default:
		return false
	}
	return true
}

// update follows the part of the estimate that goes by delay. It is called
// locked.
func (e *estimator) update(now time.Time) {
	stats := e.bwe.GetStats()
	estimate, ok := stats["delayTargetBitrate"].(int)
	switch {
	case !ok || estimate <= 0: // nothing is known yet
	case stats["state"] == "decrease":
		if e.overused.IsZero() {
			e.overused = now
		}
		if now.Sub(e.overused) >= e.sustained || now.Sub(e.lossy) < growAfter {
			e.congest(now, estimate)
		}
	default:
		e.overused = time.Time{}
		if now.Sub(e.congested) < growAfter || now.Sub(e.grown) < growEvery {
			return
		}
		e.grown = now
		by := growBy
		if e.limit < e.before {
			by = regrowBy
		}
		grown := max(e.limit+e.limit*by/100, min(estimate, e.limit*3/2))
		e.limit = min(grown, e.max)
	}
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
// lost (draft-ietf-rmcat-gcc-02 §6; the part of pion's estimate that goes by loss is
// of too few packets to tell chance from congestion). A link that loses as much
// whatever it is sent, as radio does, is not congested: only what is lost beyond
// the least of late counts.
func (e *estimator) lost(share float64, now time.Time) {
	const much = 0.1
	e.mu.Lock()
	defer e.mu.Unlock()
	rate, least := e.rate(now), slices.Min(e.losses[:])
	copy(e.losses[:], e.losses[1:])
	last := &e.losses[len(e.losses)-1]
	*last = (*last + share) / 2
	if beyond := *last - least; beyond > much && share > much { // and it goes on
		e.lossy = now
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
	if e.heard || e.remb == 0 {
		return e.limit
	}
	return min(e.remb, e.max)
}

// loss gives the share of packets that were lost by the latest reports, smoothed.
func (e *estimator) loss() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.losses[len(e.losses)-1]
}

func (e *estimator) close() { _ = e.bwe.Close() }
