package netsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/unit"
	"github.com/roomtape/roomtape/signaling/sfu"
)

// layer is an encoding of a picture.
type layer struct {
	rid           string
	bitrate       int // bit/s, without keyframes
	width, height int
}

var (
	threeLayers = []layer{{"l", 150_000, 240, 136}, {"m", 500_000, 480, 270}, {"h", 2_000_000, 960, 540}}
	oneLayer    = []layer{{"", 1_000_000, 640, 360}}
)

// pictureEvery is from picture to picture.
const pictureEvery = 40 * time.Millisecond

// simulcaster publishes encodings of the same pictures of VP8 in a forwarded room. A
// keyframe has four times the size of other pictures, and comes when it is asked for.
type simulcaster struct {
	t      *testing.T
	pc     *webrtc.PeerConnection
	ws     *websocket.Conn
	host   transport.Net
	layers []layer
	tracks []*webrtc.TrackLocalStaticRTP
	sender *webrtc.RTPSender
	stop   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	keys  []bool
	asked int // keyframes
	early []webrtc.ICECandidateInit
	sent  int // pictures
}

// publish has somebody publish a picture in the venue's room.
func (v *venue) publish(id string, layers []layer) *simulcaster {
	v.t.Helper()
	s := &simulcaster{t: v.t, host: v.Host(), layers: layers, stop: make(chan struct{}), keys: make([]bool, len(layers))}
	if err := s.connect(); err != nil {
		v.t.Fatal(err)
	}
	ctx := context.Background()
	var err error
	if s.ws, _, err = websocket.Dial(ctx, "ws://room.invalid/ws/room", &websocket.DialOptions{HTTPClient: v.client()}); err != nil {
		v.t.Fatal(err)
	}
	v.Cleanup(func() {
		close(s.stop)
		_ = s.ws.CloseNow()
		_ = s.pc.GracefulClose()
		s.wg.Wait()
	})
	s.say(message.Message{Type: message.Join, PeerID: id, RoomID: "room"})
	s.say(message.Message{Type: message.PublishTrack, TrackID: "camera", TrackType: "video"})
	offer, err := s.pc.CreateOffer(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(s.pc)
	if err := s.pc.SetLocalDescription(offer); err != nil {
		v.t.Fatal(err)
	}
	<-gathered
	d := s.pc.LocalDescription()
	s.wg.Go(s.listen)
	s.say(message.Message{Type: message.Offer, Target: message.SFU, Offer: &message.Description{Type: "offer", SDP: d.SDP}})
	s.wg.Go(s.play)
	return s
}

func (s *simulcaster) say(m message.Message) {
	b, err := json.Marshal(m)
	if err == nil {
		err = s.ws.Write(context.Background(), websocket.MessageText, b)
	}
	if err != nil {
		s.t.Error(err)
	}
}

func (s *simulcaster) connect() error {
	engine := &webrtc.MediaEngine{}
	var settings webrtc.SettingEngine
	settings.LoggerFactory = netsim.Quiet()
	settings.SetNet(s.host)
	settings.DisableCloseByDTLS(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if err := errors.Join(engine.RegisterDefaultCodecs(), webrtc.ConfigureSimulcastExtensionHeaders(engine)); err != nil {
		return err
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(&interceptor.Registry{}), webrtc.WithSettingEngine(settings))
	var err error
	if s.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return err
	}
	capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	for i, l := range s.layers {
		var options []func(*webrtc.TrackLocalStaticRTP)
		if l.rid != "" {
			options = append(options, webrtc.WithRTPStreamID(l.rid))
		}
		track, err := webrtc.NewTrackLocalStaticRTP(capability, "camera", "stream", options...)
		if err != nil {
			return err
		}
		s.tracks, s.keys[i] = append(s.tracks, track), true
		if i == 0 {
			s.sender, err = s.pc.AddTrack(track)
		} else {
			err = s.sender.AddEncoding(track)
		}
		if err != nil {
			return err
		}
	}
	for i, l := range s.layers {
		read := func() ([]rtcp.Packet, interceptor.Attributes, error) { return s.sender.ReadSimulcastRTCP(l.rid) }
		if l.rid == "" {
			read = s.sender.ReadRTCP
		}
		s.wg.Go(func() {
			for packets, _, err := read(); err == nil; packets, _, err = read() {
				for _, p := range packets {
					if pli, ok := p.(*rtcp.PictureLossIndication); ok && pli.MediaSSRC == uint32(s.sender.GetParameters().Encodings[i].SSRC) {
						s.mu.Lock()
						s.keys[i] = true
						s.asked++
						s.mu.Unlock()
					}
				}
			}
		})
	}
	return nil
}

func (s *simulcaster) listen() {
	for {
		_, b, err := s.ws.Read(context.Background())
		if err != nil {
			return
		}
		m, err := message.Parse(b)
		if err != nil {
			s.t.Error(err)
			return
		}
		switch {
		case m.Type == message.Answer:
			err = s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Answer.SDP})
			for _, c := range s.early {
				err = errors.Join(err, s.pc.AddICECandidate(c))
			}
		case m.Type == message.ICECandidate && m.Candidate.Candidate != "":
			c := webrtc.ICECandidateInit{Candidate: m.Candidate.Candidate, SDPMid: m.Candidate.SDPMid, SDPMLineIndex: m.Candidate.SDPMLineIndex}
			if s.pc.RemoteDescription() == nil {
				s.early = append(s.early, c)
			} else {
				err = s.pc.AddICECandidate(c)
			}
		case m.Type == message.Error:
			err = errors.New(m.Text)
		}
		if err != nil {
			s.t.Error(err)
			return
		}
	}
}

