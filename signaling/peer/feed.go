package peer

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/health"
)

const (
	// maxBehind is how old a video frame may get in a viewer's queue: beyond it
	// the viewer is too slow, and goes on at the next keyframe.
	maxBehind = 600 * time.Millisecond
	// maxQueued bounds a queue in bytes, whatever the time.
	maxQueued = 8 << 20
	// paceFactor is how much faster than the estimate packets leave, so that a
	// frame is not spread over the time of the next ones.
	paceFactor = 2.5
	// paceStep is how much time's worth of bytes may leave at once.
	paceStep = 5 * time.Millisecond
	// minPace keeps keyframes of a slow viewer from taking for ever, in bit/s.
	minPace = 300_000
	// keyframeGrace is how long after a keyframe, beside the round trip, a viewer's
	// request for one is taken to be from before it came.
	keyframeGrace = 250 * time.Millisecond
	// keyframeAgain is how often a viewer without a keyframe asks for one.
	keyframeAgain = 500 * time.Millisecond
)

// feed sends a Publication to one viewer: a queue of frames, and a goroutine
// that sends them at a pace.
type feed struct {
	conn     *Conn
	pub      *Publication
	estimate *estimator
	video    *outgoing // nil: not published
	audio    *outgoing
	wake     chan struct{}
	stop     chan struct{}
	done     chan struct{}
	judge    health.Judge // guarded by the publication's lock

	mu       sync.Mutex
	running  bool
	stopped  bool
	queue    []*burst // what is next, sound first
	queued   int      // bytes
	waiting  bool     // for a keyframe
	askAgain time.Time
	keyed    time.Time // when a keyframe was queued last
	asked    time.Time // when the viewer asked for one last
	again    []retransmission
	loss     float64
	rtt      time.Duration
	packets  uint64
	repeated uint64
	dropped  uint64
}

func newFeed(c *Conn, p *Publication) *feed {
	most := p.cfg.MaxBitrate + p.cfg.MaxBitrate/4
	estimate := newEstimator(most, most)
	s := &feed{
		conn: c, pub: p, estimate: estimate, waiting: true,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		codec := p.codec(kind)
		if codec == media.CodecUnknown {
			continue
		}
		o := &outgoing{
			feed: s, kind: kind, codec: codec,
			// A receiver who misses the packets before a wrap to 0 can't decrypt
			// (RFC 3711 §3.3.1), so the first wrap is far away.
			sequence: uint16(rand.IntN(1 << 15)), base: rand.Uint32(),
			flow: flow{rtxSequence: uint16(rand.IntN(1 << 15))},
		}
		if kind == media.Audio {
			s.audio = o
		} else {
			s.video = o
		}
	}
	p.add(s)
	return s
}

// tracks gives what is sent, sound first.
func (s *feed) tracks() []*outgoing {
	var out []*outgoing
	for _, o := range []*outgoing{s.audio, s.video} {
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

// run begins sending, and tells whether it has not begun before: the connection
// is up.
func (s *feed) run() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.stopped {
		return false
	}
	s.running = true
	go s.send()
	return true
}

// close ends sending and forgets the viewer. It does not wait.
func (s *feed) close() {
	s.mu.Lock()
	stopped := s.stopped
	s.stopped = true
	s.mu.Unlock()
	if !stopped {
		close(s.stop)
		s.pub.remove(s)
	}
}

// wait returns when what close has ended is over: once the transport is closed too,
// since that may be what a packet waits for.
func (s *feed) wait() {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running {
		<-s.done
	}
}

func (s *feed) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running && !s.stopped
}

// target is the video bitrate for the encoder: half of what gets through while the
// viewer is poor and that may help. It is called with the publication's lock held.
func (s *feed) target(now time.Time) int {
	bitrate := s.estimate.bitrate() * deliveryRatio / 100
	if s.audio != nil {
		bitrate -= audioBitrate
	}
	if s.judge.Look(now, s.estimate.loss(now), bitrate < s.pub.cfg.MinBitrate) {
		log := s.conn.factory.log.With("viewer", s.conn.opts.Participant, "connection", s.conn.opts.Connection,
			"reasons", s.judge.Reasons(), "loss", s.estimate.loss(now), "receivable", s.estimate.bitrate())
		if s.judge.Poor() {
			log.Info("what is published becomes poor: the picture is encoded in less")
		} else {
			log.Info("what is published has recovered")
		}
	}
	if s.judge.Relief() {
		bitrate = min(bitrate, s.pub.cfg.MaxBitrate) / 2
	}
	return max(bitrate, minTarget)
}

// audioBitrate is what sound is counted with, in bit/s.
const audioBitrate = 64_000

// viewer is called with the publication's lock held.
func (s *feed) viewer() Viewer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Viewer{
		Participant: s.conn.opts.Participant, Connection: s.conn.opts.Connection,
		Bitrate: s.estimate.bitrate(), Loss: s.loss, RoundTrip: s.rtt, Poor: s.judge.Poor(),
		Packets: s.packets, Retransmitted: s.repeated, Dropped: s.dropped,
	}
}

// push queues a frame. It does not block.
func (s *feed) push(b *burst) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running || s.stopped {
		return
	}
	switch {
	case b.kind == media.Audio:
		i := slices.IndexFunc(s.queue, func(o *burst) bool { return o.kind == media.Video })
		if i < 0 {
			i = len(s.queue)
		}
		s.queue = slices.Insert(s.queue, i, b)
	case s.takes(b):
		s.queue = append(s.queue, b)
	default:
		s.dropped++
		return
	}
	s.queued += b.size
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// takes decides about a video frame: a viewer that is too far behind gets none
// until the next keyframe. It is called locked.
func (s *feed) takes(b *burst) bool {
	if s.behind(b.entered) || s.queued > maxQueued {
		s.clearVideo()
		s.waiting = true
		s.askAgain = time.Time{}
	}
	if b.key {
		s.waiting, s.keyed = false, b.entered
		return true
	}
	if s.waiting && !b.entered.Before(s.askAgain) {
		s.askAgain = b.entered.Add(keyframeAgain)
		go s.pub.wantKeyframe()
	}
	return !s.waiting
}

