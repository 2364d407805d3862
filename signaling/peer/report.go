package peer

import (
	"math"
	"slices"
	"time"

	"github.com/pion/rtcp"

	"github.com/roomtape/roomtape/media"
)

const (
	// reporter is the SSRC of our feedback. We send no media, so it collides
	// with nothing that matters; browsers use the same.
	reporter = 1
	// generous is the bandwidth in bit/s that REMB allows.
	generous = 50_000_000
	// maxNackPairs keeps a NACK within one packet, and maxCompound what is sent
	// as one, in bytes; what is larger by itself goes alone.
	maxNackPairs = 250
	maxCompound  = 1100
	// nackDelay is how long a request waits for those of other tracks, to go
	// with them in one packet.
	nackDelay = 2 * time.Millisecond
)

// reception is what receiver reports say of a source (RFC 3550 §6.4.1, A.3,
// A.8).
type reception struct {
	started      bool
	fresh        bool // something came since the last report
	base, max    uint16
	cycles       uint32
	received     uint32
	expectedThen uint32
	receivedThen uint32
	rate         uint32 // of the clock that transit and jitter are in, in Hz
	transit      uint32
	jitter       float64

	lastSR   uint32 // middle 32 bits of the NTP time of the last sender report
	lastSRAt time.Time
}

// arrive counts a packet that came at this time, on any scale; rate is its
// clock's in Hz, or 0.
func (r *reception) arrive(p *media.Packet, at time.Duration, rate uint32) {
	r.fresh = true
	seq := p.SequenceNumber
	if !r.started {
		r.started, r.base, r.max = true, seq, seq
	}
	r.received++
	if d := int16(seq - r.max); d > 0 {
		if seq < r.max {
			r.cycles += 1 << 16
		}
		r.max = seq
	}
	if rate == 0 {
		return
	}
	transit := uint32(at.Microseconds()*int64(rate)/1_000_000) - p.Timestamp
	r.rate = rate
	if r.received > 1 {
		r.jitter += (math.Abs(float64(int32(transit-r.transit))) - r.jitter) / 16
	}
	r.transit = transit
}

func (r *reception) reported(ntp uint64, now time.Time) {
	r.lastSR, r.lastSRAt = uint32(ntp>>16), now
}

// expected gives the extended highest sequence number, and how many packets there
// are up to it.
func (r *reception) expected() (highest, expected uint32) {
	highest = r.cycles + uint32(r.max)
	return highest, highest - uint32(r.base) + 1
}

// lost is how many packets have not come, less those that came more than once.
func (r *reception) lost() int64 {
	_, expected := r.expected()
	return int64(expected) - int64(r.received)
}

// report gives the report block, and begins the next interval.
func (r *reception) report(ssrc uint32, now time.Time) rtcp.ReceptionReport {
	r.fresh = false
	highest, expected := r.expected()
	lost := max(-1<<23, min(1<<23-1, r.lost()))
	interval, got := expected-r.expectedThen, r.received-r.receivedThen
	r.expectedThen, r.receivedThen = expected, r.received
	var fraction uint8
	if interval > got {
		fraction = uint8(min(255, (uint64(interval-got)<<8)/uint64(interval)))
	}
	var delay uint32
	if !r.lastSRAt.IsZero() {
		delay = uint32(now.Sub(r.lastSRAt).Seconds() * 65536)
	}
	return rtcp.ReceptionReport{
		SSRC: ssrc, FractionLost: fraction, TotalLost: uint32(lost) & 0xffffff,
		LastSequenceNumber: highest, Jitter: uint32(r.jitter),
		LastSenderReport: r.lastSR, Delay: delay,
	}
}

// kick sends what waits, soon. It is called locked.
func (c *Conn) kick() {
	if c.closed || !c.up {
		return
	}
	if c.flushing {
		c.again = true
		return
	}
	c.flushing = true
	c.tasks.Go(c.flush)
}

// kickSoon sends what waits, together with what others are about to ask for. It
// is called locked.
func (c *Conn) kickSoon() {
	if c.closed || !c.up || c.gathering {
		return
	}
	c.gathering = true
	time.AfterFunc(nackDelay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gathering = false
		c.kick()
	})
}

// flush sends what is due. It is a goroutine, since the transport may block
// when it is a relay's TCP connection.
func (c *Conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.again = true; c.again && !c.closed; {
		c.again = false
		packets, second := c.due(time.Now())
		c.mu.Unlock()
		for _, compound := range bundle(packets) {
			if err := c.pc.WriteRTCP(compound); err != nil {
				break // there is no way out now; what matters is asked for again
			}
		}
		if second {
			c.measure()
		}
		if c.feed != nil {
			c.feed.pub.adapt()
		}
		c.mu.Lock()
	}
	c.flushing = false
}

