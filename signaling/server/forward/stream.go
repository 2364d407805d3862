package forward

import (
	"math"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/media/dependency"
)

const (
	// window is how far back, in packets, late ones are put in their place.
	window = 1024
	// maxJump is the largest step of sequence numbers that is loss rather than a
	// sender that has begun anew.
	maxJump = 3000
	// maxHeld and holdFor bound how many packets of the next encoding wait for
	// the end of a frame of the one before, and how long.
	maxHeld = 128
	holdFor = 100 * time.Millisecond
	// upWithin is for how long temporal layers wait for a place to come back; then a
	// keyframe is needed.
	upWithin = 2 * time.Second
)

// Packet is one RTP packet, before or after. Payload is shared and is not changed.
type Packet struct {
	Arrival   time.Time
	Sequence  uint16
	Timestamp uint32
	Marker    bool
	Payload   []byte
	// Capture, Dependency and Level are the header extensions abs-capture-time,
	// dependency descriptor and ssrc-audio-level; empty: none. They are not changed
	// either, but a packet may go out with another descriptor.
	Capture, Dependency, Level []byte
	// Description is what the dependency descriptor says, or nil.
	Description *Description
}

// place is what became of one sequence number of an encoding.
type place struct {
	in, out uint16
	state   byte
	kept    cut // by then, and idShift too
	idShift uint16
}

const (
	unknown  byte = iota
	reserved      // it has not come yet
	taken
)

// mapping is how packets of one encoding become the stream's.
type mapping struct {
	source    uint32
	began     bool
	highest   uint16 // of the encoding
	shift     uint16 // out - in, sequence numbers
	timeShift uint32
	first     uint32 // the timestamp that it began with
	late      uint32 // by how much that is late, so that time goes on
	fresh     bool   // nothing of it went out
	last      uint32 // when another followed: the timestamp that went out last
	idShift   uint16
	tl0Shift  uint8
	// frameShift is out - in, frame numbers of dependency descriptors.
	frameShift uint16

	layered bool      // it says which layers its packets are of
	kept    cut       // of those
	since   time.Time // when more temporal layers were wanted than are kept; zero: no more
	waited  bool      // and for too long
	told    bool      // that not all decode targets are sent
	blind   bool      // of a picture not all was understood, the one with this timestamp last
	obscure uint32
	picture uint32 // the timestamp of the newest picture
	left    bool   // a picture was left out, the one with this timestamp last
	leftOut uint32

	places [window]place
}

// Stream makes the packets of a track's encodings one stream. It is used by one
// goroutine at a time.
type Stream struct {
	codec   media.Codec
	current *mapping
	before  *mapping
	started bool
	wanted  Layers

	// What went out last.
	sequence  uint16
	timestamp uint32
	at        time.Time
	whole     bool // the newest packet ended its frame
	id        uint16
	tl0       uint8
	framed    bool   // a frame number has gone out
	frame     uint16 // the newest

	paused bool
	anew   bool // it goes on with a keyframe

	held      []Packet // of heldFrom, which begins with a keyframe
	heldFrom  uint32
	heldSince time.Time

	early     []Packet // of earlyFrom, which is wanted: no keyframe yet
	earlyFrom uint32

	reports map[uint32]report
}

// report is what a sender report says (RFC 3550 §6.4.1).
type report struct {
	ntp uint64
	rtp uint32
}

// maxReports is of how many encodings reports are kept.
const maxReports = 16

// NewStream makes a stream of this codec whose packets begin with this number.
func NewStream(codec media.Codec, sequence uint16) *Stream {
	return &Stream{codec: codec, sequence: sequence - 1, whole: true, wanted: All, reports: map[uint32]report{}}
}

// Current is the encoding, by its SSRC, whose packets go out; ok is false before
// the first.
func (s *Stream) Current() (source uint32, ok bool) {
	if s.current == nil {
		return 0, false
	}
	return s.current.source, true
}

// Follows tells whether it is the encoding with this SSRC whose packets go out, with
// all the layers that are wanted, and no keyframe is needed any more: spatial layers
// come back with one, and temporal ones where the encoder never says that they may.
func (s *Stream) Follows(source uint32) bool {
	m := s.current
	return m != nil && m.source == source && !s.anew && (!m.layered || m.kept.spatial >= s.wanted.Spatial && !m.waited)
}

// Pause stops the stream, or lets it go on with the next keyframe of the encoding
// that is wanted then. What it leaves out is no loss.
func (s *Stream) Pause(on bool) {
	s.paused, s.anew = on, s.started
	s.held, s.early = nil, nil
}

// Report takes a sender report of an encoding, and gives the timestamp of the
// stream that it is about; ok is false when it is not of the current one.
func (s *Stream) Report(source uint32, ntp uint64, rtp uint32) (timestamp uint32, ok bool) {
	if _, known := s.reports[source]; known || len(s.reports) < maxReports {
		s.reports[source] = report{ntp, rtp}
	}
	if s.current == nil || s.current.source != source {
		return 0, false
	}
	return rtp + s.current.timeShift, true
}

