package peer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/roomtape/roomtape/media"
)

const (
	// payloadSize is the largest RTP payload that we send, in bytes: with header
	// extensions, SRTP's tag and a TURN header it stays below 1280 bytes, which
	// every link of the Internet carries.
	payloadSize = 1140
	// maxGroup and maxGroupLen bound, in bytes and frames, what a viewer who comes
	// is sent of the past.
	maxGroup    = 256 << 10
	maxGroupLen = 120
	// groupStep is how far apart those pictures are made: as little as players
	// that round times to milliseconds tell apart.
	groupStep = 5 * time.Millisecond
	// minTarget is the lowest video bitrate in bit/s that is ever asked for.
	minTarget = 50_000
)

// ErrPublication is wrapped by the error of NewPublication for a configuration
// that can't be sent.
var ErrPublication = errors.New("peer: cannot publish")

// PublicationConfig says what is sent into a room.
type PublicationConfig struct {
	// Video and Audio are the codecs of the two tracks; CodecUnknown: there is
	// no such track.
	Video, Audio media.Codec
	// Stream is the MediaStream id of both tracks; "" means "roomtape".
	Stream string
	// MinBitrate and MaxBitrate bound what is asked of the encoder, in bit/s.
	// 0 means 50 kbit/s and 2.5 Mbit/s.
	MinBitrate, MaxBitrate int
	// RequestKeyframe is called when a viewer needs a keyframe: one who has just
	// come, has lost something, or is so slow that frames were left out. It is
	// called as often as they need one, and must not block; who encodes limits
	// the rate. May be nil.
	RequestKeyframe func()
	// SetBitrate is called when the video bitrate, in bit/s, that the slowest
	// viewer can receive has changed. It must not block. May be nil.
	SetBitrate func(bitsPerSecond int)
}

// Publication is one video and one audio track that are encoded once and sent to
// every connection of the factories whose Config has it. Frames are split into
// packets once too; what each viewer has of its own is a queue, a pace, a history
// of packets for retransmission and an estimate of what it can receive. So a slow
// viewer slows nobody else: what does not get through to it in time is left out,
// and a keyframe asked for.
//
// One goroutine calls Write. All other methods may be called by any.
type Publication struct {
	cfg   PublicationConfig
	epoch time.Time
	video rtp.Payloader
	audio rtp.Payloader

	mu     sync.Mutex
	feeds  []*feed
	target int
	// group is the latest keyframe and what has followed it, for viewers who
	// come; empty when that is more than they would want to wait for.
	group     []*burst
	groupSize int
}

// NewPublication makes a publication without viewers. Its errors wrap
// ErrPublication.
func NewPublication(cfg PublicationConfig) (*Publication, error) {
	p := &Publication{cfg: cfg, epoch: time.Now()}
	switch cfg.Video {
	case media.CodecUnknown:
	case media.VP8:
		p.video = &codecs.VP8Payloader{EnablePictureID: true}
	case media.VP9:
		p.video = &codecs.VP9Payloader{}
	case media.AV1:
		p.video = &codecs.AV1Payloader{}
	case media.H264:
		p.video = &codecs.H264Payloader{}
	default:
		return nil, fmt.Errorf("%w: %v is no video codec", ErrPublication, cfg.Video)
	}
	switch cfg.Audio {
	case media.CodecUnknown:
	case media.Opus:
		p.audio = &codecs.OpusPayloader{}
	default:
		return nil, fmt.Errorf("%w: %v is no audio codec", ErrPublication, cfg.Audio)
	}
	if p.video == nil && p.audio == nil {
		return nil, fmt.Errorf("%w: neither video nor audio", ErrPublication)
	}
	if p.cfg.Stream == "" {
		p.cfg.Stream = "roomtape"
	}
	if p.cfg.MinBitrate <= 0 {
		p.cfg.MinBitrate = minTarget
	}
	if p.cfg.MaxBitrate <= 0 {
		p.cfg.MaxBitrate = 2_500_000
	}
	if p.cfg.MinBitrate > p.cfg.MaxBitrate {
		return nil, fmt.Errorf("%w: at least %d bit/s and at most %d", ErrPublication, p.cfg.MinBitrate, p.cfg.MaxBitrate)
	}
	p.target = p.cfg.MaxBitrate
	return p, nil
}

// codec gives what is sent of a kind, or CodecUnknown.
func (p *Publication) codec(k media.Kind) media.Codec {
	if k == media.Audio {
		return p.cfg.Audio
	}
	return p.cfg.Video
}

// TrackID is the track id that viewers see of the track of a kind; "" when there
// is none.
func (p *Publication) TrackID(k media.Kind) string {
	if p.codec(k) == media.CodecUnknown {
		return ""
	}
	return p.cfg.Stream + "-" + k.String()
}

