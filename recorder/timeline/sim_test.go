package timeline

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// span is a piece of real time.
type span struct{ from, to time.Duration }

func (s span) has(t time.Duration) bool { return t >= s.from && t < s.to }

// step is a step of a clock.
type step struct{ at, by time.Duration }

// detour is a time in which the path is longer.
type detour struct {
	span
	by time.Duration
}

// scene is a call of one participant: how their browser sends, and what the
// network does. Real time is the arrival clock.
type scene struct {
	seed   uint64
	length time.Duration
	// wallSkew, audioSkew and videoSkew are how much faster than real time the
	// sender's clocks run, in ppm.
	wallSkew, audioSkew, videoSkew int64
	wallOffset                     time.Duration
	steps                          []step // of the wall clock

	videoFrame             time.Duration // 0: no video
	noAudio                bool
	videoStart, audioStart time.Duration
	audioFrame             time.Duration
	encode                 time.Duration // the most a video frame takes to encode
	audioJitter            time.Duration // of the capture of audio
	network, jitter        time.Duration

	videoReports, audioReports time.Duration // mean interval; 0: none
	reportNoise                time.Duration // of NTP, ±
	garbage                    float64       // share of reports that are garbage
	captureTimes               bool

	pauses      []span // audio timestamps stand still
	silentPause bool   // no reports in pauses either
	dtx         []span
	cameraOff   []span
	// frozen: the sender stands still; what should have been sent then goes out
	// at its end, a frame each burst. A report goes out at the part reportAt of
	// that, from 0, before it all, if not less than 0.
	frozen   []span
	burst    time.Duration
	reportAt float64
	// ahead: reports are sent when it is their turn, and true of when they are.
	ahead bool
	// stopped: video timestamps stand still too, and nothing is captured.
	stopped   []span
	stalls    []span  // all packets of this time arrive at its end, in a burst
	drain     float64 // how many times faster than sent a stall drains; 0: at once
	recovered float64 // share of frames that come by retransmission
	// loss is the share of packets that are lost; frames are sent again after
	// trip until they come, or 3 s have passed; reports are not. spread is jitter
	// that is not in order, from 0 up, each value as likely.
	loss     float64
	trip     time.Duration
	spread   time.Duration
	blank    []span // all packets of this time are lost
	exact    bool   // reports say what the last frame's timestamp was, once a second
	delays   []detour
	restarts []time.Duration // both tracks get new timestamps
}

// chromium is a call from a browser on a fair network.
func chromium(seed uint64) scene {
	return scene{
		seed: seed, length: time.Minute,
		wallOffset: 40 * 365 * 24 * time.Hour,
		videoFrame: time.Second / 30, audioFrame: 20 * ms, encode: 25 * ms, audioJitter: 8 * ms,
		network: 20 * ms, jitter: 10 * ms,
		videoReports: time.Second, audioReports: 5 * time.Second, reportNoise: 3 * ms,
		videoStart: 300 * ms, audioStart: 250 * ms,
	}
}

// loopback is a call from a browser on the same machine: no network to speak
// of, but audio that comes in bursts.
func loopback(seed uint64) scene {
	s := chromium(seed)
	s.network, s.jitter, s.audioJitter, s.reportNoise = ms/5, ms, 20*ms, ms
	return s
}

type simEvent struct {
	at      time.Duration // when it reaches the timeline
	arrival time.Duration
	audio   bool
	report  bool
	frame   depacket.Frame
	sr      signaling.SenderReport
	capture time.Duration // real time of capture
	seen    bool          // its first packet arrives, the frame comes later
}

// simulation runs a scene.
type simulation struct {
	scene
	r       *rand.Rand
	pending []simEvent
	tracks  [2]*simTrack // video, audio
	clock   *Clock
	t       testing.TB

	// off is placed - captured of the last frame of each track, by kind.
	off      [2]time.Duration
	have     [2]bool
	captured [2]time.Duration
	skew     []sample // audio - video
	lost     int
	frames   int
	maxHold  time.Duration
	// low and high are the least and the most that video was placed after its
	// capture, from the tenth second on.
	low, high time.Duration
}

