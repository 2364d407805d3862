package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

// PublisherConfig says what a Publisher sends.
type PublisherConfig struct {
	URL, Room, ID string
	// Codec is that of the Clips, which are encodings of the same picture and of the
	// same length.
	Codec media.Codec
	Clips []Clip
	// Every is from picture to picture.
	Every time.Duration
	// Sound has Opus packets of 20 ms each, in a loop; none: no sound.
	Sound [][]byte
	// Seed is of where numbers and timestamps begin.
	Seed uint64
	// Announce names the sources in the description, as some browsers do; Chromium
	// names the encodings only, and each packet says which it is of until the first
	// report on its source.
	Announce bool
}

// The tracks that a Publisher publishes.
const (
	VideoTrack = "camera"
	AudioTrack = "microphone"
)

// Publisher sends the encodings of a picture, and sound, as Chromium does: a source
// each, with one for retransmissions; the header extensions mid, rid and
// repaired-rid until they are known, transport-wide sequence numbers,
// abs-capture-time and the audio level; sender reports. It answers NACKs, goes on
// with a keyframe of its clip when it is asked for one, and probes the way by
// sending again and by padding. Its methods may be called by any goroutine.
type Publisher struct {
	cfg    PublisherConfig
	pc     *webrtc.PeerConnection
	guest  *Guest
	start  time.Time
	cancel context.CancelFunc
	loops  sync.WaitGroup
	flows  []*flow // of the picture, like Clips
	sound  *flow
}

// Sent is a picture that was sent.
type Sent struct {
	Clip, Picture int // their places in PublisherConfig.Clips, and in the clip
	At            time.Time
}

const (
	uriCaptureTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	soundEvery     = 20 * time.Millisecond
)

// Of browsers' payload types.
var formats = []webrtc.RTPCodecParameters{
	{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, PayloadType: 96},
	{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP9, SDPFmtpLine: "profile-id=0"}, PayloadType: 98},
	{RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeH264, SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
	}, PayloadType: 102},
}

// newAPI makes connections over loopback, with what Chromium offers.
func newAPI() (*webrtc.API, error) {
	var engine webrtc.SettingEngine
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine.SetIncludeLoopbackCandidate(true)
	engine.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	engine.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard}
	m, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
	var errs []error
	for _, f := range formats {
		f.ClockRate = 90000
		f.RTCPFeedback = []webrtc.RTCPFeedback{{Type: "goog-remb"}, {Type: "transport-cc"}, {Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}}
		rtx := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: fmt.Sprintf("apt=%d", f.PayloadType)}
		errs = append(errs, m.RegisterCodec(f, webrtc.RTPCodecTypeVideo),
			m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: rtx, PayloadType: f.PayloadType + 1}, webrtc.RTPCodecTypeVideo))
	}
	errs = append(errs, m.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
			RTCPFeedback: []webrtc.RTCPFeedback{{Type: "transport-cc"}},
		}, PayloadType: 111,
	}, webrtc.RTPCodecTypeAudio))
	for kind, uris := range map[webrtc.RTPCodecType][]string{
		webrtc.RTPCodecTypeVideo: {sdp.SDESMidURI, sdp.SDESRTPStreamIDURI, sdp.SDESRepairRTPStreamIDURI, uriCaptureTime},
		webrtc.RTPCodecTypeAudio: {sdp.SDESMidURI, uriCaptureTime, sdp.AudioLevelURI},
	} {
		for _, uri := range uris {
			errs = append(errs, m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind))
		}
	}
	errs = append(errs, webrtc.ConfigureTWCCHeaderExtensionSender(m, registry))
	return webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(engine), webrtc.WithInterceptorRegistry(registry)), errors.Join(errs...)
}

