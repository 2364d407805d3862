package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/roomtest"
	"github.com/roomtape/roomtape/signaling/server"
)

// client is a participant who does what clients in the field do: its tracks
// are there from the beginning, it offers to those who were there before it,
// each offer gets a new peer connection in place of the old one, which stays
// up, and candidates are sent as they come.
type client struct {
	id     string
	tracks []*webrtc.TrackLocalStaticRTP
	codecs []media.Codec
	said   chan string // what comes over any data channel

	ctx    context.Context // done when it leaves
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	ws    *websocket.Conn
	pcs   map[string]*webrtc.PeerConnection // by peer
	old   []*webrtc.PeerConnection
	early map[string][]webrtc.ICECandidateInit
	sent  uint64
	err   error
	// hangsUp has it end its connection with whoever leaves, as some do.
	hangsUp bool
}

var clientAPI = func() *webrtc.API {
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	s.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard}
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	return webrtc.NewAPI(webrtc.WithSettingEngine(s))
}()

// enterRoom makes a client and has it join and send.
func enterRoom(url, id string, codecs ...media.Codec) (*client, error) {
	c := &client{id: id, codecs: codecs, said: make(chan string, 100), pcs: map[string]*webrtc.PeerConnection{}, early: map[string][]webrtc.ICECandidateInit{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for i, codec := range codecs {
		mime := codec.Kind().String() + "/" + codec.String()
		capability := webrtc.RTPCodecCapability{MimeType: mime, ClockRate: codec.ClockRate()}
		if codec == media.Opus {
			capability.Channels = 2
		}
		track, err := webrtc.NewTrackLocalStaticRTP(capability, fmt.Sprint(id, "-track-", i), id+"-stream")
		if err != nil {
			return nil, err
		}
		c.tracks = append(c.tracks, track)
	}
	if err := c.join(url); err != nil {
		return nil, err
	}
	c.wg.Go(c.play)
	return c, nil
}

// join joins, again perhaps.
func (c *client) join(url string) error {
	ws, _, err := websocket.Dial(c.ctx, url, &websocket.DialOptions{HTTPClient: newClient()})
	if err != nil {
		return err
	}
	ws.SetReadLimit(message.MaxSize)
	c.mu.Lock()
	c.ws = ws
	c.mu.Unlock()
	if err := writeMessage(c.ctx, ws, message.Message{Type: message.Join, PeerID: c.id, RoomID: "room"}); err != nil {
		return err
	}
	m, err := readMessage(c.ctx, ws)
	if err != nil {
		return err
	}
	for _, id := range m.Peers {
		if err := c.offer(ws, id); err != nil {
			return err
		}
	}
	c.wg.Go(func() { c.serve(ws) })
	return nil
}

func (c *client) serve(ws *websocket.Conn) {
	for {
		m, err := readMessage(c.ctx, ws)
		if err != nil {
			return
		}
		if err := c.handle(ws, m); err != nil {
			c.mu.Lock()
			c.err = errors.Join(c.err, fmt.Errorf("%s: %s from %q: %w", c.id, m.Type, m.From, err))
			c.mu.Unlock()
		}
	}
}

// connection makes a peer connection for a peer, in place of the old one.
func (c *client) connection(ws *websocket.Conn, id string) (*webrtc.PeerConnection, error) {
	pc, err := clientAPI.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	for _, t := range c.tracks {
		sender, err := pc.AddTrack(t)
		if err != nil {
			return nil, err
		}
		c.wg.Go(func() {
			for { // the interceptors see what is read
				if _, _, err := sender.ReadRTCP(); err != nil {
					return
				}
			}
		})
	}
	dc, err := pc.CreateDataChannel("messages", nil)
	if err != nil {
		return nil, err
	}
	hear := func(m webrtc.DataChannelMessage) {
		select {
		case c.said <- string(m.Data):
		default:
		}
	}
	dc.OnMessage(hear)
	pc.OnDataChannel(func(dc *webrtc.DataChannel) { dc.OnMessage(hear) })
	pc.OnICECandidate(func(cand *webrtc.ICECandidate) {
		if cand != nil {
			j := cand.ToJSON()
			_ = writeMessage(c.ctx, ws, message.Message{Type: message.ICECandidate, Target: id, Candidate: &message.Candidate{
				Candidate: j.Candidate, SDPMid: j.SDPMid, SDPMLineIndex: j.SDPMLineIndex, UsernameFragment: j.UsernameFragment,
			}})
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.pcs[id]; old != nil {
		c.old = append(c.old, old)
	}
	c.pcs[id] = pc
	return pc, nil
}

// offer offers a new connection, or a restart of the one there is.
func (c *client) offer(ws *websocket.Conn, id string) error {
	pc, err := c.connection(ws, id)
	if err != nil {
		return err
	}
	return c.propose(ws, id, pc, nil)
}

func (c *client) propose(ws *websocket.Conn, id string, pc *webrtc.PeerConnection, o *webrtc.OfferOptions) error {
	d, err := pc.CreateOffer(o)
	if err != nil {
		return err
	}
	if err := pc.SetLocalDescription(d); err != nil {
		return err
	}
	return writeMessage(c.ctx, ws, message.Message{Type: message.Offer, Target: id, Offer: &message.Description{Type: "offer", SDP: d.SDP}})
}

func (c *client) handle(ws *websocket.Conn, m message.Message) error {
	c.mu.Lock()
	pc := c.pcs[m.From]
	c.mu.Unlock()
	switch m.Type {
	case message.PeerLeft:
		c.mu.Lock()
		defer c.mu.Unlock()
		if pc := c.pcs[m.PeerID]; pc != nil && c.hangsUp {
			delete(c.pcs, m.PeerID)
			return pc.Close()
		}
	case message.Offer:
		pc, err := c.connection(ws, m.From)
		if err != nil {
			return err
		}
		if err := c.set(m.From, pc, webrtc.SDPTypeOffer, m.Offer.SDP); err != nil {
			return err
		}
		d, err := pc.CreateAnswer(nil)
		if err != nil {
			return err
		}
		if err := pc.SetLocalDescription(d); err != nil {
			return err
		}
		return writeMessage(c.ctx, ws, message.Message{Type: message.Answer, Target: m.From, Answer: &message.Description{Type: "answer", SDP: d.SDP}})
	case message.Answer:
		if pc == nil {
			return errors.New("answer to no offer")
		}
		return c.set(m.From, pc, webrtc.SDPTypeAnswer, m.Answer.SDP)
	case message.ICECandidate:
		cand := webrtc.ICECandidateInit{Candidate: m.Candidate.Candidate, SDPMid: m.Candidate.SDPMid, SDPMLineIndex: m.Candidate.SDPMLineIndex, UsernameFragment: m.Candidate.UsernameFragment}
		if pc == nil || pc.RemoteDescription() == nil {
			c.early[m.From] = append(c.early[m.From], cand)
			return nil
		}
		return pc.AddICECandidate(cand)
	}
	return nil
}

func (c *client) set(id string, pc *webrtc.PeerConnection, typ webrtc.SDPType, sdp string) error {
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: typ, SDP: sdp}); err != nil {
		return err
	}
	early := c.early[id]
	delete(c.early, id)
	for _, cand := range early {
		if err := pc.AddICECandidate(cand); err != nil {
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
			// What is not bound to a connection yet sends to nobody.
			_ = t.WriteRTP(&rtp.Packet{
				Header:  rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(n) + 65500, Timestamp: uint32(n) * codec.ClockRate() / 100},
				Payload: roomtest.Payload(codec, n),
			})
		}
		c.mu.Unlock()
	}
}

// vanish ends the client as a crash would: nobody is told.
func (c *client) vanish() {
	c.cancel() // cuts the socket
	c.wg.Wait()
}

// Leave implements roomtest.Sender: it hangs up, then says goodbye.
func (c *client) Leave() ([]uint64, error) {
	c.cancel()
	c.mu.Lock()
	pcs := c.old
	for _, pc := range c.pcs {
		pcs = append(pcs, pc)
	}
	c.pcs, c.old = map[string]*webrtc.PeerConnection{}, nil
	ws, err, sent := c.ws, c.err, c.sent
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, pc := range pcs {
		wg.Go(func() { _ = pc.GracefulClose() })
	}
	wg.Wait()
	_ = ws.CloseNow() // its context is over
	c.wg.Wait()
	n := make([]uint64, len(c.tracks))
	for i := range n {
		n[i] = sent
	}
	return n, err
}

// venue is a room on a real server, with clients in it.
type venue struct {
	t       *testing.T
	url     string
	server  *httptest.Server
	clients map[string]*client
	gone    []*client // whose place others have taken
}

func newVenue(t *testing.T) *venue {
	s := server.New(server.Config{})
	v := &venue{t: t, server: httptest.NewServer(s), clients: map[string]*client{}}
	v.url = "ws" + strings.TrimPrefix(v.server.URL, "http") + "/ws/room"
	return v
}

func (v *venue) Join(ctx context.Context) (signaling.Room, error) { return v.dial(ctx, Config{}) }

// dial joins as "rec".
func (v *venue) dial(ctx context.Context, cfg Config) (*Room, error) {
	cfg.URL, cfg.PeerID = v.url, "rec"
	cfg.Peer = peer.Config{Loopback: true}
	return Dial(ctx, cfg)
}

func (v *venue) Enter(id string, codecs ...media.Codec) (roomtest.Sender, error) {
	return v.enter(id, codecs...)
}

func (v *venue) enter(id string, codecs ...media.Codec) (*client, error) {
	c, err := enterRoom(v.url, id, codecs...)
	if err != nil {
		return nil, err
	}
	if old := v.clients[id]; old != nil {
		v.gone = append(v.gone, old)
		old.vanish()
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
	v.server.Close()
	http.DefaultClient.CloseIdleConnections()
	return errors.Join(errs...)
}
