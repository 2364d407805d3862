package recorder

import (
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// Totals counts what has become of media, in the terms of W3C webrtc-stats. None
// of it ever falls.
type Totals struct {
	// Packets were received, with Bytes of payload; Duplicate and Late are those
	// of them that came twice, or after they had been given up.
	Packets, Bytes, Duplicate, Late int64
	// Lost is how many packets did not come by themselves (RFC 3550 §6.4.1), as
	// far as the connection knows; Recovered how many came since they were sent
	// again, and Missing how many never came in time.
	Lost, Recovered, Missing int64
	// Frames were complete and could be decoded, KeyFrames of them by
	// themselves; Dropped could not be.
	Frames, KeyFrames, Dropped int64
	// Waited is the sum of the times that Frames spent between the arrival of
	// their first packet and their coming out of the jitter buffer.
	Waited time.Duration
	// Freezes and Pauses count the times that the picture stood still for
	// longer than three frames, or a frame and 150 ms, and for over 5 s;
	// FreezeTime and PauseTime are how long it did, both by the recording's
	// own clock.
	Freezes, Pauses       int64
	FreezeTime, PauseTime time.Duration
	// Nacks, PLIs and FIRs count the feedback packets that were sent.
	Nacks, PLIs, FIRs int64
}

func (t *Totals) add(o *Totals) {
	t.Packets += o.Packets
	t.Bytes += o.Bytes
	t.Duplicate += o.Duplicate
	t.Late += o.Late
	t.Lost += o.Lost
	t.Recovered += o.Recovered
	t.Missing += o.Missing
	t.Frames += o.Frames
	t.KeyFrames += o.KeyFrames
	t.Dropped += o.Dropped
	t.Waited += o.Waited
	t.Freezes += o.Freezes
	t.Pauses += o.Pauses
	t.FreezeTime += o.FreezeTime
	t.PauseTime += o.PauseTime
	t.Nacks += o.Nacks
	t.PLIs += o.PLIs
	t.FIRs += o.FIRs
}

// ConnectionStatus is what is known of one connection to a participant.
type ConnectionStatus struct {
	// Number is signaling.Track's.
	Number int
	// Observed is set where the connection measures: in a dump it does not.
	// RoundTrip is 0 when it is not known, ICEState and the candidates are
	// signaling.Observation's.
	Observed                                  bool
	RoundTrip                                 time.Duration
	ICEState                                  string
	LocalCandidate, RemoteCandidate, Protocol string
	// AVOffset is how much too early the picture is in the recording, compared
	// with the sound, by the latest that the sender's reports tell. AVKnown is
	// set when they do.
	AVOffset time.Duration
	AVKnown  bool
}

// shownFrames is how many frames the mean of W3C's freezes goes over.
const shownFrames = 30

// freezeMore is how much longer than the mean a frame must stand at least to be a
// freeze.
const freezeMore = 150 * time.Millisecond

// trackStats counts what only statistics want to know of a track.
type trackStats struct {
	frames, keys   int64
	repeated       int64 // packets that were popped and not on time
	waited         time.Duration
	freezes, pause struct {
		n    int64
		time time.Duration
	}
	// steps are how long the latest frames stood, next is the place of the next
	// one, sum their sum, and shown the place of the newest frame.
	steps   [shownFrames]time.Duration
	next, n int
	sum     time.Duration
	shown   time.Duration
	any     bool
	// lost is the most that the connection has ever known.
	lost int64
	// then is how many frames there were at the last snapshot.
	then int64
}

// frame counts a frame that has come out of the depacketizer.
func (s *trackStats) frame(f *depacket.Frame, now time.Time) {
	s.frames++
	if f.Key {
		s.keys++
	}
	s.waited += max(now.Sub(f.Arrival), 0)
}

// show notes that a picture is presented at a time, and gives for how long the
// one before it stood.
func (s *trackStats) show(at time.Duration) time.Duration {
	step := at - s.shown
	if !s.any {
		s.any, s.shown = true, at
		return 0
	}
	if step <= 0 {
		return 0
	}
	s.shown = at
	if s.n > 0 {
		switch mean := s.sum / time.Duration(s.n); {
		case step > videoPause:
			s.pause.n++
			s.pause.time += step
			return step
		case step >= max(3*mean, mean+freezeMore):
			s.freezes.n++
			s.freezes.time += step
		}
	}
	s.sum += step - s.steps[s.next]
	s.steps[s.next] = step
	s.next = (s.next + 1) % shownFrames
	s.n = min(s.n+1, shownFrames)
	return step
}

// missing is how many packets never came in time, nor what makes up for them.
func (t *track) missingPackets() int64 {
	n := int64(t.buf.Lost()) - t.past.recovered
	if t.dep != nil {
		n -= int64(t.dep.Stats().Recovered)
	}
	return max(n, 0)
}

// observe gives all that is counted of the track.
func (t *track) observe() (n Totals, o signaling.Observation, observed bool) {
	stats := t.buf.Stats()
	n = Totals{
		Packets: int64(stats.Received), Bytes: t.bytes, Duplicate: int64(stats.Duplicate), Late: int64(stats.Late),
		Recovered: int64(stats.Recovered), Missing: t.missingPackets(),
		Frames: t.stats.frames, KeyFrames: t.stats.keys, Dropped: t.past.dropped, Waited: t.stats.waited,
		Freezes: t.stats.freezes.n, FreezeTime: t.stats.freezes.time,
		Pauses: t.stats.pause.n, PauseTime: t.stats.pause.time,
	}
	if t.dep != nil {
		n.Dropped += int64(t.dep.Stats().Frames.Dropped)
	}
	from, observed := t.in.Feedback.(signaling.Observer)
	if observed {
		o = from.Observe()
		t.stats.lost = max(t.stats.lost, o.PacketsLost)
		n.Nacks, n.PLIs, n.FIRs = int64(o.Nacks), int64(o.PLIs), int64(o.FIRs)
	}
	n.Lost = t.stats.lost
	return n, o, observed
}

// count adds a track that has ended to the totals.
func (s *Session) count(t *track) {
	n, _, _ := t.observe()
	s.totalsOf(t.in.Kind).add(&n)
}

// totalsOf gives the totals of a kind's tracks that have ended.
func (s *Session) totalsOf(kind media.Kind) *Totals {
	if kind == media.Audio {
		return &s.status.audio
	}
	return &s.status.video
}

// connections gives what is known of the participant's connections that have
// tracks. seen are the observations of p.tracks.
func (p *participant) connections(seen []signaling.Observation) []ConnectionStatus {
	var list []ConnectionStatus
	for i, t := range p.tracks {
		n := t.in.Connection
		if slices.ContainsFunc(list, func(c ConnectionStatus) bool { return c.Number == n }) {
			continue
		}
		_, observed := t.in.Feedback.(signaling.Observer)
		o := seen[i]
		c := ConnectionStatus{
			Number: n, Observed: observed, RoundTrip: o.RoundTrip, ICEState: o.ICEState,
			LocalCandidate: o.LocalCandidate, RemoteCandidate: o.RemoteCandidate, Protocol: o.Protocol,
		}
		c.AVOffset, c.AVKnown = p.avOffset(n)
		list = append(list, c)
	}
	return list
}

// avOffset compares the first sound and the first picture of a connection that
// sender reports have told of.
func (p *participant) avOffset(connection int) (time.Duration, bool) {
	var sound, picture *track
	for _, t := range p.tracks {
		if t.in.Connection != connection || t.place.Stats().Believed == 0 {
			continue
		}
		switch {
		case t.in.Kind == media.Audio && sound == nil:
			sound = t
		case t.in.Kind == media.Video && picture == nil:
			picture = t
		}
	}
	if sound == nil || picture == nil {
		return 0, false
	}
	return picture.place.Stats().Correction - sound.place.Stats().Correction, true
}
