package netsim

import (
	"sync"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	pionmedia "github.com/pion/webrtc/v4/pkg/media"

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
}

// Sent is a frame that was sent.
type Sent struct {
	Data []byte
	Key  bool
	At   time.Time
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

	video, audio *webrtc.TrackLocalStaticSample

	mu         sync.Mutex
	wantKey    bool
	sentVideo  []Sent
	sentAudio  []Sent
	nacked     int
	keyframes  int // asked for
	reports    int
	congestion int
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
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return err
	}
	engine.RegisterFeedback(webrtc.RTCPFeedback{Type: "nack"}, webrtc.RTPCodecTypeAudio) // browsers have it
	if err := webrtc.RegisterDefaultInterceptors(engine, registry); err != nil {
		return err
	}
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(engine, registry); err != nil {
		return err
	}
	var s webrtc.SettingEngine
	s.LoggerFactory = Quiet()
	s.SetNet(p.host)
	s.DisableCloseByDTLS(true)      // see Close
	s.SetICEMaxBindingRequests(200) // browsers don't give up after a second and a half
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(s))
	var err error
	if p.PC, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return err
	}
	if !p.cfg.NoAudio {
		if p.audio, err = p.track(webrtc.MimeTypeOpus, "audio"); err != nil {
			return err
		}
	}
	if !p.cfg.NoVideo {
		p.video, err = p.track("video/"+p.cfg.Video.String(), "video")
	}
	return err
}

func (p *Publisher) track(mime, id string) (*webrtc.TrackLocalStaticSample, error) {
	t, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime}, id, "stream")
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
	return t, nil
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

// Start waits until the connection is up, then sends until Stop or Close.
func (p *Publisher) Start() {
	p.n.t.Helper()
	if !p.Play() {
		p.n.t.Fatalf("not connected: %v", p.PC.ConnectionState())
	}
}

// Play is Start that tells whether the connection came up within 30 s, in place
// of failing the test.
func (p *Publisher) Play() bool {
	for deadline := time.Now().Add(30 * time.Second); p.PC.ConnectionState() != webrtc.PeerConnectionStateConnected; {
		if time.Now().After(deadline) || p.host.gone.Load() {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	if p.video != nil {
		p.wg.Go(func() { p.every(time.Second/time.Duration(p.cfg.FPS), p.sendVideo) })
	}
	if p.audio != nil {
		p.wg.Go(func() { p.every(20*time.Millisecond, p.sendAudio) })
	}
	return true
}

func (p *Publisher) every(d time.Duration, send func(n int, d time.Duration)) {
	t := time.NewTicker(d)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-p.stop:
			return
		case <-t.C:
			send(n, d)
		}
	}
}

func (p *Publisher) sendVideo(n int, d time.Duration) {
	p.mu.Lock()
	key := p.wantKey || p.cfg.KeyEvery > 0 && n%p.cfg.KeyEvery == 0
	p.wantKey = false
	size := p.cfg.FrameSize
	if key {
		size *= 4
	}
	data := Frame(p.cfg.Video, n, size, key, p.cfg.Width, p.cfg.Height)
	p.sentVideo = append(p.sentVideo, Sent{data, key, time.Now()})
	p.mu.Unlock()
	_ = p.video.WriteSample(pionmedia.Sample{Data: data, Duration: d}) // fails when the test closes the connection
}

func (p *Publisher) sendAudio(n int, d time.Duration) {
	data := Frame(media.Opus, n, 100, true, 0, 0)
	p.mu.Lock()
	p.sentAudio = append(p.sentAudio, Sent{data, true, time.Now()})
	p.mu.Unlock()
	_ = p.audio.WriteSample(pionmedia.Sample{Data: data, Duration: d})
}

// Stop ends sending; the connection stays.
func (p *Publisher) Stop() {
	p.once.Do(func() { close(p.stop) })
	synctest.Wait()
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

// SentVideo and SentAudio give what was sent so far.
func (p *Publisher) SentVideo() []Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sentVideo[:len(p.sentVideo):len(p.sentVideo)]
}

// SentAudio gives what was sent so far.
func (p *Publisher) SentAudio() []Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sentAudio[:len(p.sentAudio):len(p.sentAudio)]
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
