package recorder

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/recorder/jitter"
	"github.com/roomtape/roomtape/recorder/timeline"
	"github.com/roomtape/roomtape/signaling"
)

// track takes the packets of one track all the way to its recording.
type track struct {
	s   *Session
	in  *signaling.Track
	who *participant

	buf   *jitter.Buffer
	dep   depacket.Depacketizer // nil before the first packet
	clock *timeline.Clock
	place *timeline.Track
	keys  keyframeAsker
	rec   *recording
	lane  *lane // nil before the first packet

	payloadType uint8
	codec       media.Codec
	// nacks is set when the sender answers requests for packets; missing is
	// the memory for one request.
	nacks   bool
	missing []uint16
	// due is when service has something to do though nothing comes, and askDue
	// when attend has: two things, since what is asked of the sender, who may
	// not be there, must not change what becomes of media.
	due, askDue time.Time

	// past is what the depacketizers before dep have counted; foreign and
	// auxiliary are the packets that got into none.
	past               counts
	foreign, auxiliary int64
	// owed is how many packets were lost, and restarted whether the sender began
	// anew, before packets that got into no depacketizer.
	owed      int
	restarted bool
	// timestamp is that of the latest packet of media.
	timestamp uint32
	// counted is what has been added to the counts of lanes before this one.
	counted counts
	// lost and dropped are those that frames have told of.
	lost, dropped int64
	away          withheld

	// keyed is set while a keyframe with which a new file may begin is on its
	// way to the recording, unkeyed when one must come before anything else.
	keyed, unkeyed bool
	// skippedFrames and skippedPackets were dropped and lost since unkeyed is
	// set.
	skippedFrames, skippedPackets int

	// latest is when the latest packet came.
	latest time.Time
	// bytes of media were received, and statusBytes by the last snapshot.
	bytes, statusBytes int64
	width, height      int
	// reported is when losses were logged last, unreported how many since.
	reported   time.Time
	unreported int

	stats   trackStats
	quality quality
}

func (s *Session) newTrack(who *participant, in *signaling.Track, clock *timeline.Clock) *track {
	t := &track{s: s, in: in, who: who, clock: clock}
	if t.away.pauses = len(s.control.pauses); s.paused() {
		t.away.pauses--
	}
	t.place = clock.NewTrack(in.Kind, clockRate(in.Kind))
	t.nacks = in.Retransmits && in.Feedback != nil
	wait := s.cfg.MaxWaitLoss
	if !in.Retransmits {
		wait = min(wait, reorderWait)
	}
	if wait == 0 {
		wait = -1 // to jitter, 0 is the default
	}
	cfg := jitter.Config{MaxWait: wait}
	if in.Kind == media.Video {
		cfg.Begins = t.canBegin
	}
	t.buf = jitter.New(cfg)
	return t
}

// take handles a packet, which it owns from now on.
func (t *track) take(p *media.Packet, now time.Time) {
	t.latest = now
	t.bytes += int64(len(p.Payload))
	t.keys.packet(now)
	t.steady(p)
	if t.place.Settling() && !p.Recovered {
		t.place.Seen(p.Timestamp, max(p.Arrival.Sub(t.s.start), 0))
	}
	begins, stamp := t.in.Kind == media.Video && t.keys.to != nil && t.begins(p), p.Timestamp
	if t.buf.Push(p) != jitter.Kept {
		p.Release()
	} else if begins {
		t.keys.arrived(stamp, now)
	}
	t.service(now)
}

// steady gives a packet that is no media the timestamp of media: its clock may
// be another (RFC 7160), and to the jitter buffer it would be of another flow.
func (t *track) steady(p *media.Packet) {
	if p.PayloadType != t.payloadType || t.dep == nil {
		if _, ok := t.in.Codecs[p.PayloadType]; !ok {
			p.Timestamp = t.timestamp
			return
		}
	}
	t.timestamp = p.Timestamp
}

// service does what is due now, and notes when to come back.
func (t *track) service(now time.Time) {
	for {
		out, ok := t.buf.Pop(now)
		if !ok {
			break
		}
		t.feed(out, now)
	}
	t.collect(now)
	t.due = notBefore(now, t.mediaDue())
	t.s.wake(t.due)
	t.attend(now)
}

// attend asks the sender for what is missing, and notes when to ask again.
func (t *track) attend(now time.Time) {
	if t.nacks {
		t.ask(now)
	}
	var due time.Time
	if t.in.Kind == media.Video {
		due = t.askKeyframe(now)
	}
	if t.nacks {
		due = earliest(due, t.buf.NextNack())
	}
	t.askDue = notBefore(now, due)
	t.s.wake(t.askDue)
}

// ask asks the sender for missing packets.
func (t *track) ask(now time.Time) {
	if !reached(t.buf.NextNack(), now) {
		return
	}
	t.missing = t.buf.Missing(now, t.in.Feedback.RoundTrip(), t.missing[:0])
	if len(t.missing) > 0 {
		t.in.Feedback.Nack(t.missing)
	}
}

