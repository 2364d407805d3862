package dump

import (
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
)

// A sender may change its address in the middle of a call, or its receiver may:
// a NAT forgets a binding, a phone leaves the Wi-Fi, ICE takes another pair. The
// packets go on under the same SSRC, with the numbers that come next. Then a
// stream goes on in another, and the two are one. Two senders may also have
// chosen the same SSRC, and one packet may be captured on both sides of a NAT:
// those streams run side by side, and stay apart.

const (
	// maxSkip is the largest step in sequence numbers (RFC 3550 appendix A.1),
	// maxEarly how many packets of the new address may overtake the last ones of
	// the old.
	maxSkip  = 3000
	maxEarly = 16
	// maxTimeSkip is how far timestamps may be off from the time that passed, in
	// ticks of the fastest clock.
	maxTimeSkip = 10 * 90000
	// overlap is how long after the first packet of the new address one of the
	// old may come.
	overlap = 2 * time.Second
	// fewSwitches is how many packets come, at least, for each time that the
	// packets of one flow change their way.
	fewSwitches = 50
	// maxWays is how many streams of one SSRC are compared.
	maxWays = 16
)

// flow is what streams share that may be one.
type flow struct {
	latest   *stream // that of the packet before
	switches int     // how often it changed
}

// see notes that a packet of s has come.
func (f *flow) see(s *stream) {
	if f.latest != s {
		f.latest = s
		f.switches++
	}
}

// continued finds the stream that a new one goes on from, of which p is the
// first packet.
func (v *survey) continued(s *stream, p *media.Packet, at time.Time) {
	if !s.key.from.IsValid() {
		return
	}
	ways := v.ways[s.key.ssrc]
	for _, o := range ways {
		if o.goesOn(p, at) && (s.before == nil || o.last.After(s.before.last)) {
			s.before = o
		}
	}
	if len(ways) < maxWays {
		v.ways[s.key.ssrc] = append(ways, s)
	}
	if o := s.before; o != nil {
		if o.flow == nil {
			o.flow = &flow{latest: o}
		}
		s.flow = o.flow
	}
}

// goesOn tells whether p may be the packet that follows those of s.
func (s *stream) goesOn(p *media.Packet, at time.Time) bool {
	known := func(y *payload) bool { return y.pt == p.PayloadType }
	if s.packets == 0 || !slices.ContainsFunc(s.payloads, known) {
		return false
	}
	elapsed := at.Sub(s.last)
	switch d := int16(p.SequenceNumber - s.sequence); {
	case d > maxSkip, d < -maxEarly, d <= 0 && elapsed > overlap:
		return false
	}
	passed := int64(max(elapsed, 0).Seconds() * 90000)
	step := int64(int32(p.Timestamp - s.timestamp))
	return step > -90000 && step < passed+maxTimeSkip
}

// root gives the stream that s is part of, and nil for nil.
func (s *stream) root() *stream {
	for s != nil && s.into != nil {
		s = s.into
	}
	return s
}

// secret is the key of the stream whose packets an SRTP context has seen, which
// counts their numbers.
func (s *stream) secret() streamKey {
	for s.before != nil {
		s = s.before
	}
	return s.key
}

// join makes one stream of those that go on in each other.
func (v *survey) join() {
	for _, s := range v.streams {
		if s.before == nil {
			continue
		}
		o := s.before.root()
		if o.last.Sub(s.first) > overlap && int64(s.flow.switches) > 2+min(o.packets, s.packets)/fewSwitches {
			s.before = nil
			continue
		}
		o.absorb(s)
	}
	v.streams = slices.DeleteFunc(v.streams, func(s *stream) bool { return s.into != nil })
}

// absorb takes in what is known of a stream that is the same.
func (s *stream) absorb(o *stream) {
	o.into = s
	s.moved = append(s.moved, o.key)
	s.packets += o.packets
	s.span += o.span
	s.frames = s.frames || o.frames
	if o.first.Before(s.first) {
		s.first = o.first
	}
	if o.last.After(s.last) {
		s.last = o.last
	}
	for _, y := range o.payloads {
		i := slices.IndexFunc(s.payloads, func(x *payload) bool { return x.pt == y.pt })
		switch {
		case i < 0 && len(s.payloads) < maxPayloadTypes:
			s.payloads = append(s.payloads, y)
		case i >= 0:
			x := s.payloads[i]
			x.packets += y.packets
			if y.evidence.packets > x.evidence.packets {
				x.evidence = y.evidence
			}
		}
	}
}

// sameHosts tells whether packets of a way like k's are between the hosts of s.
func (s *stream) sameHosts(k streamKey) bool {
	return sameHosts(s.key, k) || slices.ContainsFunc(s.moved, func(m streamKey) bool { return sameHosts(m, k) })
}