// Publish joins a room and sends until Close.
func Publish(ctx context.Context, cfg PublisherConfig) (*Publisher, error) {
	api, err := newAPI()
	if err != nil {
		return nil, err
	}
	p := &Publisher{cfg: cfg}
	if p.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	live, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	if err := p.begin(ctx, live); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Publisher) begin(ctx, live context.Context) error {
	random := rand.New(rand.NewPCG(p.cfg.Seed, 2))
	var tracks []Track
	if len(p.cfg.Sound) > 0 {
		p.sound = newFlow(media.Opus, AudioTrack, "", random)
		sender, err := p.pc.AddTrack(p.sound)
		if err != nil {
			return err
		}
		p.loops.Go(func() { p.sound.listen(sender.ReadRTCP) })
		tracks = append(tracks, Track{AudioTrack, "audio"})
	}
	var sender *webrtc.RTPSender
	for i, c := range p.cfg.Clips {
		f := newFlow(p.cfg.Codec, VideoTrack, c.RID, random)
		f.payloader = newPayloader(p.cfg.Codec, c.Pictures[1].Layer > 0, random)
		p.flows = append(p.flows, f)
		var err error
		if i == 0 {
			sender, err = p.pc.AddTrack(f)
		} else {
			err = sender.AddEncoding(f)
		}
		if err != nil {
			return err
		}
	}
	for _, f := range p.flows {
		p.loops.Go(func() {
			f.listen(func() ([]rtcpPacket, interceptor.Attributes, error) { return sender.ReadSimulcastRTCP(f.rid) })
		})
	}
	tracks = append(tracks, Track{VideoTrack, "video"})
	cfg := Config{URL: p.cfg.URL, Room: p.cfg.Room, ID: p.cfg.ID, PC: p.pc}
	if !p.cfg.Announce {
		cfg.Rewrite = func(offer string) string { return announcements.ReplaceAllString(offer, "") }
	}
	var err error
	if p.guest, err = Join(live, cfg); err != nil {
		return err
	}
	if err := p.guest.Begin(ctx, tracks...); err != nil {
		return err
	}
	for p.pc.ConnectionState() != webrtc.PeerConnectionStateConnected {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not connected: %w", p.cfg.ID, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	for _, t := range p.pc.GetTransceivers() {
		f := p.sound
		if t.Kind() == webrtc.RTPCodecTypeVideo {
			for _, f := range p.flows {
				f.name(t.Mid())
			}
			continue
		}
		f.name(t.Mid())
	}
	p.start = time.Now()
	p.loops.Go(func() { every(live, p.start, p.cfg.Every, p.show) })
	if p.sound != nil {
		p.loops.Go(func() { every(live, p.start, soundEvery, p.speak) })
	}
	p.loops.Go(func() { p.report(live) })
	return nil
}

// announcements are what the description says of sources.
var announcements = regexp.MustCompile(`a=ssrc(-group)?:[^\r\n]*\r\n`)

// every calls send when things are due, until ctx is done.
func every(ctx context.Context, start time.Time, d time.Duration, send func(n int, due time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := start.Add(time.Duration(n) * d)
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		send(n, due)
	}
}

// show sends the n-th picture in all encodings.
func (p *Publisher) show(n int, due time.Time) {
	for i, f := range p.flows {
		f.show(&p.cfg.Clips[i], i, due)
		if (n+i)%probeEvery == 0 {
			f.probe()
		}
	}
}

func (p *Publisher) speak(n int, due time.Time) {
	p.sound.send(due, [][]byte{p.cfg.Sound[n%len(p.cfg.Sound)]}, n == 0)
}

// report sends a sender report of each source about every second, each at its own
// time.
func (p *Publisher) report(ctx context.Context) {
	all := p.flows
	if p.sound != nil {
		all = append(all[:len(all):len(all)], p.sound)
	}
	every(ctx, p.start.Add(200*time.Millisecond), time.Second/time.Duration(len(all)), func(n int, _ time.Time) {
		if r := all[n%len(all)].report(time.Now()); r != nil {
			_ = p.pc.WriteRTCP([]rtcpPacket{r}) // the next one says the same
		}
	})
}

// Enable begins or ends the sending of an encoding, by its place in
// PublisherConfig.Clips. It begins with a keyframe.
func (p *Publisher) Enable(clip int, on bool) {
	f := p.flows[clip]
	f.mu.Lock()
	defer f.mu.Unlock()
	if on && f.off {
		f.wantKey = true
	}
	f.off = !on
}

// Sent gives the pictures of an encoding that were sent so far.
func (p *Publisher) Sent(clip int) []Sent {
	f := p.flows[clip]
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent[:len(f.sent):len(f.sent)]
}

// Counts tells how often a keyframe of an encoding was asked for, and how many
// packets were sent again since they were asked for.
func (p *Publisher) Counts(clip int) (keyframes, again int) {
	f := p.flows[clip]
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.again
}

// Close leaves.
func (p *Publisher) Close() error {
	p.cancel()
	err := p.pc.GracefulClose()
	p.loops.Wait()
	if p.guest != nil {
		_ = p.guest.Wait() // it has left
	}
	return err
}