// bundle puts packets together, as far as they fit into one on the wire: each is
// encrypted, sent and received by itself (RFC 3550 §6.1, RFC 5506).
func bundle(packets []rtcp.Packet) (compounds [][]rtcp.Packet) {
	first, size := 0, 0
	for i, p := range packets {
		n := p.MarshalSize()
		if i > first && size+n > maxCompound {
			compounds = append(compounds, packets[first:i])
			first, size = i, 0
		}
		size += n
	}
	if first < len(packets) {
		compounds = append(compounds, packets[first:])
	}
	return compounds
}

// due gives the feedback that is to be sent now, and tells whether a second has
// gone by. It is called locked.
func (c *Conn) due(now time.Time) (packets []rtcp.Packet, second bool) {
	second = now.Sub(c.lastRR) >= receiverReportEvery
	if second {
		c.lastRR = now
		packets = append(packets, c.receiverReports(now)...)
		if c.feed != nil {
			packets = append(packets, c.feed.reports(now)...)
		}
	}
	behind := c.opts.Behind != nil && c.opts.Behind(now) > behindAfter
	for _, t := range c.tracks {
		t.askFor(now, behind)
		packets = t.due(packets, now)
	}
	packets = append(packets, c.feedback.BuildFeedbackPacket()...)
	if remb := c.remb(); second && remb != nil {
		packets = append(packets, remb)
	}
	return packets, second
}

func (c *Conn) receiverReports(now time.Time) []rtcp.Packet {
	var out []rtcp.Packet
	var r *rtcp.ReceiverReport
	for _, s := range c.sources {
		if !s.stats.fresh || s.section == nil {
			continue
		}
		if r == nil || len(r.Reports) == 31 {
			r = &rtcp.ReceiverReport{SSRC: reporter}
			out = append(out, r)
		}
		r.Reports = append(r.Reports, s.stats.report(s.ssrc, now))
	}
	return out
}

// remb allows a lot to senders that know no better means (draft-alvestrand-
// rmcat-remb-03).
func (c *Conn) remb() rtcp.Packet {
	var ssrcs []uint32
	for _, t := range c.tracks {
		if s := t.section; t.seen && t.Kind == media.Video && s.remb && (!s.twcc || s.extTWCC == 0) {
			ssrcs = append(ssrcs, t.SSRC)
		}
	}
	if ssrcs == nil {
		return nil
	}
	return &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: reporter, Bitrate: generous, SSRCs: ssrcs}
}

// askFor sees to what is asked for again: not what has come meanwhile, and what
// is missing while the receiver is behind. It is called with the connection
// locked.
func (t *track) askFor(now time.Time, behind bool) {
	t.nacks = slices.DeleteFunc(t.nacks, t.arrived.has)
	if behind && t.Retransmits {
		t.nacks = t.arrived.missing(now, t.RoundTrip(), t.nacks)
	}
	t.arrived.mark(now)
}

// due appends what the track asks for. It is called with the connection locked.
func (t *track) due(packets []rtcp.Packet, now time.Time) []rtcp.Packet {
	if len(t.nacks) > 0 {
		slices.SortFunc(t.nacks, func(a, b uint16) int { return int(int16(a - b)) })
		pairs := rtcp.NackPairsFromSequenceNumbers(slices.Compact(t.nacks))
		for part := range slices.Chunk(pairs, maxNackPairs) {
			packets = append(packets, &rtcp.TransportLayerNack{SenderSSRC: reporter, MediaSSRC: t.SSRC, Nacks: part})
			t.sent.nacks++
		}
		t.nacks = t.nacks[:0]
	}
	if t.keyTries > 0 && t.seen { // the request has got there; the recorder asks for more
		t.wantKey = false
	}
	if t.wantKey && !now.Before(t.nextKey) {
		if t.section.pli || !t.section.fir {
			packets = append(packets, &rtcp.PictureLossIndication{SenderSSRC: reporter, MediaSSRC: t.SSRC})
			t.sent.plis++
		} else {
			// A repetition has the number of the request; this one is none once
			// the track sends, since the keyframe may have been sent and lost
			// (RFC 5104 §4.3.1.1).
			if t.keyTries == 0 {
				t.firSeq++
			}
			t.sent.firs++
			packets = append(packets, &rtcp.FullIntraRequest{
				SenderSSRC: reporter, MediaSSRC: t.SSRC,
				FIR: []rtcp.FIREntry{{SSRC: t.SSRC, SequenceNumber: t.firSeq}},
			})
		}
		t.keyTries++
		t.nextKey = now.Add(keyframeRetry)
		t.wantKey = !t.seen && t.keyTries < keyframeTries
	}
	return packets
}