// Take takes a packet of an encoding, and appends to out what is to be sent now.
// wanted is the encoding that the subscriber is to get: its next keyframe begins
// it. Packets of others are dropped, but for those that the current one, or the
// one before, has sent again.
func (s *Stream) Take(out []Packet, source uint32, wanted uint32, p Packet) []Packet {
	if s.paused {
		return out
	}
	if s.anew {
		switch {
		case source != wanted:
		case Key(s.codec, p.Payload):
			s.anew = false
			return s.begin(out, source, s.gather(source, p))
		default:
			s.keep(source, p)
		}
		return out
	}
	if len(p.Payload) == 0 && s.current == nil {
		return out
	}
	if len(s.held) > 0 && (s.whole || p.Arrival.Sub(s.heldSince) > holdFor || s.heldFrom != wanted) {
		out = s.release(out, wanted)
	}
	switch {
	case s.current != nil && source == s.current.source:
		if source == wanted {
			s.early = nil
		}
		out = s.put(out, s.current, p)
		if len(s.held) > 0 && s.whole {
			out = s.release(out, wanted)
		}
		return out
	case source == wanted && len(s.held) > 0:
		if len(s.held) < maxHeld {
			s.held = append(s.held, p)
			return out
		}
		out = s.release(out, wanted)
		return s.put(out, s.current, p)
	case source == wanted && Key(s.codec, p.Payload):
		list := s.gather(source, p)
		if !s.whole {
			s.held, s.heldFrom, s.heldSince = list, source, p.Arrival
			return out
		}
		return s.begin(out, source, list)
	case source == wanted:
		s.keep(source, p)
	}
	if s.before != nil && source == s.before.source {
		return s.put(out, s.before, p)
	}
	return out
}

// keep remembers a packet of the encoding that is wanted, and whose keyframe has not
// come: it may have overtaken the beginning of that.
func (s *Stream) keep(source uint32, p Packet) {
	if s.earlyFrom != source {
		s.early, s.earlyFrom = nil, source
	}
	if len(s.early) >= 2*maxHeld {
		s.early = slices.Delete(s.early, 0, maxHeld)
	}
	s.early = append(s.early, p)
}

// gather gives the first packet of a keyframe and those that have overtaken it.
func (s *Stream) gather(source uint32, first Packet) []Packet {
	list := []Packet{first}
	for _, p := range s.early {
		if ahead := int16(p.Sequence - first.Sequence); s.earlyFrom == source && ahead > 0 && ahead < maxHeld {
			list = append(list, p)
		}
	}
	s.early = nil
	return list
}

// begin makes an encoding the current one, whose first packets these are.
func (s *Stream) begin(out []Packet, source uint32, list []Packet) []Packet {
	s.change(source, list[0])
	for _, p := range list {
		out = s.put(out, s.current, p)
	}
	return out
}

// release lets the encoding begin that was held back.
func (s *Stream) release(out []Packet, wanted uint32) []Packet {
	held := s.held
	s.held = nil
	if s.heldFrom != wanted {
		return out // another one is wanted by now
	}
	return s.begin(out, s.heldFrom, held)
}

// change makes an encoding the current one. Its first packet is p.
func (s *Stream) change(source uint32, p Packet) {
	m := &mapping{source: source, fresh: true, kept: cutAt(All)}
	next := s.sequence + 1
	if s.started && !s.whole {
		// What has gone out of the last frame is not all of it, and must not be
		// taken for it: the missing number says so.
		next++
	}
	m.shift = next - p.Sequence
	m.highest = p.Sequence - 1
	if s.started {
		at, late := s.instant(source, p)
		m.timeShift, m.first, m.late = at-late-p.Timestamp, p.Timestamp, late
		info := look(s.codec, p.Payload)
		if info.idSize > 0 {
			m.idShift = s.id + 1 - info.getID(p.Payload)
		}
		if info.tl0 > 0 && info.tl0 < len(p.Payload) {
			m.tl0Shift = s.tl0 + 1 - p.Payload[info.tl0]
		}
		if n, ok := dependency.Number(p.Dependency); ok && s.framed && int16(n-s.frame) <= 0 {
			m.frameShift = s.frame + 1 - n // they must not go back; a sender may number all its encodings' frames together
		}
	}
	if s.current != nil {
		s.current.last = s.timestamp
	}
	s.before, s.current = s.current, m
}

// instant is when, on the stream's clock, the first frame of another encoding is,
// or of the same one after a pause: by what the sender says of both, else by the
// time gone by. It is always after
// what went out before, and late by that much.
func (s *Stream) instant(source uint32, p Packet) (at, late uint32) {
	rate := float64(s.codec.ClockRate())
	gone := p.Arrival.Sub(s.at).Seconds()
	at = s.timestamp + uint32(int64(max(0, min(gone, 3600))*rate))
	first := s.timestamp + uint32(rate/1000)
	a, okA := s.reports[s.current.source]
	b, okB := s.reports[source]
	exact, between := p.Timestamp+s.current.timeShift, 0.0
	same := s.current.source == source // it was paused, or its sender has begun anew
	if okA && okB && !same {
		between = float64(int64(b.ntp-a.ntp)) / (1 << 32)
		exact = a.rtp + s.current.timeShift + uint32(int64(between*rate)) + (p.Timestamp - b.rtp)
	}
	if same || okA && okB {
		// A stranger's words: not to be believed when far from the truth.
		if d := int64(int32(exact - at)); float64(max(d, -d)) < rate && math.Abs(between) < 3600 {
			if int32(exact-first) < 0 {
				return first, first - exact
			}
			return exact, 0
		}
	}
	if int32(at-first) < 0 {
		at = first
	}
	return at, 0
}