func (s *simulcaster) wait(d time.Duration) bool {
	select {
	case <-s.stop:
		return false
	case <-time.After(d):
		return true
	}
}

func (s *simulcaster) play() {
	for s.pc.ConnectionState() != webrtc.PeerConnectionStateConnected {
		if !s.wait(10 * time.Millisecond) {
			return
		}
	}
	parameters := s.sender.GetParameters()
	var midID, ridID uint8
	for _, e := range parameters.HeaderExtensions {
		switch e.URI {
		case "urn:ietf:params:rtp-hdrext:sdes:mid":
			midID = uint8(e.ID)
		case "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id":
			ridID = uint8(e.ID)
		}
	}
	mid := s.pc.GetTransceivers()[0].Mid()
	began := time.Now()
	sequence := make([]uint16, len(s.layers))
	payloaders := make([]codecs.VP8Payloader, len(s.layers))
	for n := 0; s.wait(time.Until(began.Add(time.Duration(n) * pictureEvery))); n++ {
		for i, l := range s.layers {
			timestamp := uint32(1000*i) + uint32(n)*3600
			s.mu.Lock()
			key := s.keys[i]
			s.keys[i] = false
			s.sent = n + 1
			s.mu.Unlock()
			size := l.bitrate / 8 / 25
			if key {
				size *= 4
			}
			payloaders[i].EnablePictureID = true
			payloads := payloaders[i].Payload(1100, netsim.Frame(media.VP8, n, size, key, l.width, l.height))
			for k, b := range payloads {
				h := rtp.Header{Version: 2, SequenceNumber: sequence[i], Timestamp: timestamp, Marker: k == len(payloads)-1}
				sequence[i]++
				_ = h.SetExtension(midID, []byte(mid))
				if l.rid != "" {
					_ = h.SetExtension(ridID, []byte(l.rid))
				}
				_ = s.tracks[i].WriteRTP(&rtp.Packet{Header: h, Payload: b})
			}
			if n%25 == 5 {
				const epoch = 2_208_988_800
				now := time.Now()
				_ = s.pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{
					SSRC: uint32(parameters.Encodings[i].SSRC), RTPTime: timestamp,
					NTPTime: uint64(now.Unix()+epoch)<<32 | uint64(now.Nanosecond())<<32/1e9,
				}})
			}
		}
	}
}

// pictureSeen is a picture in a recording: its number, its size, and when it came.
type pictureSeen struct {
	n, width int
	at       time.Duration
}