// mediaDue tells when something that is waited for is given up.
func (t *track) mediaDue() time.Time {
	due := t.buf.Deadline()
	if d, ok := t.place.Deadline(); ok {
		due = earliest(due, t.s.start.Add(d))
	}
	return due
}

// notBefore gives the time due, or one soon after now when due has passed.
func notBefore(now, due time.Time) time.Time {
	if !due.IsZero() && !due.After(now) {
		return now.Add(minDeadline)
	}
	return due
}

// feed gives a packet in its order to the depacketizer of its codec.
func (t *track) feed(out jitter.Popped, now time.Time) {
	p := out.Packet
	if p.Recovered {
		t.stats.repeated++
	}
	t.keys.popped(p.Timestamp, now)
	if t.dep == nil || p.PayloadType != t.payloadType {
		if !t.change(p.PayloadType, now) {
			t.owed += out.Lost
			t.restarted = t.restarted || out.Restarted
			t.discard(p)
			return
		}
	}
	if out.Restarted || t.restarted {
		t.dep.Restart()
	}
	t.dep.Push(p, t.owed+out.Lost)
	t.owed, t.restarted = 0, false
	t.frames(now)
}

// discard counts a packet that is of no codec that is recorded.
func (t *track) discard(p *media.Packet) {
	if name, ok := t.in.Auxiliary[p.PayloadType]; ok {
		if t.auxiliary++; t.auxiliary == 1 {
			t.s.log.Info("packets beside the media", "participant", t.who.id, "kind", t.in.Kind, "payload_type", p.PayloadType, "format", name)
		}
	} else if t.foreign++; t.foreign == 1 {
		t.s.log.Warn("packets that can't be recorded", "participant", t.who.id, "kind", t.in.Kind,
			"payload_type", p.PayloadType, "codec", t.in.Codecs[p.PayloadType])
	}
	p.Release()
}

// change turns to another payload type, and tells whether it can be recorded.
func (t *track) change(payloadType uint8, now time.Time) bool {
	codec := t.in.Codecs[payloadType]
	if t.dep != nil && codec == t.codec {
		t.payloadType = payloadType
		return true
	}
	if codec.Kind() != t.in.Kind {
		return false
	}
	dep, err := depacket.New(codec, depacket.Config{
		AbsCaptureTime: t.in.AbsCaptureTime, Dependencies: t.in.Dependencies, RED: t.in.RED, Codecs: t.in.Codecs,
		ParameterSets: t.in.ParameterSets[payloadType],
	})
	if err != nil {
		return false
	}
	if t.dep != nil {
		t.drain(now)
		// Codecs of a kind have one clock rate, and go on with its timestamps.
		stats := t.dep.Stats()
		t.past.addDepacket(&stats)
		t.past.dropped += int64(stats.Frames.Dropped)
	}
	t.dep, t.codec, t.payloadType = dep, codec, payloadType
	t.s.log.Info("track sends", "participant", t.who.id, "kind", t.in.Kind, "codec", codec, "stream", t.in.Stream)
	if t.lane == nil {
		t.lane = t.rec.lane(t)
	}
	return true
}

// onlyCodec gives the codec that the sender has no other choice than to use, or
// CodecUnknown.
func (t *track) onlyCodec() media.Codec {
	only := media.CodecUnknown
	for _, c := range t.in.Codecs {
		if c.Kind() != t.in.Kind {
			continue
		}
		if only != media.CodecUnknown && c != only {
			return media.CodecUnknown
		}
		only = c
	}
	return only
}

// drain gives all that depacketizer and timeline hold to the recording.
func (t *track) drain(now time.Time) {
	t.dep.Flush()
	t.frames(now)
	t.place.Decide()
	t.collect(now)
}

// frames moves frames from the depacketizer to the timeline.
func (t *track) frames(now time.Time) {
	for t.dep.Ready() {
		f, _ := t.dep.Next()
		t.stats.frame(&f, now)
		if f.Key && t.in.Kind == media.Video {
			t.keys.keyframe(f.Timestamp, now)
			t.keyed = t.keyed || begins(&f) && reached(t.cutAsk(), now)
		}
		arrival := f.Arrival.Sub(t.s.start)
		// From here on, Arrival is when the frame was complete: the promise
		// about crashes counts from there.
		f.Arrival = now
		t.place.Push(f, max(arrival, 0))
	}
}

// collect moves the frames whose place is decided to the recording.
func (t *track) collect(now time.Time) {
	for elapsed := now.Sub(t.s.start); t.place.Ready(elapsed); {
		p, _ := t.place.Pop(elapsed)
		t.deliver(&p.Frame, max(p.Time, 0), now)
	}
}

