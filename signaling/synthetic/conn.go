package synthetic

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

// reportEvery is how often senders report.
const reportEvery = time.Second

// mtu is the size of an RTP packet with its header, as browsers use it.
const mtu = 1200

// conn is the connection to one other participant.
type conn struct {
	pc           *webrtc.PeerConnection
	source       Source       // nil: the clip
	video, audio atomic.Int64 // sent
	asked        atomic.Bool  // the other has asked for a keyframe
	play         sync.Once
	out          sync.Mutex // keeps our candidates behind our description

	mu    sync.Mutex
	ready bool // the remote description is set
	early []webrtc.ICECandidateInit
}

// conn gives the connection to the participant id, or nil.
func (p *Peer) conn(id string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[id]
}

// drop closes the connection to the participant id, if there is one.
func (p *Peer) drop(id string) {
	p.mu.Lock()
	c := p.conns[id]
	delete(p.conns, id)
	p.mu.Unlock()
	if c != nil {
		p.check("closing", id, c.pc.Close())
	}
}

// connect makes the connection to the participant id, in place of one that may
// be there, with our tracks in it.
func (p *Peer) connect(id string) (*conn, error) {
	p.drop(id)
	pc, err := p.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	c := &conn{pc: pc}
	if p.cfg.Source != nil {
		c.source = p.cfg.Source(id)
	}
	video, audio, err := p.addTracks(c)
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	if p.cfg.Garbage {
		talk(pc)
	}
	pc.OnICECandidate(func(i *webrtc.ICECandidate) {
		if i != nil {
			c.out.Lock()
			defer c.out.Unlock()
			p.check("sending a candidate", id, p.sendCandidate(id, i.ToJSON()))
		}
	})
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.cfg.watch(t) })
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			c.play.Do(func() { p.start(id, c, video, audio) })
		}
	})

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.Join(errors.New("the participant has left"), pc.Close())
	}
	p.conns[id] = c
	return c, nil
}

func (p *Peer) offer(id string) error {
	c, err := p.connect(id)
	if err != nil {
		return err
	}
	if _, err := c.pc.CreateDataChannel("messages", nil); err != nil {
		return err
	}
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	return p.describe(c, offer, message.Message{Type: message.Offer, Target: id, Offer: description(offer)})
}

func (p *Peer) answer(id, sdp string) error {
	c, err := p.connect(id)
	if err != nil {
		return err
	}
	if p.cfg.Garbage {
		sdp = unbounded(sdp)
	}
	if err := c.setRemote(webrtc.SDPTypeOffer, sdp); err != nil {
		return err
	}
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	return p.describe(c, answer, message.Message{Type: message.Answer, Target: id, Answer: description(answer)})
}

// describe sets the local description and sends it in m, before any of the
// candidates that setting it brings.
func (p *Peer) describe(c *conn, d webrtc.SessionDescription, m message.Message) error {
	c.out.Lock()
	defer c.out.Unlock()
	if err := c.pc.SetLocalDescription(d); err != nil {
		return err
	}
	return p.send(p.ctx, m)
}

func (p *Peer) sendCandidate(id string, i webrtc.ICECandidateInit) error {
	return p.send(p.ctx, message.Message{Type: message.ICECandidate, Target: id, Candidate: &message.Candidate{
		Candidate: i.Candidate, SDPMid: i.SDPMid, SDPMLineIndex: i.SDPMLineIndex, UsernameFragment: i.UsernameFragment,
	}})
}

// start begins to play the clip on c's tracks. A participant that is being
// closed, or has been stopped, starts nothing.
func (p *Peer) start(id string, c *conn, video, audio *track) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.playing.Err() != nil {
		return
	}
	p.players.Go(func() {
		err := p.loop(c, video, audio)
		if !errors.Is(err, io.ErrClosedPipe) {
			p.check("playing", id, err)
		}
	})
}

// loop sends the clip from its first frame, over and over, each frame when it
// is due, until the participant is stopped or the connection is closed, and a
// report of each track every second.
func (p *Peer) loop(c *conn, video, audio *track) error {
	clip := p.cfg.Clip
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for v, a, r := 0, 0, 1; ; {
		due := min(clip.videoTime(v), time.Duration(a)*opusFrame, time.Duration(r)*reportEvery)
		timer.Reset(time.Until(start.Add(due)))
		select {
		case <-p.playing.Done():
			return nil
		case <-timer.C:
		}
		if c.pc.ConnectionState() == webrtc.PeerConnectionStateClosed {
			return nil
		}
		if clip.videoTime(v) == due {
			if err := video.send(p.picture(c, v), clip.step); err != nil {
				return err
			}
			c.video.Add(1)
			v++
		}
		if time.Duration(a)*opusFrame == due {
			if err := audio.send(p.sound(c, a), uint32(opusFrame*48/time.Millisecond)); err != nil {
				return err
			}
			c.audio.Add(1)
			a++
		}
		if time.Duration(r)*reportEvery == due {
			now := time.Now()
			if err := c.pc.WriteRTCP([]rtcp.Packet{video.report(now, now.Sub(start)), audio.report(now, now.Sub(start))}); err != nil {
				return err
			}
			r++
		}
	}
}

// picture gives the n-th video frame of a connection.
func (p *Peer) picture(c *conn, n int) []byte {
	asked := c.asked.Swap(false)
	switch {
	case c.source != nil:
		return c.source.Picture(n, asked)
	case p.cfg.Picture != nil:
		return p.cfg.Picture(n, asked)
	}
	return p.cfg.Clip.Video[n%len(p.cfg.Clip.Video)]
}

