package recorder

import (
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
)

// The thresholds of quality, judged once in each second of the session. All of it
// is a function of what arrived, so that a replay judges alike.
const (
	// qualityWindow is over how many seconds losses are judged.
	qualityWindow = 5
	// poorLoss is the share of packets, in thousandths, that must be missing for
	// good in the window, and poorPackets how many at least, for a track to be
	// poor; calmLoss is the share below which it may recover.
	poorLoss, poorPackets, calmLoss = 20, 3, 5
	// poorFreeze is how long a picture must stand still because of losses.
	poorFreeze = time.Second
	// A video's bitrate has collapsed when it is below a collapseShare-th of its
	// usual level for collapseSeconds, and either the picture has become
	// smaller or poorLoss of the packets did not come on time. The level is
	// known after levelSeconds, and must be above minLevel bit/s: then it is
	// the mean over about levelSpan seconds.
	collapseShare, collapseSeconds    = 5, 3
	levelSeconds, levelSpan, minLevel = 10, 32, 100_000
	// calmSeconds is how many seconds in a row without any trouble end it.
	calmSeconds = 5
	// qualityRest is how long after the latest packet nothing is judged any
	// more.
	qualityRest = 30 * time.Second
)

// MaxQuality is how many events the manifest's quality list has; later ones are
// counted.
const MaxQuality = 1000

// The events of a QualityEvent.
const (
	QualityPoor      = "poor"
	QualityRecovered = "recovered"
)

// The reasons of a QualityEvent.
const (
	PoorLoss    = "loss"
	PoorFreeze  = "freeze"
	PoorBitrate = "bitrate"
)

// PoorReasons are all of them.
var PoorReasons = [...]string{PoorLoss, PoorFreeze, PoorBitrate}

// QualityEvent is a change of how well a track comes.
type QualityEvent struct {
	AtMS        int64  `json:"at_ms"`
	Participant string `json:"participant"`
	Stream      string `json:"stream"`
	Kind        string `json:"kind"`
	// Event is QualityPoor or QualityRecovered, and Reasons what was poor.
	Event   string   `json:"event"`
	Reasons []string `json:"reasons"`
	// Loss is the share of packets missing for good in the last seconds, from 0
	// to 1; Bitrate in bit/s of media is of the last second.
	Loss    float64 `json:"loss"`
	Bitrate int64   `json:"bitrate"`
	// PoorMS is how long it was poor; of QualityRecovered.
	PoorMS int64 `json:"poor_ms,omitempty"`
}

// qualityState is a session's.
type qualityState struct {
	due    time.Time
	events []QualityEvent
	more   int
	// latest is the time of the latest event of the room, and heard of the
	// latest packet.
	latest, heard time.Time
	counts        [len(PoorReasons)]int64
}

// quality is a track's. The numbers that are so far are those of the last second
// that was judged.
type quality struct {
	poor  bool
	why   [len(PoorReasons)]bool
	since time.Time
	calm  int

	seconds                        int
	window                         [qualityWindow]struct{ popped, missing, repeated int64 }
	popped, missing, repeated      int64
	bytes, level, bitrate          int64
	low                            int
	levelArea                      int
	frozen                         bool
	lossThousandths, lateThousands int64
}

// heardPacket notes that there is something to judge from now on.
func (s *Session) heardPacket() {
	q := &s.quality
	q.heard = s.now
	if q.due.IsZero() {
		q.due = s.start.Add(s.elapsed().Truncate(time.Second) + time.Second)
		s.wake(q.due)
	}
}

// serviceQuality judges the tracks once a second.
func (s *Session) serviceQuality() {
	q := &s.quality
	if reached(q.due, s.now) {
		for _, t := range s.tracks {
			t.judge(q.due)
		}
		q.due = q.due.Add(time.Second)
		if q.due.Sub(q.heard) > qualityRest {
			q.due = time.Time{}
		}
	}
	s.wake(q.due)
}

// judge looks at what the last second was like.
func (t *track) judge(now time.Time) {
	q := &t.quality
	t.measureQuality()
	var why [len(PoorReasons)]bool
	lost := int64(0)
	for _, w := range q.window {
		lost += w.missing
	}
	why[0] = q.lossThousandths >= poorLoss && lost >= poorPackets
	why[1] = q.frozen || t.stands(now)
	why[2] = t.collapsed()
	q.frozen = false
	bad := slices.Contains(why[:], true)
	switch {
	case bad:
		q.calm = 0
		if !q.poor {
			q.poor, q.since, q.why = true, now, why
			for i, is := range why {
				if is {
					t.s.quality.counts[i]++
				}
			}
			t.changed(QualityPoor, now)
		}
		for i, is := range why {
			q.why[i] = q.why[i] || is
		}
	case q.poor:
		q.calm++
		if q.lossThousandths >= calmLoss || q.why[2] && 2*q.bitrate < q.level {
			q.calm = 0
		}
		if q.calm >= calmSeconds {
			q.poor = false
			t.changed(QualityRecovered, now)
			q.why = [len(PoorReasons)]bool{}
		}
	}
}

