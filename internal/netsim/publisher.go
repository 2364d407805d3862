package netsim

import (
	"errors"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

// PublisherConfig says what a publisher sends. The zero value is 25 pictures/s
// of VP8, 640x360, about 1 Mbit/s, and Opus.
type PublisherConfig struct {
	// Video is VP8 or VP9; CodecUnknown means VP8.
	Video media.Codec
	// NoVideo and NoAudio leave a kind out.
	NoVideo, NoAudio bool
	FPS              int
	Width, Height    int
	// FrameSize is the size of a picture in bytes; a keyframe has four times
	// that.
	FrameSize int
	// KeyEvery is the number of pictures from keyframe to keyframe; 0 means
	// that they come only when asked for.
	KeyEvery int
	// Layers is the number of temporal layers of VP8, up to 3; 0 means 1.
	Layers int
	// EncodeTime is how long after its capture a picture is sent. It is less
	// than the time between two pictures.
	EncodeTime time.Duration
	// History is how many packets of each track are kept to be sent again, a
	// power of two; 0 means 1024. Less than 0: none, and the publisher does not
	// negotiate NACK.
	History int
	// PlainAudio leaves NACK out for audio.
	PlainAudio bool
	// FIR has keyframes be asked for by FIR, not by PLI.
	FIR bool
	// ReportSent has sender reports count from when the last frame was sent, as
	// pion's do, not from when it was captured.
	ReportSent bool
}

// Sent is a frame that was sent.
type Sent struct {
	Data []byte
	Key  bool
	// Refs are the numbers of the frames that it refers to.
	Refs []int
	// At is when it was captured.
	At time.Time
	// First and Packets are its sequence numbers.
	First   uint16
	Packets int
}

// Publisher is a peer that sends numbered frames; see Frame. It sends sender
// reports, and answers NACK (by RTX) and requests for keyframes, as browsers do.
type Publisher struct {
	PC *webrtc.PeerConnection

	n    *Net
	host *host
	cfg  PublisherConfig
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	video, audio *flow

	mu         sync.Mutex
	wantKey    bool
	nacked     int
	keyframes  int // asked for
	reports    int
	congestion int
	standing   time.Time // until when
}

// Publisher adds a publisher, on a host of its own. It is closed when the run
// ends.
func (n *Net) Publisher(cfg PublisherConfig) *Publisher {
	n.t.Helper()
	if cfg.Video == media.CodecUnknown {
		cfg.Video = media.VP8
	}
	if cfg.FPS == 0 {
		cfg.FPS = 25
	}
	if cfg.Width == 0 {
		cfg.Width, cfg.Height = 640, 360
	}
	if cfg.FrameSize == 0 {
		cfg.FrameSize = 5000
	}
	p := &Publisher{n: n, host: n.host(), cfg: cfg, stop: make(chan struct{}), wantKey: true}
	if err := p.connect(); err != nil {
		n.t.Fatal(err)
	}
	n.Cleanup(p.Close)
	return p
}

func (p *Publisher) connect() error {
	engine, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := p.codecs(engine); err != nil {
		return err
	}
	if err := p.intercept(engine, registry); err != nil {
		return err
	}
	var s webrtc.SettingEngine
	s.LoggerFactory = Quiet()
	s.SetNet(p.host)
	s.DisableCloseByDTLS(true)      // see Close
	s.SetICEMaxBindingRequests(200) // browsers don't give up after a second and a half
	s.SetDTLSRetransmissionInterval(100 * time.Millisecond)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(s))
	var err error
	if p.PC, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return err
	}
	if !p.cfg.NoAudio {
		if p.audio, err = p.track(webrtc.MimeTypeOpus, "audio", 48000); err != nil {
			return err
		}
	}
	if !p.cfg.NoVideo {
		p.video, err = p.track("video/"+p.cfg.Video.String(), "video", 90000)
	}
	return err
}