// burst is a frame on its way to the viewers: shared by all, changed by none.
type burst struct {
	kind     media.Kind
	key      bool
	captured time.Time
	entered  time.Time
	payloads [][]byte
	size     int
}

// Write sends a frame to all viewers: one complete frame of the video track's
// codec, or one Opus packet. captured is when it was, on the clock of time.Now;
// within a track it must not fall. f.Data is the Publication's afterwards, but
// not changed; of f's other fields only Key counts. It does not block, and gives
// an error only for a kind that is not published.
func (p *Publication) Write(kind media.Kind, f media.Frame, captured time.Time) error {
	payloader := p.video
	if kind == media.Audio {
		payloader = p.audio
	}
	if payloader == nil {
		return fmt.Errorf("%w: a frame of %v", ErrPublication, kind)
	}
	b := &burst{
		kind: kind, key: f.Key, captured: captured, entered: time.Now(),
		payloads: payloader.Payload(payloadSize, f.Data),
	}
	for _, payload := range b.payloads {
		b.size += len(payload)
	}
	if b.size == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(b)
	for _, s := range p.feeds {
		s.push(b)
	}
	return nil
}

// keep adds a picture to the group. It is called locked.
func (p *Publication) keep(b *burst) {
	if b.kind != media.Video {
		return
	}
	if b.key {
		p.forget()
	} else if len(p.group) == 0 {
		return // it was too much, or has no keyframe
	}
	p.group = append(p.group, b)
	p.groupSize += b.size
	if p.groupSize > maxGroup || len(p.group) > maxGroupLen {
		p.forget()
	}
}

// forget empties the group. It is called locked.
func (p *Publication) forget() {
	clear(p.group)
	p.group, p.groupSize = p.group[:0], 0
}

// begin lets a viewer see something at once: the latest keyframe and what has
// followed it, as if all of it had been captured just now, so that the viewer
// does not take that for the pace. When that is too much, a keyframe is asked for.
func (p *Publication) begin(s *feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.run() {
		return
	}
	if len(p.group) == 0 {
		go p.wantKeyframe()
		return
	}
	now := time.Now()
	last := p.group[len(p.group)-1].captured
	for i, b := range p.group {
		early := *b
		early.entered = now
		early.captured = last.Add(-time.Duration(len(p.group)-1-i) * groupStep)
		s.push(&early)
	}
}

// Viewer is how one connection receives what is published.
type Viewer struct {
	Participant string
	Connection  int
	// Bitrate is what the viewer can receive, in bit/s, as estimated.
	Bitrate int
	// Loss is the share of packets, from 0 to 1, that its latest report says
	// were lost, RoundTrip the time to it and back; 0: not known yet.
	Loss      float64
	RoundTrip time.Duration
	// Poor is set while much is lost or too little gets through, and so less is
	// encoded.
	Poor bool
	// Packets were sent, Retransmitted of them again; Dropped counts the video
	// frames that were left out since the viewer is too slow.
	Packets, Retransmitted, Dropped uint64
}

// Viewers gives those who receive what is published, in the order of coming.
func (p *Publication) Viewers() []Viewer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Viewer, 0, len(p.feeds))
	for _, s := range p.feeds {
		if s.connected() {
			out = append(out, s.viewer())
		}
	}
	return out
}

// Bitrate gives the video bitrate in bit/s that SetBitrate was told last, or
// MaxBitrate.
func (p *Publication) Bitrate() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

func (p *Publication) add(s *feed) {
	p.mu.Lock()
	p.feeds = append(p.feeds, s)
	p.mu.Unlock()
}

func (p *Publication) remove(s *feed) {
	p.mu.Lock()
	p.feeds = slices.DeleteFunc(p.feeds, func(o *feed) bool { return o == s })
	p.mu.Unlock()
	p.adapt()
}

func (p *Publication) wantKeyframe() {
	if p.cfg.RequestKeyframe != nil && p.video != nil {
		p.cfg.RequestKeyframe()
	}
}

// adapt tells the encoder what the slowest viewer can receive, when that has
// changed by enough to matter.
func (p *Publication) adapt() {
	const enough = 20 // a twentieth
	p.mu.Lock()
	target, now := p.cfg.MaxBitrate, time.Now()
	for _, s := range p.feeds {
		if s.connected() {
			target = min(target, s.target(now))
		}
	}
	target = max(target, p.cfg.MinBitrate)
	change := target - p.target
	told := max(change, -change) >= max(p.target/enough, 1) || change != 0 && target == p.cfg.MaxBitrate
	if told {
		p.target = target
	}
	p.mu.Unlock()
	if told && p.cfg.SetBitrate != nil && p.video != nil {
		p.cfg.SetBitrate(target)
	}
}