// budgeted is how a recorder behind a link fared.
type budgeted struct {
	seen     []pictureSeen
	sent     int // pictures, by the end
	asked    int // keyframes, of the publisher
	stats    unit.Stats
	link     netsim.LinkCount
	duration time.Duration
	err      error // of the recording
	// opened is when the link was taken away.
	opened time.Duration
}

// missing counts the pictures between the first and the last of the recording that it
// has not, from an instant on.
func (b *budgeted) missing(from time.Duration) (n int) {
	for i := 1; i < len(b.seen); i++ {
		if b.seen[i].at >= from {
			n += max(b.seen[i].n-b.seen[i-1].n-1, 0) // two encodings may have the same picture
		}
	}
	return n
}

// first gives when the first picture of a width came, and -1 when none did.
func (b *budgeted) first(width int) time.Duration {
	i := slices.IndexFunc(b.seen, func(p pictureSeen) bool { return p.width == width })
	if i < 0 {
		return -1
	}
	return b.seen[i].at
}

// share is which part of the pictures is as wide, from an instant on.
func (b *budgeted) share(width int, from time.Duration) float64 {
	all, n := 0, 0
	for _, p := range b.seen {
		if p.at >= from {
			all++
			if p.width == width {
				n++
			}
		}
	}
	return float64(n) / float64(max(all, 1))
}

// repeats is which part of the packets was sent again.
func (b *budgeted) repeats() float64 {
	v := b.stats.Video
	return float64(v.Retransmitted) / float64(max(v.Packets+v.Retransmitted, 1))
}

// behind records somebody's picture behind a link of so many bit/s, 0 being without
// bounds, for a while. Before that it is sent for some seconds, unless fresh is set. Then
// the link has no bounds for as long as opens says, if it does.
func behind(t *testing.T, layers []layer, bitrate int, queue, duration time.Duration, fresh bool, opens ...time.Duration) *budgeted {
	t.Helper()
	out := &budgeted{duration: duration}
	dir := t.TempDir()
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond}, func(n *netsim.Net) {
		t := n.T()
		u, err := unit.NewOn(n.Host(), nil)
		if err != nil {
			t.Fatal(err)
		}
		v := &venue{Net: n, t: t, unit: u, host: n.Host()}
		v.open()
		n.Cleanup(v.shut)
		if bitrate > 0 {
			n.LimitQueue(v.host, bitrate, 0, queue)
		}
		var p *simulcaster
		if !fresh {
			p = v.publish("alice", layers)
			time.Sleep(3 * time.Second)
		}
		began := time.Now()
		_, err = mesh.Dial(context.Background(), mesh.Config{
			URL: "ws://room.invalid/ws/room", PeerID: "rec", HTTPClient: v.client(), Peer: peer.Config{Net: v.host},
		})
		var way *mesh.ForwardedError
		if !errors.As(err, &way) {
			t.Fatal(err)
		}
		room, err := sfu.Enter(way)
		if err != nil {
			t.Fatal(err)
		}
		if fresh {
			time.Sleep(time.Second)
			began = time.Now()
			p = v.publish("alice", layers)
		}
		var mu sync.Mutex
		width := 0
		s := record(t, dir, func(f media.Frame) {
			mu.Lock()
			defer mu.Unlock()
			number, ok := netsim.Number(media.VP8, f.Data)
			if !ok {
				t.Error("a picture is damaged")
			}
			if f.Width > 0 {
				width = f.Width
			}
			out.seen = append(out.seen, pictureSeen{number, width, time.Since(began)})
		})
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, room) }()
		time.Sleep(duration)
		out.stats, out.link = u.Stats(), n.LinkCount(v.host)
		for _, d := range opens {
			out.opened = time.Since(began)
			n.LimitQueue(v.host, 0, 0, queue)
			time.Sleep(d)
		}
		stop()
		out.err = <-done
		p.mu.Lock()
		out.sent, out.asked = p.sent, p.asked
		p.mu.Unlock()
		n.SetDown(true) // see Publisher.Close
		if err := room.Close(); err != nil {
			t.Error(err)
		}
	})
	return out
}