// behind tells whether the oldest video frame has waited too long. It is called
// locked.
func (s *feed) behind(now time.Time) bool {
	for _, b := range s.queue {
		if b.kind == media.Video {
			return now.Sub(b.entered) > maxBehind
		}
	}
	return false
}

func (s *feed) clearVideo() {
	kept := s.queue[:0]
	for _, b := range s.queue {
		if b.kind == media.Audio {
			kept = append(kept, b)
			continue
		}
		s.queued -= b.size
		s.dropped++
	}
	clear(s.queue[len(kept):])
	s.queue = kept
}

// send sends what is queued until the feed is closed: sound at once, then what
// is asked for again, then pictures, those at a pace.
func (s *feed) send() {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var (
		picture *burst
		at      int // of its packets
		again   *retransmission
		budget  float64 // bytes
		last    = time.Now()
	)
	for {
		if sound := s.nextSound(); sound != nil {
			for i := range sound.payloads {
				s.audio.send(sound, i)
			}
			continue
		}
		if again == nil {
			again = s.nextAgain()
		}
		if again == nil && picture == nil {
			picture, at = s.nextPicture(), 0
		}
		if again == nil && picture == nil {
			select {
			case <-s.stop:
				return
			case <-s.wake:
			}
			continue
		}
		now := time.Now()
		pace := max(float64(s.estimate.bitrate())*paceFactor, minPace) / 8
		budget = min(budget+now.Sub(last).Seconds()*pace, paceStep.Seconds()*pace)
		last = now
		if budget < 0 {
			timer.Reset(max(time.Duration(-budget/pace*float64(time.Second)), time.Millisecond))
			select {
			case <-s.stop:
				return
			case <-s.wake:
			case <-timer.C:
			}
			continue
		}
		if again != nil {
			h, payload := again.track.repeat(&again.packet)
			_ = s.estimate.write(&h, payload) // a connection that is down tells so elsewhere
			budget -= float64(len(payload))
			again = nil
			continue
		}
		budget -= float64(s.video.send(picture, at))
		if at++; at == len(picture.payloads) {
			picture = nil
		}
	}
}

func (s *feed) nextSound() *burst {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.queue[0].kind != media.Audio {
		return nil
	}
	return s.pop()
}

func (s *feed) nextPicture() *burst {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.queue[0].kind != media.Video {
		return nil
	}
	return s.pop()
}

// pop is called locked.
func (s *feed) pop() *burst {
	b := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	s.queued -= b.size
	return b
}

func (s *feed) nextAgain() *retransmission {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.again) == 0 {
		return nil
	}
	r := s.again[0]
	s.again = s.again[1:]
	return &r
}

// heard takes the RTCP that concerns one of our sources, ssrc.
func (s *feed) heard(b []byte, ssrc uint32, now time.Time) {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return // a stranger's
	}
	for _, p := range packets {
		if !first(p, ssrc) || s.estimate.feedback(p, now) {
			continue
		}
		switch p := p.(type) {
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			if s.misses(now) {
				go s.pub.wantKeyframe()
			}
		case *rtcp.TransportLayerNack:
			s.nacked(p, now)
		case *rtcp.ReceiverReport:
			s.reported(p.Reports, now)
		case *rtcp.SenderReport:
			s.reported(p.Reports, now)
		}
	}
}

// misses tells whether a viewer who asks for a keyframe has none on its way, nor
// has just asked for one: who asks again after that has lost it.
func (s *feed) misses(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.keyed) <= keyframeGrace+s.rtt || now.Sub(s.asked) <= keyframeGrace {
		return false
	}
	s.asked = now
	return true
}

func (s *feed) nacked(p *rtcp.TransportLayerNack, now time.Time) {
	var o *outgoing
	for _, t := range s.tracks() {
		if t.ssrc == p.MediaSSRC {
			o = t
		}
	}
	if o == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pair := range p.Nacks {
		for _, number := range pair.PacketList() {
			if h := o.history.take(number, now, s.rtt); h != nil && len(s.again) < historySize {
				s.again = append(s.again, retransmission{o, *h})
				s.repeated++
			}
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// reported takes reports on what we send.
func (s *feed) reported(reports []rtcp.ReceptionReport, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range reports {
		for _, o := range s.tracks() {
			if o.ssrc != r.SSRC {
				continue
			}
			if o.kind == media.Video || s.video == nil {
				s.loss = float64(r.FractionLost) / 256
				s.estimate.lost(s.loss, now)
			}
			if r.LastSenderReport != 0 {
				// RFC 3550 §6.4.1: 16.16 fixed point seconds.
				units := uint32(ntpTime(now)>>16) - r.LastSenderReport - r.Delay
				if int32(units) >= 0 {
					s.rtt = time.Duration(units) * time.Second >> 16
				}
			}
		}
	}
}

// reports gives the sender reports that are due each second.
func (s *feed) reports(now time.Time) []rtcp.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []rtcp.Packet
	for _, o := range s.tracks() {
		if r := o.report(ntpTime(now), o.timestamp(now)); r != nil {
			out = append(out, r)
		}
	}
	return out
}