// sound gives the n-th Opus packet of a connection, or nil for silence.
func (p *Peer) sound(c *conn, n int) []byte {
	if c.source != nil {
		return c.source.Sound(n)
	}
	return p.cfg.Clip.audioAt(n)
}

// track is one track of one connection: RTP timestamps, sequence numbers and
// picture ids go on where the clip begins again.
type track struct {
	rtp.Packetizer
	local   *webrtc.TrackLocalStaticRTP
	garbage *garbage // nil: what is sent is what it should be

	ssrc            uint32
	base, rate      uint32 // RTP timestamp of the first frame, and clock
	packets, octets uint32
}

// report tells what the RTP clock was, that long after the first frame was due
// (RFC 3550 §6.4.1).
func (t *track) report(now time.Time, after time.Duration) *rtcp.SenderReport {
	const since1900 = 2208988800 // seconds until 1970
	seconds, fraction := uint64(now.Unix()+since1900), uint64(now.Nanosecond())<<32/uint64(time.Second)
	return &rtcp.SenderReport{
		SSRC: t.ssrc, NTPTime: seconds<<32 | fraction, PacketCount: t.packets, OctetCount: t.octets,
		RTPTime: t.base + uint32(int64(after/time.Microsecond)*int64(t.rate)/1_000_000),
	}
}

func (t *track) send(frame []byte, samples uint32) error {
	if frame == nil {
		t.SkipSamples(samples)
		return nil
	}
	for _, packet := range t.Packetize(frame, samples) {
		if t.garbage != nil {
			if err := t.garbage.spoil(packet); err != nil {
				return err
			}
		}
		if err := t.local.WriteRTP(packet); err != nil {
			return err
		}
		t.packets++
		t.octets += uint32(len(packet.Payload))
	}
	return nil
}

func (p *Peer) addTracks(c *conn) (video, audio *track, err error) {
	codec := p.cfg.Clip.Codec
	payloader := rtp.Payloader(&codecs.VP8Payloader{EnablePictureID: true})
	mime := webrtc.MimeTypeVP8
	if codec == media.VP9 {
		payloader, mime = &codecs.VP9Payloader{}, webrtc.MimeTypeVP9
	}
	audio, err = p.addTrack(c, webrtc.MimeTypeOpus, media.Opus, &codecs.OpusPayloader{})
	if err != nil {
		return nil, nil, err
	}
	video, err = p.addTrack(c, mime, codec, payloader)
	return video, audio, err
}

func (p *Peer) addTrack(c *conn, mime string, codec media.Codec, payloader rtp.Payloader) (*track, error) {
	capability := webrtc.RTPCodecCapability{MimeType: mime, ClockRate: codec.ClockRate()}
	if codec == media.Opus {
		capability.Channels = 2
	}
	local, err := webrtc.NewTrackLocalStaticRTP(capability, codec.Kind().String(), p.cfg.PeerID)
	if err != nil {
		return nil, err
	}
	sender, err := c.pc.AddTrack(local)
	if err != nil {
		return nil, fmt.Errorf("adding the %s track: %w", codec, err)
	}
	// RTCP must be read for retransmissions to work. Clips need not be asked
	// for keyframes: they have one every half second.
	p.wg.Go(func() { c.listen(sender) })
	base := rand.Uint32()
	t := &track{
		Packetizer: rtp.NewPacketizerWithOptions(mtu, payloader, rtp.NewRandomSequencer(), codec.ClockRate(), rtp.WithTimestamp(base)),
		local:      local,
		ssrc:       uint32(sender.GetParameters().Encodings[0].SSRC),
		base:       base, rate: codec.ClockRate(),
	}
	if p.cfg.Garbage {
		t.garbage = &garbage{pc: c.pc}
	}
	return t, nil
}

// setRemote sets the remote description, and adds the candidates that came
// before it.
func (c *conn) setRemote(kind webrtc.SDPType, sdp string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: sdp}); err != nil {
		return err
	}
	c.ready = true
	var errs []error
	for _, i := range c.early {
		errs = append(errs, c.pc.AddICECandidate(i))
	}
	c.early = nil
	return errors.Join(errs...)
}

func (c *conn) addCandidate(m message.Candidate) error {
	i := webrtc.ICECandidateInit{
		Candidate: m.Candidate, SDPMid: m.SDPMid, SDPMLineIndex: m.SDPMLineIndex, UsernameFragment: m.UsernameFragment,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready {
		return c.pc.AddICECandidate(i)
	}
	if len(c.early) == maxEarlyCandidates {
		return fmt.Errorf("more than %d candidates before the description", maxEarlyCandidates)
	}
	c.early = append(c.early, i)
	return nil
}

// discard reads what the other participant sends, and forgets it.
func discard(t *webrtc.TrackRemote) {
	b := make([]byte, media.MaxPacketSize)
	for {
		if _, _, err := t.Read(b); err != nil {
			return
		}
	}
}

// listen reads what the receiver of a track says about it.
func (c *conn) listen(s *webrtc.RTPSender) {
	for {
		reports, _, err := s.ReadRTCP()
		if err != nil {
			return
		}
		for _, r := range reports {
			switch r.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				c.asked.Store(true)
			}
		}
	}
}

func description(d webrtc.SessionDescription) *message.Description {
	return &message.Description{Type: d.Type.String(), SDP: d.SDP}
}