// measureQuality takes the numbers of the last second.
func (t *track) measureQuality() {
	q := &t.quality
	popped, missing, repeated := int64(t.buf.Stats().Popped), t.missingPackets(), t.stats.repeated
	w := &q.window[q.seconds%qualityWindow]
	w.popped, w.missing, w.repeated = popped-q.popped, max(missing-q.missing, 0), repeated-q.repeated
	q.popped, q.missing, q.repeated = popped, missing, repeated
	q.seconds++
	q.bitrate = 8 * (t.bytes - q.bytes)
	q.bytes = t.bytes
	var all, gone, late int64
	for _, w := range q.window {
		all += w.popped + w.missing
		gone += w.missing
		late += w.missing + w.repeated
	}
	q.lossThousandths, q.lateThousands = 0, 0
	if all > 0 {
		q.lossThousandths, q.lateThousands = 1000*gone/all, 1000*late/all
	}
}

// show notes when a frame is presented, whether or not the recording is paused.
func (t *track) show(f *depacket.Frame, at time.Duration) {
	if t.in.Kind == media.Video && !f.Hidden && t.stats.show(at) > poorFreeze && f.LostPackets+f.DroppedFrames > 0 {
		t.quality.frozen = true
	}
}

// stands tells whether the picture stands still until a keyframe comes.
func (t *track) stands(now time.Time) bool {
	return t.in.Kind == media.Video && t.stats.any && t.dep != nil && t.dep.NeedsKeyframe() &&
		now.Sub(t.latest) <= time.Second && now.Sub(t.s.start)-t.stats.shown > poorFreeze
}

// collapsed tells whether the bitrate has, and keeps the level.
func (t *track) collapsed() bool {
	q := &t.quality
	if t.in.Kind != media.Video {
		return false
	}
	if q.bitrate == 0 { // muted, or gone: that is no quality
		q.low = 0
		return false
	}
	area := t.width * t.height
	low := q.seconds > levelSeconds && q.level > minLevel && q.bitrate < q.level/collapseShare &&
		(area < q.levelArea || q.lateThousands >= poorLoss)
	if low {
		q.low++
	} else {
		q.low = 0
	}
	if q.seconds <= levelSeconds {
		q.level += (q.bitrate - q.level) / int64(q.seconds)
	} else {
		q.level += (q.bitrate - q.level) / levelSpan
	}
	if 2*q.bitrate > q.level {
		q.levelArea = area
	}
	return q.low >= collapseSeconds
}

// reasons gives why the track is, or was, poor.
func (q *quality) reasons() []string {
	list := []string{}
	for i, is := range q.why {
		if is {
			list = append(list, PoorReasons[i])
		}
	}
	return list
}

// changed puts an event into log and manifest.
func (t *track) changed(event string, now time.Time) {
	q, s := &t.quality, t.s
	e := QualityEvent{
		AtMS: now.Sub(s.start).Milliseconds(), Participant: t.who.id, Stream: t.in.Stream, Kind: t.in.Kind.String(),
		Event: event, Reasons: q.reasons(), Loss: float64(q.lossThousandths) / 1000, Bitrate: q.bitrate,
	}
	if event == QualityPoor {
		s.log.Warn("quality is poor", "participant", e.Participant, "kind", e.Kind, "reasons", e.Reasons, "loss", e.Loss, "bitrate", e.Bitrate)
	} else {
		e.PoorMS = now.Sub(q.since).Milliseconds()
		s.log.Info("quality has recovered", "participant", e.Participant, "kind", e.Kind, "reasons", e.Reasons, "poor_ms", e.PoorMS)
	}
	if len(s.quality.events) < MaxQuality {
		s.quality.events = append(s.quality.events, e)
	} else {
		s.quality.more++
	}
	s.soon(manifestSoon)
}

// settleQuality leaves out what a replay would not know of: a dump ends with its
// last event.
func (s *Session) settleQuality() {
	last := s.quality.latest.Sub(s.start).Milliseconds()
	s.quality.events = slices.DeleteFunc(s.quality.events, func(e QualityEvent) bool { return e.AtMS > last })
}
