package peer

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/pion/transport/v4/packetio"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// source is what one SSRC sends. Its fields are guarded by the connection's
// lock.
type source struct {
	ssrc uint32
	// What it is: a track, a repair flow (original is set), or neither yet.
	track    *track
	section  *section
	original uint32
	rid      string
	early    []*media.Packet // in case neither is known
	stats    reception
}

// forget gives up what was kept in case.
func (s *source) forget() {
	for _, p := range s.early {
		p.Release()
	}
	s.early = nil
}

// buffer is pion's SettingEngine.BufferFactory. SRTP calls it once for each
// source, and then writes each decrypted packet of the source to it, on the one
// goroutine that decrypts.
func (c *Conn) buffer(kind packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
	if kind == packetio.RTCPBufferPacket {
		return rtcpSink{c: c, ssrc: ssrc}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return rtpSink{c: c, s: c.source(ssrc)}
}

// source is called locked. It gives nil beyond the limit.
func (c *Conn) source(ssrc uint32) *source {
	s := c.sources[ssrc]
	if s == nil && !c.closed {
		if len(c.sources) >= MaxSources {
			c.fail(errSources)
			return nil
		}
		s = &source{ssrc: ssrc}
		c.sources[ssrc] = s
	}
	return s
}

// ended is what pion reads from a sink: nothing. Whoever tries ends at once, so
// no goroutine ever waits for packets that have gone another way.
type ended struct{}

func (ended) Read([]byte) (int, error) { return 0, io.EOF }
func (ended) Close() error             { return nil }

type rtpSink struct {
	ended
	c *Conn
	s *source
}

// Write takes a decrypted RTP packet. It does not keep b, and never fails.
func (w rtpSink) Write(b []byte) (int, error) {
	if w.s == nil {
		return len(b), nil
	}
	p, err := media.NewPacket(b, w.c.factory.arrival(key(b), time.Second))
	if err != nil {
		return len(b), nil //nolint:nilerr // what is no RTP packet is dropped
	}
	w.c.mu.Lock()
	w.c.receive(w.s, p)
	w.c.mu.Unlock()
	return len(b), nil
}

// receive takes over p. It is called locked.
func (c *Conn) receive(s *source, p *media.Packet) {
	if c.closed {
		p.Release()
		return
	}
	if s.section == nil && s.track == nil {
		c.identify(s, p)
	}
	if s.section != nil {
		if id := s.section.extTWCC; id != 0 {
			if ext := p.Extension(id); len(ext) >= 2 {
				c.feedback.Record(s.ssrc, binary.BigEndian.Uint16(ext), p.Arrival.Sub(c.epoch).Microseconds())
			}
		}
		s.stats.arrive(p, p.Arrival.Sub(c.epoch), s.clockRate(p.PayloadType))
	}
	switch {
	case s.track != nil:
		c.deliver(s.track, p)
	case s.original != 0:
		c.repair(s, p)
	case len(s.early) < MaxEarlyPackets:
		s.early = append(s.early, p)
	default:
		c.dropped++
		p.Release()
	}
}

func (s *source) clockRate(pt uint8) uint32 {
	if original, ok := s.section.apt[pt]; ok {
		pt = original
	}
	return s.section.codecs[pt].ClockRate()
}

// deliver is called locked.
func (c *Conn) deliver(t *track, p *media.Packet) {
	t.seen = true
	t.latest = p.Arrival
	t.arrived.note(p.SequenceNumber)
	c.start(t, p.Arrival)
	c.emit(signaling.Event{Kind: signaling.PacketArrived, Time: p.Arrival, Track: &t.Track, Packet: p})
}

// repair unwraps a retransmission (RFC 4588 §4): the payload begins with the
// original sequence number. It is called locked.
func (c *Conn) repair(s *source, p *media.Packet) {
	pt, ok := s.section.apt[p.PayloadType]
	original := c.sources[s.original]
	if !ok || len(p.Payload) < 2 || original == nil || original.track == nil {
		p.Release() // most of these are empty: they probe the bandwidth
		return
	}
	p.SequenceNumber = binary.BigEndian.Uint16(p.Payload)
	p.Payload = p.Payload[2:]
	p.PayloadType, p.SSRC, p.Recovered = pt, s.original, true
	c.deliver(original.track, p)
}

type rtcpSink struct {
	ended
	c    *Conn
	ssrc uint32
}

// Write takes one decrypted RTCP packet (not a compound) that concerns ssrc.
func (w rtcpSink) Write(b []byte) (int, error) {
	const senderReport, goodbye = 200, 203
	if len(b) < 8 {
		return len(b), nil
	}
	if out := w.c.outlets.Load(); out != nil {
		out.heard(b, w.ssrc, time.Now(), time.Duration(w.c.roundTrip.Load()))
	}
	if w.c.feed != nil {
		w.c.feed.heard(b, w.ssrc, time.Now())
	}
	// An older one of the same source must not be taken for this one.
	now := w.c.factory.arrival(controlKey(w.ssrc), 2*readEvery)
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	s := w.c.sources[w.ssrc]
	if s == nil || w.c.closed {
		return len(b), nil
	}
	switch b[1] {
	case senderReport:
		if len(b) < 28 || binary.BigEndian.Uint32(b[4:]) != w.ssrc {
			break // it reports on somebody, or is somebody's
		}
		ntp, rtp := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])
		s.stats.reported(ntp, now)
		if t := s.track; t != nil {
			w.c.start(t, now)
			w.c.emit(signaling.Event{
				Kind: signaling.Reported, Time: now, Track: &t.Track,
				Report: signaling.SenderReport{NTP: ntp, RTP: rtp},
			})
		}
	case goodbye:
		for i := range int(b[0] & 0x1f) {
			if at := 4 + 4*i; at+4 <= len(b) && binary.BigEndian.Uint32(b[at:]) == w.ssrc && s.track != nil {
				w.c.end(s.track, now)
			}
		}
	}
	return len(b), nil
}