type sample struct{ at, off time.Duration }

type simTrack struct {
	audio      bool
	rate       int64
	skew       int64
	base       uint32
	stood      time.Duration // how long timestamps have stood still
	next       time.Duration // capture of the next frame
	nextReport time.Duration
	lastSent   time.Duration
	lastTS     uint32
	lastAt     time.Duration // order of delivery
	lastQueue  time.Duration // order in the network
	nextCap    time.Duration
	restarts   int
	fresh      bool
	woken      time.Duration // the end of the last time frozen

	track *Track
	prev  time.Duration
	any   bool
	caps  []time.Duration // capture times of frames pushed and not popped
	hold  []time.Duration // when they were pushed
}

func newSimulation(t testing.TB, s scene) *simulation {
	m := &simulation{scene: s, t: t, r: rand.New(rand.NewPCG(s.seed, 7)), clock: New(Config{})}
	if s.videoFrame > 0 {
		m.tracks[0] = &simTrack{rate: 90000, skew: s.videoSkew, next: s.videoStart, nextReport: s.videoStart + s.videoReports/2,
			track: m.clock.NewTrack(media.Video, 90000)}
	}
	if !s.noAudio {
		m.tracks[1] = &simTrack{audio: true, rate: 48000, skew: s.audioSkew, next: s.audioStart, nextReport: s.audioStart + s.audioReports/2,
			track: m.clock.NewTrack(media.Audio, 48000)}
	}
	for _, k := range m.tracks {
		if k != nil {
			k.base = m.r.Uint32()
			k.nextCap = k.next
		}
	}
	return m
}

func skewed(t time.Duration, ppm int64) time.Duration {
	return t + time.Duration(int64(t)/1000*ppm/1000)
}

func (m *simulation) wall(at time.Duration) uint64 {
	d := skewed(at, m.wallSkew) + m.wallOffset
	for _, s := range m.steps {
		if at >= s.at {
			d += s.by
		}
	}
	return uint64(d/time.Second)<<32 + uint64(d%time.Second)<<32/uint64(time.Second)
}

func (m *simulation) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(m.r.Int64N(int64(d)))
}

// late draws a delay that is mostly small: up to twice d, a third of d mostly.
func (m *simulation) late(d time.Duration) time.Duration {
	x := m.r.Float64()
	return time.Duration(float64(2*d) * x * x * x)
}

func in(spans []span, t time.Duration) (span, bool) {
	for _, s := range spans {
		if s.has(t) {
			return s, true
		}
	}
	return span{}, false
}

// deliver gives the arrival of what is sent at the time.
func (m *simulation) deliver(sent time.Duration) time.Duration {
	at := sent + m.network + m.late(m.jitter)
	for _, d := range m.delays {
		if d.has(sent) {
			at += d.by
		}
	}
	for _, s := range m.stalls {
		switch {
		case s.has(at):
			at = s.to + m.upTo(5*ms)
			if m.drain > 0 {
				at = s.to + time.Duration(float64(sent+m.network-s.from)/m.drain)
			}
		case m.drain > 1 && at >= s.to:
			// Behind the queue of the stall, while that drains.
			if q := s.to + time.Duration(float64(sent+m.network-s.from)/m.drain); q > at {
				at = q
			}
		}
	}
	return at
}