// check tells what is wrong with how a recorder fared that could be sent the layer of
// a width, if anything is, from so long on after its beginning.
func (b *budgeted) check(t *testing.T, name string, width int, from time.Duration) {
	t.Helper()
	first := time.Duration(-1)
	if len(b.seen) > 0 {
		first = b.seen[0].at
	}
	share := float64(b.link.Lost) / float64(max(b.link.Offered, 1))
	t.Logf("%s: %d pictures, the first after %.2f s, %d px after %.2f s; %d missing, %.1f %% lost (%d kB), %.0f %% repeats, %d keyframes asked for",
		name, len(b.seen), first.Seconds(), width, b.first(width).Seconds(), b.missing(0), 100*share, b.link.Lost/1000, 100*b.repeats(), b.asked)
	if b.err != nil {
		t.Errorf("%s: %v", name, b.err)
	}
	switch at := b.first(width); {
	case at < 0 || at > from:
		t.Errorf("%s: the layer that fits comes after %v", name, at)
	case b.share(width, from) < 0.98:
		t.Errorf("%s: the layer that fits is %.2f of the pictures", name, b.share(width, from))
	}
	if n := b.missing(0); n > 0 {
		t.Errorf("%s: %d pictures are missing", name, n)
	}
	if share > 0.01 || b.repeats() > 0.02 || b.asked > 10 {
		t.Errorf("%s: %.3f of the bytes are lost, %.3f of the packets sent again, %d keyframes asked for", name, share, b.repeats(), b.asked)
	}
}

// TestSubscribersAreSentWhatTheyCanReceive has recorders behind links of all kinds
// record three encodings: from the first keyframe on no picture is missing, and soon it
// is the best that fits.
func TestSubscribersAreSentWhatTheyCanReceive(t *testing.T) {
	for _, c := range []struct {
		bitrate int
		queue   time.Duration
		fresh   bool
		width   int
	}{
		{300_000, 200 * time.Millisecond, false, 240},
		{300_000, time.Second, true, 240},
		{1_000_000, 200 * time.Millisecond, true, 480},
		{3_000_000, 300 * time.Millisecond, false, 960},
		{0, time.Second, true, 960},
	} {
		b := behind(t, threeLayers, c.bitrate, c.queue, 12*time.Second, c.fresh)
		b.check(t, fmt.Sprintf("%d bit/s, queue %v, fresh %v", c.bitrate, c.queue, c.fresh), c.width, 3*time.Second)
	}
}

// TestTooMuchIsSentBriefly has what nobody can make less be too much for a link: it is
// left out soon, and what is asked for again never takes the link for itself.
func TestTooMuchIsSentBriefly(t *testing.T) {
	b := behind(t, oneLayer, 300_000, 300*time.Millisecond, 20*time.Second, false)
	t.Logf("%d kB offered, %d kB lost, %.0f %% repeats", b.link.Offered/1000, b.link.Lost/1000, 100*b.repeats())
	if b.link.Offered > 1_600_000 || b.repeats() > 0.25 {
		t.Errorf("%d kB for a link that takes %d, %.2f of the packets repeats", b.link.Offered/1000, 300*20/8, b.repeats())
	}
}

// TestWhatFitsAgainIsSentAgain takes narrow links away.
func TestWhatFitsAgainIsSentAgain(t *testing.T) {
	for _, layers := range [][]layer{threeLayers, oneLayer} {
		b := behind(t, layers, 300_000, 300*time.Millisecond, 20*time.Second, false, 45*time.Second)
		width, back := layers[len(layers)-1].width, time.Duration(-1)
		for _, p := range b.seen {
			if p.width == width && p.at > b.opened && back < 0 {
				back = p.at - b.opened
			}
		}
		t.Logf("%d encodings: the best comes %v after the link is wide", len(layers), back)
		if back < 0 || back > 30*time.Second || b.share(width, b.opened+back) < 0.98 {
			t.Errorf("%d encodings: the best comes after %v, and is %.2f of the pictures after that", len(layers), back, b.share(width, b.opened+back))
		}
	}
}