// deliver gives a frame to the recording that it belongs to.
func (t *track) deliver(f *depacket.Frame, at time.Duration, now time.Time) {
	t.show(f, at)
	if t.withholds(f, at) || t.skips(f) {
		return
	}
	at = t.lane.order.Least(t.codec, at) // also across the seam of two files
	if t.follows(f, at) {
		t.move(at, now)
	}
	if cut := t.cuts(f, at); cut || t.changes(f) {
		t.rotate(at, now, cut)
	}
	l := t.lane
	if l.private == nil {
		l.private = f.Private
	}
	t.lost += int64(f.LostPackets)
	t.dropped += int64(f.DroppedFrames)
	if l.follow(f, at) {
		t.s.soon(manifestSoon)
		t.tell(f, now)
	}
	t.rec.push(l, held{
		frame: media.Frame{
			Data: f.Data, Time: at, Duration: f.Duration,
			Key: f.Key, Hidden: f.Hidden, Droppable: f.Droppable,
			Width: f.Width, Height: f.Height,
		},
		turn:    l.start,
		private: f.Private,
		packets: f.Packets,
		entered: f.Arrival,
		from:    t.dep,
	}, now)
}

// changes tells whether the frame must not follow the one before in the same
// file.
func (t *track) changes(f *depacket.Frame) bool {
	l := t.lane
	if l.codec != t.codec || l.private != nil && !depacket.Follows(l.codec, l.private, f.Private) {
		return true
	}
	return t.s.cfg.NewFileOnChange && f.Key && len(l.sizes) > 0 && l.sizes[len(l.sizes)-1].differs(f)
}

// tell logs a loss or a change of size.
func (t *track) tell(f *depacket.Frame, now time.Time) {
	if f.Key && f.Width > 0 && (f.Width != t.width || f.Height != t.height) {
		t.width, t.height = f.Width, f.Height
		t.s.log.Info("size", "participant", t.who.id, "codec", t.codec, "width", f.Width, "height", f.Height)
	}
	t.unreported += f.LostPackets
	if t.unreported > 0 && (t.reported.IsZero() || now.Sub(t.reported) >= lossLogInterval) {
		t.s.log.Warn("packets lost", "participant", t.who.id, "kind", t.in.Kind, "packets", t.unreported)
		t.reported, t.unreported = now, 0
	}
}

// end gives all that is still on the way to the recording, and leaves it.
func (t *track) end(now time.Time) {
	t.keys.to = nil
	t.buf.Flush()
	t.service(now)
	if t.dep != nil {
		t.drain(now)
	}
	t.place.Flush()
	t.due, t.askDue = time.Time{}, time.Time{}
	if t.lane != nil {
		t.lane.finish()
		if t.away.any {
			t.comeBack(max(t.latest.Sub(t.s.start), 0))
		}
		t.trailing()
		t.settle()
	} else if n := t.totals(); n.received > 0 {
		n.lost = int64(t.buf.Lost())
		t.s.unplaced(unrecordedEntry(t.who, t.in.Stream, t.in.Kind, media.CodecUnknown, &n, "no codec that is recorded"))
	}
	t.rec.leave(t, now)
	t.rec.pump(now, false)
	t.rec.schedule()
	if t.unreported > 0 {
		t.s.log.Warn("packets lost", "participant", t.who.id, "kind", t.in.Kind, "packets", t.unreported)
	}
}

// trailing adds what was lost and dropped after the last frame.
func (t *track) trailing() {
	lost := int64(t.buf.Lost()) - t.past.recovered - int64(t.dep.Stats().Recovered) - t.lost
	dropped := t.past.dropped + int64(t.dep.Stats().Frames.Dropped) - t.dropped
	if lost <= 0 && dropped <= 0 {
		return
	}
	l := t.lane
	l.n.lost += lost
	l.n.dropped += dropped
	l.gap(gap{at: l.end, duration: max(t.latest.Sub(t.s.start)-l.end, 0), packets: lost, frames: dropped, reason: GapLoss})
}

// totals gives what became of all packets of the track so far, but for those
// that lanes count.
func (t *track) totals() counts {
	n := t.past
	n.dropped = 0
	n.addJitter(t.buf.Stats())
	n.discarded[reasonPayloadType] += t.foreign
	n.discarded[reasonAuxiliary] += t.auxiliary
	if t.dep != nil {
		stats := t.dep.Stats()
		n.addDepacket(&stats)
	}
	return n
}

// current gives the counts of the lane including what the track has not settled.
func (t *track) current() counts {
	n := t.totals()
	n.add(&t.counted, -1)
	lane := t.lane.total()
	n.add(&lane, 1)
	return n
}

// settle adds to the lane what became of packets since the last time. Packets
// whose fate is open will count as received where that is decided.
func (t *track) settle() {
	if t.lane == nil {
		return
	}
	n := t.totals()
	n.add(&t.counted, -1)
	t.counted.add(&n, 1)
	t.lane.n.add(&n, 1)
	n = t.lane.total()
	open := n.pending() - t.lane.queued()
	t.lane.n.received -= open
	t.counted.received -= open
}