// packets takes the packets of a frame through the network, and tells whether
// all come within 3 s. The frame arrives with the first that was not sent again.
func (m *simulation) packets(k *simTrack, e *simEvent, sent time.Duration) bool {
	n := 5
	if k.audio {
		n = 1
	}
	first := time.Duration(math.MaxInt64)
	for range n {
		at, again := e.arrival+m.upTo(m.spread), sent
		for m.lose(again) {
			again += m.trip*5/4 + m.upTo(m.trip/4)
			at = m.deliver(again) + m.upTo(m.spread)
		}
		if again == sent {
			first = min(first, at)
		}
		e.at = max(e.at, at)
	}
	if e.arrival = first; first == math.MaxInt64 {
		e.arrival, e.frame.Recovered = e.at, true
	}
	return e.at <= sent+3*time.Second
}

// lose tells whether what is sent at the time is lost.
func (m *simulation) lose(sent time.Duration) bool {
	if _, ok := in(m.blank, sent); ok {
		return true
	}
	return m.loss > 0 && m.r.Float64() < m.loss
}

// timestamp gives a track's RTP timestamp at a real time.
func (k *simTrack) timestamp(t time.Duration) uint32 {
	return k.base + uint32(nanosToTicks(int64(skewed(t-k.stood, k.skew)), k.rate))
}

// step is the time of a frame.
func (k *simTrack) step(s scene) time.Duration {
	if k.audio {
		return s.audioFrame
	}
	return s.videoFrame
}

// make makes the events of a track up to a real time.
func (m *simulation) make(k *simTrack, end time.Duration) {
	for k.next < end {
		c := k.next
		if k.restarts < len(m.restarts) && c >= m.restarts[k.restarts] {
			k.restarts++
			k.base = m.r.Uint32()
			k.fresh = true
		}
		step := k.step(m.scene)
		if k.audio {
			if _, ok := in(m.dtx, c); ok {
				step = 400 * ms
			}
			if p, ok := in(m.pauses, c); ok {
				k.next = p.to
				k.stood += p.to - c
				k.nextCap = k.next
				m.reports(k, p.to, m.silentPause)
				continue
			}
		} else if p, ok := in(m.cameraOff, c); ok {
			k.next = p.to
			continue
		} else if p, ok := in(m.stopped, c); ok {
			k.next = p.to
			k.stood += p.to - c
			continue
		}
		k.next += step
		sent := c
		if k.audio {
			sent += m.late(m.audioJitter / 2)
		} else {
			sent += m.encode/4 + m.upTo(m.encode*3/4)
		}
		sent = max(m.thaw(k, sent), k.lastSent)
		m.reports(k, sent, false)
		k.lastSent, k.lastTS = sent, k.timestamp(c)
		e := simEvent{audio: k.audio, capture: c, frame: depacket.Frame{Timestamp: k.lastTS, Restarted: k.fresh}}
		k.fresh = false
		if m.captureTimes && c >= k.nextCap {
			k.nextCap = c + time.Second
			e.frame.CaptureTime = m.wall(c)
		}
		e.arrival = max(m.deliver(sent), k.lastQueue)
		k.lastQueue = e.arrival
		if m.recovered > 0 && m.r.Float64() < m.recovered {
			e.arrival += 50*ms + m.upTo(400*ms)
			e.frame.Recovered = true
		}
		if !m.packets(k, &e, sent) {
			m.lost++
			continue
		}
		e.at = max(e.at, e.arrival, k.lastAt)
		k.lastAt = e.at
		m.pending = append(m.pending, e)
		if e.at > e.arrival && !e.frame.Recovered {
			e.seen, e.at = true, e.arrival
			m.pending = append(m.pending, e)
		}
	}
}

