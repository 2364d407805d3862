package sfu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/roomtest"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

const patience = 20 * time.Second

// client is a participant of a forwarded room who publishes, and subscribes to
// nothing unless it is told to.
type client struct {
	id     string
	tracks []*webrtc.TrackLocalStaticRTP
	codecs []media.Codec
	heard  chan message.Message // what the server says beyond negotiation
	said   chan string          // what comes over the data channel
	media  chan *webrtc.TrackRemote

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ws     *websocket.Conn
	pc     *webrtc.PeerConnection
	dc     *webrtc.DataChannel

	mu    sync.Mutex
	early []webrtc.ICECandidateInit
	sent  uint64
	err   error
}

var clientAPI = webrtc.NewAPI(webrtc.WithSettingEngine(clientSettings()))

func clientSettings() (s webrtc.SettingEngine) {
	s.SetIncludeLoopbackCandidate(true)
	s.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	s.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard}
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	return s
}

// prepare makes a client that has joined, and has offered nothing yet.
func prepare(url, id string, room ...string) (*client, error) {
	return prepareWith(clientAPI, url, id, room...)
}

// prepareWith does so with connections of an api's.
func prepareWith(api *webrtc.API, url, id string, room ...string) (*client, error) {
	if room = append(room, "room"); room[0] == "" {
		room[0] = "room"
	}
	return prepareJoin(api, url, message.Message{Type: message.Join, PeerID: id, RoomID: room[0]})
}

// prepareJoin does so by this join.
func prepareJoin(api *webrtc.API, url string, join message.Message) (*client, error) {
	c := &client{
		id: join.PeerID, heard: make(chan message.Message, 1000), said: make(chan string, 1000),
		media: make(chan *webrtc.TrackRemote, 100),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var err error
	c.ws, _, err = websocket.Dial(c.ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		return nil, err
	}
	c.ws.SetReadLimit(message.MaxSize)
	if err := c.write(join); err != nil {
		return nil, err
	}
	if c.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	c.pc.OnICECandidate(func(cand *webrtc.ICECandidate) {
		if cand != nil {
			j := cand.ToJSON()
			_ = c.write(message.Message{Type: message.ICECandidate, Target: message.SFU, Candidate: &message.Candidate{
				Candidate: j.Candidate, SDPMid: j.SDPMid, SDPMLineIndex: j.SDPMLineIndex, UsernameFragment: j.UsernameFragment,
			}})
		}
	})
	c.pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { c.media <- t })
	if c.dc, err = c.pc.CreateDataChannel("messages", nil); err != nil {
		return nil, err
	}
	hear := func(m webrtc.DataChannelMessage) { c.said <- string(m.Data) }
	c.dc.OnMessage(hear)
	c.pc.OnDataChannel(func(dc *webrtc.DataChannel) { dc.OnMessage(hear) })
	return c, nil
}

// enterRoom makes a client that sends tracks of these codecs.
func enterRoom(url, id, room string, codecs ...media.Codec) (*client, error) {
	c, err := prepare(url, id, room)
	if err != nil {
		return nil, err
	}
	return c, c.sends(codecs...)
}

// sends has a client that is prepared begin, and send tracks of these codecs.
func (c *client) sends(codecs ...media.Codec) error {
	c.codecs = codecs
	var named []string
	for i, codec := range codecs {
		capability := webrtc.RTPCodecCapability{MimeType: codec.Kind().String() + "/" + codec.String(), ClockRate: codec.ClockRate()}
		if codec == media.Opus {
			capability.Channels = 2
		}
		track, err := webrtc.NewTrackLocalStaticRTP(capability, fmt.Sprint("track-", i), "stream") // the same of everybody
		if err != nil {
			return err
		}
		sender, err := c.pc.AddTrack(track)
		if err != nil {
			return err
		}
		c.wg.Go(func() {
			for { // the interceptors see what is read
				if _, _, err := sender.ReadRTCP(); err != nil {
					return
				}
			}
		})
		c.tracks = append(c.tracks, track)
		named = append(named, track.ID(), codec.Kind().String())
	}
	c.wg.Go(c.play)
	return c.begin(named...)
}

// begin offers, and publishes tracks by their ids and kinds.
func (c *client) begin(named ...string) error {
	d, err := c.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := c.pc.SetLocalDescription(d); err != nil {
		return err
	}
	if err := c.write(message.Message{Type: message.Offer, Target: message.SFU, Offer: &message.Description{Type: "offer", SDP: d.SDP}}); err != nil {
		return err
	}
	for i := 0; i < len(named); i += 2 {
		if err := c.write(message.Message{Type: message.PublishTrack, TrackID: named[i], TrackType: named[i+1]}); err != nil {
			return err
		}
	}
	c.wg.Go(c.serve)
	return nil
}

func (c *client) write(m message.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.ws.Write(c.ctx, websocket.MessageText, b)
}

func (c *client) serve() {
	for {
		_, b, err := c.ws.Read(c.ctx)
		if err != nil {
			return
		}
		m, err := message.Parse(b)
		if err == nil {
			err = c.handle(m)
		}
		if err != nil && c.ctx.Err() == nil {
			c.mu.Lock()
			c.err = errors.Join(c.err, fmt.Errorf("%s: %s: %w", c.id, m.Type, err))
			c.mu.Unlock()
		}
	}
}

