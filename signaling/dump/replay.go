package dump

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// playback is where the second pass is in a stream.
type playback struct {
	track     *signaling.Track
	packets   int64 // read
	ended     bool
	started   bool
	begun     bool
	ticks     int64
	timestamp uint32
	latest    time.Time
}

// replay is the second pass over a dump.
type replay struct {
	v       *survey
	feeds   []*feed
	base    time.Time // of files without times
	now     time.Time
	pending []signaling.Event
	given   int       // of pending
	look    time.Time // when retire looks again
	live    []*person // in the order of joining
	bySSRC  map[uint32][]*stream
	over    bool
	damage  error
}

// feed is one file of it, with the record that comes next.
type feed struct {
	number int
	facts  *fileFacts
	src    source
	file   io.Closer
	d      datagram
	stream *stream // d's, when it is RTP
	packet *media.Packet
	at     time.Time
	done   bool
}

func newReplay(v *survey, files []string, opener opener) (*replay, error) {
	r := &replay{v: v, base: v.start, bySSRC: map[uint32][]*stream{}}
	if r.base.IsZero() {
		r.base = time.Unix(0, 0).UTC()
	}
	r.now = r.base
	if v.cipher != nil { // the state of the first pass is that of the end
		v.cipher, _ = newCipher(v.cfg.SRTPKey)
	}
	v.recent = nil
	for _, s := range v.streams {
		if s.kind != media.KindUnknown {
			r.bySSRC[s.key.ssrc] = append(r.bySSRC[s.key.ssrc], s)
			s.play.track = v.track(s)
		}
	}
	for i, name := range files {
		f, err := opener(name)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		src, err := openSource(name, f)
		r.feeds = append(r.feeds, &feed{number: i, facts: v.files[i], src: src, file: f})
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

// track gives the room's track for a stream.
func (v *survey) track(s *stream) *signaling.Track {
	t := &signaling.Track{
		Participant: s.owner.id, Connection: s.owner.connection, SSRC: s.key.ssrc,
		Kind: s.kind, Codecs: s.codecs, RED: s.red,
		AbsCaptureTime: cmp.Or(v.given.captureTime, v.dump.captureTime),
		Dependencies:   cmp.Or(v.given.dependencies, v.dump.dependencies),
		ParameterSets:  v.dump.sets.Of(s.codecs),
	}
	if given := v.given.sets.Of(s.codecs); given != nil {
		t.ParameterSets = given
	}
	for _, y := range s.payloads {
		if _, ok := s.codecs[y.pt]; !ok && y.format.auxiliary() {
			if t.Auxiliary == nil {
				t.Auxiliary = map[uint8]string{}
			}
			t.Auxiliary[y.pt] = y.format.Name
		}
	}
	// Those at the same time of one kind are streams of their own: a camera
	// and a screen.
	n := 1
	for _, o := range s.owner.streams {
		if o == s {
			break
		}
		if o.kind == s.kind && o.overlaps(s) {
			n++
		}
	}
	if n > 1 {
		t.Stream = fmt.Sprint(n)
		t.ID = t.Stream
	}
	return t
}

func (r *replay) summary() Summary { return r.v.summary() }

func (r *replay) close() error {
	var err error
	for _, f := range r.feeds {
		if f.packet != nil {
			f.packet.Release()
			f.packet = nil
		}
		f.done = true
		if f.file != nil {
			err = errors.Join(err, f.file.Close())
			f.file = nil
		}
	}
	for _, e := range r.pending[r.given:] {
		if e.Packet != nil {
			e.Packet.Release()
		}
	}
	r.pending, r.given = nil, 0
	return err
}

func (r *replay) event(ctx context.Context) (signaling.Event, error) {
	for r.given == len(r.pending) {
		if r.over {
			if r.damage != nil {
				return signaling.Event{}, r.damage
			}
			return signaling.Event{}, io.EOF
		}
		if err := r.step(ctx); err != nil {
			return signaling.Event{}, err
		}
	}
	e := r.pending[r.given]
	r.given++
	return e, nil
}

// step takes the earliest record there is.
func (r *replay) step(ctx context.Context) error {
	r.pending, r.given = r.pending[:0], 0
	var first *feed
	for _, f := range r.feeds {
		if !f.done && f.packet == nil && f.d.data == nil {
			if err := r.fill(ctx, f); err != nil {
				return err
			}
		}
		if !f.done && (first == nil || f.at.Before(first.at)) {
			first = f
		}
	}
	if first == nil {
		r.end()
		return nil
	}
	if first.at.After(r.now) {
		r.now = first.at
	}
	r.retire()
	if first.packet != nil {
		r.deliver(first.stream, first.packet)
	} else {
		r.control(first)
	}
	first.packet, first.d.data = nil, nil
	return nil
}

// fill reads on to the next record that is of use.
func (r *replay) fill(ctx context.Context, f *feed) error {
	for n := 1; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := f.src.next(&f.d)
		if err != nil {
			f.done, f.d.data = true, nil
			if f.facts.partial && (errors.Is(err, io.EOF) || errors.Is(err, ErrDamaged)) {
				var damage error
				if !errors.Is(err, io.EOF) {
					damage = err
				}
				if err := r.foreseen(f, damage); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if !errors.Is(err, ErrDamaged) {
				return err
			}
			if r.damage == nil {
				r.damage = err
			}
			return nil
		}
		if f.facts.partial {
			if err := r.foresaw(f); err != nil {
				return err
			}
		}
		if f.d.other != "" {
			continue
		}
		switch classify(f.d.data) {
		case isRTP:
			if r.packet(f) {
				return nil
			}
		case isRTCP:
			data, ok := r.v.cipher.rtcp(keyOf(&f.d, f.number, 0), f.d.data)
			if !ok {
				continue
			}
			f.d.data = data
			if r.v.cipher != nil { // which may decrypt another file's packet first
				f.d.data = slices.Clone(data)
			}
			if !f.facts.rtpTime {
				f.at = later(f.at, f.d.at)
			} else if f.at.IsZero() {
				f.at = r.base
			}
			return nil
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// packet makes f's datagram its packet, if it is one of a track.
func (r *replay) packet(f *feed) bool {
	k := keyOf(&f.d, f.number, binary.BigEndian.Uint32(f.d.data[8:]))
	s := r.v.find(k).root()
	if s == nil || s.kind == media.KindUnknown && s.original == nil {
		return false
	}
	data, ok := r.v.cipher.rtp(s.key, f.d.data)
	if !ok {
		return false
	}
	p, err := media.NewPacket(data, time.Time{})
	if err != nil {
		return false
	}
	f.at = r.timeOf(f, s, p)
	s.play.packets++
	s.play.latest = f.at
	if s.original != nil && !unwrap(s, p) {
		p.Release()
		return false
	}
	if s.original != nil {
		s = s.original
		if _, ok := s.codecs[p.PayloadType]; !ok {
			p.Release()
			return false
		}
	}
	f.stream, f.packet = s, p
	return true
}

// timeOf gives the time of a packet, which never falls within a file.
func (r *replay) timeOf(f *feed, s *stream, p *media.Packet) time.Time {
	if !f.facts.rtpTime {
		return later(f.at, f.d.at)
	}
	y := &s.play
	if !y.begun {
		y.begun, y.timestamp = true, p.Timestamp
	}
	y.ticks += steady(p.Timestamp - y.timestamp)
	y.timestamp = p.Timestamp
	start := r.base
	if !f.facts.start.IsZero() {
		start = f.facts.start
	}
	return later(f.at, start.Add(ticks(y.ticks, s.clockRate())))
}

// unwrap makes a retransmission the packet that it repeats (RFC 4588 §4).
func unwrap(s *stream, p *media.Packet) bool {
	if p.PayloadType != s.main.pt || len(p.Payload) < 2 {
		return false
	}
	p.SequenceNumber = binary.BigEndian.Uint16(p.Payload)
	p.Payload = p.Payload[2:]
	p.SSRC, p.Recovered = s.original.key.ssrc, true
	p.PayloadType = s.original.main.pt
	if s.main.format.HasOriginal {
		p.PayloadType = s.main.format.Original
	}
	return true
}

func (r *replay) emit(e signaling.Event) {
	e.Time = r.now
	r.pending = append(r.pending, e)
}

func (r *replay) deliver(s *stream, p *media.Packet) {
	r.begin(s)
	if s.play.ended {
		p.Release()
		return
	}
	p.Arrival = r.now
	r.emit(signaling.Event{Kind: signaling.PacketArrived, Track: s.play.track, Packet: p})
}

// together is how far apart tracks of a participant may begin and still be
// announced together, as live ones are.
const together = 10 * time.Second

// begin tells of the participant and the track, if it hasn't been told.
func (r *replay) begin(s *stream) {
	if s.play.started {
		return
	}
	p := s.owner
	if !p.joined {
		p.joined = true
		r.live = append(r.live, p)
		r.emit(signaling.Event{Kind: signaling.Joined, Participant: p.id})
	}
	for _, o := range p.streams {
		if o == s || !o.play.started && (r.v.files[o.file].rtpTime || o.first.Sub(r.now) < together) {
			o.play.started = true
			r.emit(signaling.Event{Kind: signaling.TrackStarted, Track: o.play.track})
		}
	}
}

// control tells of sender reports, and of ends.
func (r *replay) control(f *feed) {
	control{
		report: func(ssrc uint32, report signaling.SenderReport) {
			if s := r.reporter(f, ssrc); s != nil && s.play.started && !s.play.ended {
				r.emit(signaling.Event{Kind: signaling.Reported, Track: s.play.track, Report: report})
			}
		},
		bye: func(ssrc uint32) {
			// One that goes on has not left; packets may also be late.
			if s := r.reporter(f, ssrc); s != nil && s.ended() {
				r.finish(s)
			}
		},
	}.read(f.d.data)
}

// reporter gives the stream that a report is about: RTCP may go between other
// ports than RTP.
func (r *replay) reporter(f *feed, ssrc uint32) *stream {
	var found *stream
	for _, s := range r.bySSRC[ssrc] {
		k := keyOf(&f.d, f.number, ssrc)
		if k == s.key || slices.Contains(s.moved, k) {
			return s
		}
		if found == nil && k.file == s.key.file && s.sameHosts(k) {
			found = s
		}
	}
	return found
}

// finish ends a track, and lets its participant leave with the last.
func (r *replay) finish(s *stream) {
	if s.play.ended || !s.play.started {
		return
	}
	s.play.ended = true
	r.emit(signaling.Event{Kind: signaling.TrackEnded, Track: s.play.track})
	p := s.owner
	if slices.ContainsFunc(p.streams, func(o *stream) bool { return !o.play.ended }) {
		return
	}
	r.live = slices.DeleteFunc(r.live, func(o *person) bool { return o == p })
	r.emit(signaling.Event{Kind: signaling.Left, Participant: p.id})
}

// silentFor is how long a track that sends no more goes on, so that a late
// sender report finds it.
const silentFor = 10 * time.Second

// retire ends the tracks of which no more will come.
func (r *replay) retire() {
	if r.now.Before(r.look) {
		return
	}
	r.look = r.now.Add(silentFor / 10)
	for _, p := range slices.Clone(r.live) {
		for _, s := range p.streams {
			if s.ended() && r.now.Sub(s.play.latest) > silentFor {
				r.finish(s)
			}
		}
	}
}

// end ends what is still there.
func (r *replay) end() {
	for _, p := range slices.Clone(r.live) {
		for _, s := range p.streams {
			r.finish(s)
			s.play.ended = true // those that never began too
		}
		if i := slices.Index(r.live, p); i >= 0 {
			r.live = slices.Delete(r.live, i, i+1)
			r.emit(signaling.Event{Kind: signaling.Left, Participant: p.id})
		}
	}
	r.over = true
}