// reports makes the sender reports of a track up to a real time.
func (m *simulation) reports(k *simTrack, end time.Duration, skip bool) {
	every := m.videoReports
	if k.audio {
		every = m.audioReports
	}
	for every > 0 && k.nextReport <= end {
		at := k.nextReport
		if p, ok := in(m.frozen, at); ok {
			at = p.to + m.burst/2
			if m.ahead {
				at += (k.nextReport - p.from) / k.step(m.scene) * m.burst
			}
			if k.nextReport = at; at > end {
				return
			}
		}
		k.nextReport += every
		if !m.exact {
			k.nextReport += m.upTo(every) - every/2
		}
		if skip || m.lose(at) {
			continue
		}
		e := simEvent{audio: k.audio, report: true}
		e.sr.RTP = k.lastTS + uint32(nanosToTicks(int64(at-k.lastSent), k.rate))
		if !k.audio && !m.exact || m.ahead {
			e.sr.RTP = k.timestamp(at)
		}
		noise := time.Duration(0)
		if m.reportNoise > 0 {
			noise = m.upTo(2*m.reportNoise) - m.reportNoise
		}
		e.sr.NTP = m.wall(at + noise)
		if m.r.Float64() < m.garbage {
			switch m.r.IntN(4) {
			case 0:
				e.sr.NTP = m.r.Uint64()
			case 1:
				e.sr.RTP = m.r.Uint32()
			case 2:
				e.sr = signaling.SenderReport{NTP: m.r.Uint64(), RTP: m.r.Uint32()}
			case 3:
				e.sr.NTP = 0
			}
		}
		e.arrival = m.deliver(at) + m.upTo(m.spread)
		e.at = e.arrival
		m.pending = append(m.pending, e)
	}
}

// run runs the scene and checks what must always hold.
func (m *simulation) run() {
	const slice = 10 * time.Second
	for end := slice; end < m.length+2*slice; end += slice {
		for _, k := range m.tracks {
			if k != nil {
				m.make(k, min(end, m.length))
			}
		}
		slices.SortStableFunc(m.pending, func(a, b simEvent) int { return cmp.Compare(a.at, b.at) })
		n := 0
		for ; n < len(m.pending) && (m.pending[n].at < end-5*time.Second || end > m.length); n++ {
			m.handle(&m.pending[n])
		}
		m.pending = append(m.pending[:0], m.pending[n:]...)
	}
	for i, k := range m.tracks {
		if k == nil {
			continue
		}
		k.track.Flush()
		m.pop(i, k, time.Duration(m.clock.now))
		if len(k.caps) != 0 {
			m.t.Errorf("%d frames never came back", len(k.caps))
		}
	}
}

func (m *simulation) handle(e *simEvent) {
	for i, k := range m.tracks {
		if k == nil {
			continue
		}
		if d, ok := k.track.Deadline(); ok && d <= e.at {
			m.pop(i, k, d)
		}
	}
	i := 0
	if e.audio {
		i = 1
	}
	k := m.tracks[i]
	switch {
	case e.seen:
		if k.track.Settling() {
			k.track.Seen(e.frame.Timestamp, e.arrival)
		}
		return
	case e.report:
		k.track.Report(e.sr, e.arrival)
	default:
		k.caps = append(k.caps, e.capture)
		k.hold = append(k.hold, e.at)
		k.track.Push(e.frame, e.arrival)
	}
	m.pop(i, k, e.at)
}

func (m *simulation) pop(i int, k *simTrack, now time.Duration) {
	for {
		p, ok := k.track.Pop(now)
		if !ok {
			return
		}
		m.frames++
		if p.Time < 0 || k.any && p.Time <= k.prev {
			m.t.Fatalf("time goes from %v to %v", k.prev, p.Time)
		}
		k.any, k.prev = true, p.Time
		c := k.caps[0]
		m.maxHold = max(m.maxHold, now-k.hold[0])
		k.caps, k.hold = k.caps[1:], k.hold[1:]
		m.off[i], m.have[i], m.captured[i] = p.Time-c, true, c
		if d := m.off[0]; i == 0 && c > 10*time.Second {
			if m.low == 0 {
				m.low, m.high = d, d
			}
			m.low, m.high = min(m.low, d), max(m.high, d)
		}
		if m.have[1-i] && c-m.captured[1-i] < 500*ms && i == 0 || m.tracks[1-i] == nil {
			m.skew = append(m.skew, sample{c, m.off[1] - m.off[0]})
		}
	}
}