func (c *client) handle(m message.Message) error {
	switch m.Type {
	case message.Answer:
		return c.set(webrtc.SDPTypeAnswer, m.Answer.SDP)
	case message.Offer:
		if err := c.set(webrtc.SDPTypeOffer, m.Offer.SDP); err != nil {
			return err
		}
		d, err := c.pc.CreateAnswer(nil)
		if err != nil {
			return err
		}
		if err := c.pc.SetLocalDescription(d); err != nil {
			return err
		}
		return c.write(message.Message{Type: message.Answer, Target: message.SFU, Answer: &message.Description{Type: "answer", SDP: d.SDP}})
	case message.ICECandidate:
		cand := webrtc.ICECandidateInit{Candidate: m.Candidate.Candidate, SDPMid: m.Candidate.SDPMid, SDPMLineIndex: m.Candidate.SDPMLineIndex, UsernameFragment: m.Candidate.UsernameFragment}
		if c.pc.RemoteDescription() == nil {
			c.early = append(c.early, cand)
			return nil
		}
		return c.pc.AddICECandidate(cand)
	}
	select {
	case c.heard <- m:
	default:
	}
	return nil
}

func (c *client) set(typ webrtc.SDPType, sdp string) error {
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: typ, SDP: sdp}); err != nil {
		return err
	}
	early := c.early
	c.early = nil
	for _, cand := range early {
		if err := c.pc.AddICECandidate(cand); err != nil {
			return err
		}
	}
	return nil
}

// play sends numbered packets until the client leaves.
func (c *client) play() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock() // Leave counts what is sent
		if c.ctx.Err() != nil {
			c.mu.Unlock()
			return
		}
		n := c.sent
		c.sent++
		for i, t := range c.tracks {
			codec := c.codecs[i]
			_ = t.WriteRTP(&rtp.Packet{
				Header:  rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(n) + 65500, Timestamp: uint32(n) * codec.ClockRate() / 100},
				Payload: roomtest.Payload(codec, n),
			})
		}
		c.mu.Unlock()
	}
}

// Leave implements roomtest.Sender: it hangs up, then says goodbye.
func (c *client) Leave() ([]uint64, error) {
	c.cancel()
	c.mu.Lock()
	err, sent := c.err, c.sent
	c.mu.Unlock()
	_ = c.pc.GracefulClose()
	_ = c.ws.CloseNow() // its context is over
	c.wg.Wait()
	n := make([]uint64, len(c.tracks))
	for i := range n {
		n[i] = sent
	}
	return n, err
}

// venue is a forwarded room on a real server, with clients in it.
type venue struct {
	t       *testing.T
	url     string
	room    string // "": the usual one
	rooms   *server.Server
	unit    *unit.Unit
	server  *httptest.Server
	clients map[string]*client
	gone    []*client // whose place others have taken
}

func newVenue(t *testing.T, log ...*slog.Logger) *venue {
	return newVenueOf(t, server.Config{}, log...)
}

// openVenue is newVenue for the length of the test.
func openVenue(t *testing.T, log ...*slog.Logger) *venue {
	v := newVenue(t, log...)
	closing(t, v)
	return v
}

// closing closes a venue at the end of the test.
func closing(t *testing.T, v *venue) {
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

// newVenueOf makes a venue whose server has this configuration, but for limits.
func newVenueOf(t *testing.T, cfg server.Config, log ...*slog.Logger) *venue {
	u, err := unit.New(append(log, nil)[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg.Forward, cfg.AddressJoins, cfg.AddressMessages = u, -1, -1
	s := server.New(cfg)
	v := &venue{t: t, rooms: s, unit: u, server: httptest.NewServer(s), clients: map[string]*client{}}
	v.url = "ws" + strings.TrimPrefix(v.server.URL, "http") + "/ws/room"
	return v
}

func (v *venue) Join(ctx context.Context) (signaling.Room, error) { return v.dial(ctx, mesh.Config{}) }

// dial joins as "rec".
func (v *venue) dial(ctx context.Context, cfg mesh.Config) (*Room, error) {
	if cfg.PeerID = "rec"; cfg.URL == "" {
		cfg.URL = v.url
	}
	cfg.Peer.Loopback = true
	_, err := mesh.Dial(ctx, cfg)
	var way *mesh.ForwardedError
	if !errors.As(err, &way) {
		return nil, fmt.Errorf("Dial: %w", err)
	}
	return Enter(way)
}

func (v *venue) Enter(id string, codecs ...media.Codec) (roomtest.Sender, error) {
	return v.enter(id, codecs...)
}

func (v *venue) enter(id string, codecs ...media.Codec) (*client, error) {
	c, err := enterRoom(v.url, id, v.room, codecs...)
	if err != nil {
		return nil, err
	}
	if old := v.clients[id]; old != nil {
		v.gone = append(v.gone, old)
	}
	v.clients[id] = c
	return c, nil
}

func (v *venue) Close() error {
	var errs []error
	for _, c := range v.clients {
		v.gone = append(v.gone, c)
	}
	for _, c := range v.gone {
		_, err := c.Leave()
		errs = append(errs, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs = append(errs, v.rooms.Shutdown(ctx))
	v.server.Close()
	http.DefaultClient.CloseIdleConnections()
	return errors.Join(errs...)
}

func TestConformance(t *testing.T) {
	roomtest.Run(t, func(t *testing.T) roomtest.Venue { return roomtest.Recorded(t, newVenue(t)) })
}