// catchUp is how much of the time that has gone by an encoding that began late makes
// up for, as its inverse.
const catchUp = 4

// out gives a timestamp of the encoding as it goes out. What began late goes a little
// faster until it is not late any more.
func (m *mapping) out(timestamp uint32) uint32 {
	gone := max(0, int32(timestamp-m.first)) / catchUp
	return timestamp + m.timeShift + uint32(max(0, int32(m.late)-gone))
}

// put sends a packet of an encoding under its number in the stream. A late one
// takes the place that was kept for it, once.
func (s *Stream) put(out []Packet, m *mapping, p Packet) []Packet {
	ahead := int(int16(p.Sequence - m.highest))
	switch {
	case m == s.before && ahead > 0:
		return out // its time is over
	case ahead > maxJump, ahead < -maxJump:
		if !m.began || m == s.before || !Key(s.codec, p.Payload) {
			return out
		}
		s.change(m.source, p)
		return s.put(out, s.current, p)
	case ahead <= 0:
		at := &m.places[p.Sequence%window]
		if at.state != reserved || at.in != p.Sequence {
			return out
		}
		if m == s.before && int32(m.out(p.Timestamp)-m.last) > 0 {
			return out // of a frame in whose place the other encoding has begun
		}
		at.state = taken
		info := m.look(s.codec, p)
		if len(p.Payload) > 0 && info.layered && !at.kept.keeps(info.layers) {
			// Its number is missed, and says that there is nothing.
			p.Payload, p.Marker, p.Capture, p.Dependency = []byte{}, false, nil, nil
		}
		p.Marker = p.Marker || info.last(at.kept)
		q := s.rewritten(m, p, at)
		if m == s.current {
			s.note(m, q)
		}
		return append(out, q)
	}
	for n := m.highest + 1; n != p.Sequence; n++ {
		m.places[n%window] = place{in: n, out: n + m.shift, state: reserved, kept: m.kept, idShift: m.idShift}
	}
	m.highest, m.began = p.Sequence, true
	if gone := int32(p.Timestamp - m.first); gone > 10*catchUp*int32(s.codec.ClockRate()) {
		m.late = 0 // not again when timestamps have wrapped
	}
	info := m.look(s.codec, p)
	s.settle(m, info, p)
	if len(p.Payload) == 0 || info.layered && !m.kept.keeps(info.layers) {
		s.leave(m, info, p) // or it probes the bandwidth
		return out
	}
	p.Marker = p.Marker || info.last(m.kept)
	number := p.Sequence + m.shift
	m.tell(p)
	at := &m.places[p.Sequence%window]
	*at = place{in: p.Sequence, out: number, state: taken, kept: m.kept, idShift: m.idShift}
	q := s.rewritten(m, p, at)
	s.started, s.sequence, s.at = true, number, p.Arrival
	s.note(m, q)
	return append(out, q)
}

// note remembers what has gone out, for what is to follow it.
func (s *Stream) note(m *mapping, q Packet) {
	if q.Sequence == s.sequence {
		s.whole = q.Marker || s.codec.Kind() == media.Audio
	}
	if n, ok := dependency.Number(q.Dependency); ok && (!s.framed || int16(n-s.frame) > 0) {
		s.framed, s.frame = true, n
	}
	if int32(q.Timestamp-s.timestamp) <= 0 && !m.fresh || len(q.Payload) == 0 {
		return
	}
	s.timestamp, m.fresh = q.Timestamp, false
	info := look(s.codec, q.Payload)
	if info.idSize > 0 {
		s.id = info.getID(q.Payload)
	}
	if info.tl0 > 0 && info.tl0 < len(q.Payload) {
		s.tl0 = q.Payload[info.tl0]
	}
}

// rewritten gives the packet as it goes out in its place.
func (s *Stream) rewritten(m *mapping, p Packet, at *place) Packet {
	p.Sequence = at.out
	p.Timestamp = m.out(p.Timestamp)
	info := look(s.codec, p.Payload)
	id, tl0 := info.idSize > 0 && at.idShift != 0, info.tl0 > 0 && info.tl0 < len(p.Payload) && m.tl0Shift != 0
	if id || tl0 {
		b := append([]byte(nil), p.Payload...)
		if id {
			info.setID(b, info.getID(b)+at.idShift)
		}
		if tl0 {
			b[info.tl0] += m.tl0Shift
		}
		p.Payload = b
	}
	p.Dependency = m.describe(p, at.kept)
	return p
}