// codecs registers what is sent, with the feedback that is answered.
func (p *Publisher) codecs(engine *webrtc.MediaEngine) error {
	var audio []webrtc.RTCPFeedback
	video := []webrtc.RTCPFeedback{{Type: "nack", Parameter: "pli"}}
	if p.cfg.FIR {
		video[0] = webrtc.RTCPFeedback{Type: "ccm", Parameter: "fir"}
	}
	if p.cfg.History >= 0 {
		video = append(video, webrtc.RTCPFeedback{Type: "nack"})
		if !p.cfg.PlainAudio {
			audio = append(audio, webrtc.RTCPFeedback{Type: "nack"})
		}
	}
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, RTCPFeedback: audio}
	picture := webrtc.RTPCodecCapability{MimeType: "video/" + p.cfg.Video.String(), ClockRate: 90000, RTCPFeedback: video}
	rtx := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: "apt=96"}
	return errors.Join(
		engine.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: opus, PayloadType: 111}, webrtc.RTPCodecTypeAudio),
		engine.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: picture, PayloadType: 96}, webrtc.RTPCodecTypeVideo),
		engine.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: rtx, PayloadType: 97}, webrtc.RTPCodecTypeVideo),
	)
}

// intercept has packets kept and numbered for the connection. Sender reports
// are written by report, which knows when a picture was captured.
func (p *Publisher) intercept(engine *webrtc.MediaEngine, registry *interceptor.Registry) error {
	if p.cfg.History >= 0 {
		size := uint16(p.cfg.History)
		if size == 0 {
			size = 1024
		}
		responder, err := nack.NewResponderInterceptor(nack.ResponderSize(size), nack.WithResponderLoggerFactory(Quiet()))
		if err != nil {
			return err
		}
		registry.Add(responder)
	}
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(engine, registry); err != nil {
		return err
	}
	return webrtc.ConfigureTWCCSender(engine, registry)
}

func (p *Publisher) track(mime, id string, rate uint32) (*flow, error) {
	t, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, id, "stream")
	if err != nil {
		return nil, err
	}
	sender, err := p.PC.AddTrack(t)
	if err != nil {
		return nil, err
	}
	p.wg.Go(func() {
		for {
			packets, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			p.heard(packets)
		}
	})
	return &flow{
		track: t, ssrc: uint32(sender.GetParameters().Encodings[0].SSRC), rate: rate,
		seq: 65000, base: 4294000000,
	}, nil
}

func (p *Publisher) heard(packets []rtcp.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range packets {
		switch r := r.(type) {
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			p.keyframes++
			p.wantKey = true
		case *rtcp.TransportLayerNack:
			for _, pair := range r.Nacks {
				p.nacked += len(pair.PacketList())
			}
		case *rtcp.ReceiverReport:
			p.reports++
		case *rtcp.TransportLayerCC:
			p.congestion++
		}
	}
}

// Offer makes an offer that holds all candidates.
func (p *Publisher) Offer() message.Description {
	p.n.t.Helper()
	d, err := p.PC.CreateOffer(nil)
	return p.local(d, err)
}

// Answer answers an offer, with all candidates.
func (p *Publisher) Answer(offer message.Description) message.Description {
	p.n.t.Helper()
	err := p.PC.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.SDP})
	if err != nil {
		p.n.t.Fatal(err)
	}
	d, err := p.PC.CreateAnswer(nil)
	return p.local(d, err)
}

// Accept takes the answer to Offer.
func (p *Publisher) Accept(answer message.Description) {
	p.n.t.Helper()
	err := p.PC.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP})
	if err != nil {
		p.n.t.Fatal(err)
	}
}

func (p *Publisher) local(d webrtc.SessionDescription, err error) message.Description {
	p.n.t.Helper()
	if err != nil {
		p.n.t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(p.PC)
	if err := p.PC.SetLocalDescription(d); err != nil {
		p.n.t.Fatal(err)
	}
	<-gathered
	local := p.PC.LocalDescription()
	return message.Description{Type: local.Type.String(), SDP: local.SDP}
}

// Close ends sending, leaves the network without a goodbye, and ends the
// connection. (When pion hears a goodbye, it waits for a timer with a lock held
// that another goroutine wants, which can stop a bubble's clock for good.)
func (p *Publisher) Close() {
	p.Stop()
	p.host.gone.Store(true)
	_ = p.PC.GracefulClose() // it is closed either way
	p.wg.Wait()
}

// Heard is what has come back from the receiver so far.
type Heard struct {
	Nacked          int // sequence numbers
	KeyframeAsked   int // PLI and FIR
	ReceiverReports int
	Congestion      int // transport-wide feedback
}

// Heard gives what has come back from the receiver so far.
func (p *Publisher) Heard() Heard {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Heard{p.nacked, p.keyframes, p.reports, p.congestion}
}
