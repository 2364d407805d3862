// Package synthetic has participants that are made up: each joins a mesh room
// as a browser would and plays a clip in a loop to everyone else in it. The
// demo and the tests put them where people would be.
//
// A participant behaves like the clients that the room protocol is spoken by in
// the field: it adds its tracks when it makes a connection, never renegotiates,
// offers to those who were there before it and answers those who come later.
package synthetic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// maxEarlyCandidates bounds the ICE candidates that are kept for a connection
// whose remote description has not come yet.
const maxEarlyCandidates = 64

// writeTimeout bounds how long one message to the server may take.
const writeTimeout = 10 * time.Second

// Config says who the participant is and where it goes.
type Config struct {
	// URL is the server's WebSocket address, used whole.
	URL string
	// Room and PeerID are sent in the join message.
	Room, PeerID string
	// Clip is what the participant plays.
	Clip *Clip
	// Reserved participants offer to nobody, and so play to those only who
	// come later: such participants have no connections among themselves.
	Reserved bool
	// Loopback keeps media on the loopback interface.
	Loopback bool
	// Picture, when it is set, makes the n-th video frame, from 0, in place of
	// Clip; asked is set when the receiver has asked for a keyframe since the
	// frame before. It is called by a goroutine for each connection, and the
	// frame is not changed.
	Picture func(n int, asked bool) []byte
	// Source, when it is set, gives what is played on each new connection, to
	// the participant to, in place of what Clip has; Clip's codec and frame
	// duration still hold.
	Source func(to string) Source
	// Ignore, when it is set, tells whom the participant wants nothing of: it
	// does not offer to them, and does not answer them.
	Ignore func(id string) bool
	// Garbage participants connect as others do and then send garbage for
	// media: random payloads, sequence numbers, timestamps and RTCP, in the
	// rhythm of Clip. On the data channel they send a message of 100 MB.
	Garbage bool
	// Logger gets what goes wrong after the join; nil discards it.
	Logger *slog.Logger

	// watch reads a track that another participant sends, to its end; nil is
	// discard.
	watch func(*webrtc.TrackRemote)
}

// Source makes what is played on one connection. One goroutine calls it, in the
// order in which the frames are due; what it returns is not changed.
type Source interface {
	// Picture makes the n-th video frame, from 0; asked is set when the
	// receiver has asked for a keyframe since the frame before. Nil leaves the
	// frame out.
	Picture(n int, asked bool) []byte
	// Sound makes the n-th Opus packet, of 20 ms, from 0. Nil leaves it out.
	Sound(n int) []byte
}

// Peer is a participant in a room. Its methods may be called by any goroutine.
type Peer struct {
	cfg    Config
	log    *slog.Logger
	api    *webrtc.API
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // read and the readers of RTCP

	playing context.Context
	stop    context.CancelFunc
	players sync.WaitGroup

	mu     sync.Mutex
	socket *websocket.Conn
	conns  map[string]*conn // by the other's id
	closed bool
}

// Join enters the room and returns when the server has said who is in it. ctx
// bounds the join only. The error wraps signaling.ErrJoin when the server can't
// be reached or does not let us in. The caller must call Close.
func Join(ctx context.Context, cfg Config) (*Peer, error) {
	api, err := newAPI(cfg.Loopback)
	if err != nil {
		return nil, fmt.Errorf("synthetic: configuring WebRTC: %w", err)
	}
	p := &Peer{cfg: cfg, log: cfg.Logger, api: api, conns: make(map[string]*conn)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("peer", cfg.PeerID)
	if p.cfg.watch == nil {
		p.cfg.watch = discard
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.playing, p.stop = context.WithCancel(p.ctx)
	if err := p.Rejoin(ctx); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

// Rejoin enters the room anew under the same id, as clients do whose socket has
// died: a newcomer again, it offers to everyone who is there, and each offer
// makes a new connection in place of the one that may be up. Connections to
// others stay. Its error is like that of Join. It may not be called while
// another call of it, or of Close, is under way.
func (p *Peer) Rejoin(ctx context.Context) error {
	socket, _, err := websocket.Dial(ctx, p.cfg.URL, nil)
	if err != nil {
		return fmt.Errorf("synthetic: %w: %w", signaling.ErrJoin, err)
	}
	socket.SetReadLimit(message.MaxSize)
	p.mu.Lock()
	old := p.socket
	p.socket = socket
	p.mu.Unlock()
	if old != nil {
		_ = old.CloseNow()
	}
	others, err := p.join(ctx, socket)
	if err != nil {
		_ = socket.CloseNow()
		return fmt.Errorf("synthetic: %w: %w", signaling.ErrJoin, err)
	}
	p.wg.Go(func() { p.read(socket) })
	for _, id := range others {
		if id != p.cfg.PeerID && !p.cfg.Reserved && !p.ignores(id) {
			p.check("offering", id, p.offer(id))
		}
	}
	return nil
}

func (p *Peer) ignores(id string) bool { return p.cfg.Ignore != nil && p.cfg.Ignore(id) }

// Close leaves the room and ends every goroutine of the participant before it
// returns.
func (p *Peer) Close() error {
	p.mu.Lock()
	p.closed = true
	conns, socket := p.conns, p.socket
	p.conns = make(map[string]*conn)
	p.mu.Unlock()

	p.cancel()
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.pc.GracefulClose())
	}
	_ = socket.CloseNow()
	p.players.Wait()
	p.wg.Wait()
	return errors.Join(errs...)
}

// Stop ends playing to everyone, for good, and returns when the last frame has
// been handed to the network: Sent is final then. The connections stay.
func (p *Peer) Stop() {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	p.players.Wait()
}

// Sent tells how many video frames and Opus packets have been sent, summed over
// all connections that are open.
func (p *Peer) Sent() (video, audio int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		video += c.video.Load()
		audio += c.audio.Load()
	}
	return video, audio
}

// newAPI sets pion up with its default codecs and interceptors, but for reports:
// pion's would say that what is sent late is late on the sender's clock.
func newAPI(loopback bool) (*webrtc.API, error) {
	var engine webrtc.SettingEngine
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if loopback {
		engine.SetIncludeLoopbackCandidate(true)
		engine.SetIPFilter(net.IP.IsLoopback)
		engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	}
	codecs, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	if err := webrtc.ConfigureNack(codecs, registry); err != nil {
		return nil, err
	}
	// As browsers do.
	codecs.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBNACK}, webrtc.RTPCodecTypeAudio)
	if err := webrtc.ConfigureTWCCSender(codecs, registry); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithSettingEngine(engine), webrtc.WithInterceptorRegistry(registry)), nil
}

func (p *Peer) join(ctx context.Context, socket *websocket.Conn) ([]string, error) {
	if err := p.send(ctx, message.Message{Type: message.Join, PeerID: p.cfg.PeerID, RoomID: p.cfg.Room}); err != nil {
		return nil, err
	}
	for {
		m, err := receive(ctx, socket)
		switch {
		case err != nil:
			return nil, err
		case m.Type == message.RoomPeers:
			return m.Peers, nil
		case m.Type == message.Error:
			return nil, fmt.Errorf("the server says %q: %q", m.Code, m.Text)
		}
	}
}

// read handles what the server sends, until the socket is closed.
func (p *Peer) read(socket *websocket.Conn) {
	for {
		m, err := receive(p.ctx, socket)
		if errors.Is(err, message.ErrMalformed) {
			continue
		}
		if err != nil {
			if p.ctx.Err() == nil {
				p.log.Warn("lost the server", "error", err)
			}
			return
		}
		p.handle(m)
	}
}

func (p *Peer) handle(m message.Message) {
	switch m.Type {
	case message.Offer:
		if m.Offer != nil && !p.ignores(m.From) {
			p.check("answering", m.From, p.answer(m.From, m.Offer.SDP))
		}
	case message.Answer:
		if c := p.conn(m.From); c != nil && m.Answer != nil {
			p.check("taking an answer", m.From, c.setRemote(webrtc.SDPTypeAnswer, m.Answer.SDP))
		}
	case message.ICECandidate:
		if c := p.conn(m.From); c != nil && m.Candidate != nil {
			p.check("adding a candidate", m.From, c.addCandidate(*m.Candidate))
		}
	case message.PeerLeft:
		p.drop(m.PeerID)
	}
}

func (p *Peer) check(doing, peer string, err error) {
	if err != nil && p.ctx.Err() == nil {
		p.log.Warn("a connection failed", "doing", doing, "with", peer, "error", err)
	}
}

func receive(ctx context.Context, socket *websocket.Conn) (message.Message, error) {
	_, b, err := socket.Read(ctx)
	if err != nil {
		return message.Message{}, err
	}
	return message.Parse(b)
}

func (p *Peer) send(ctx context.Context, m message.Message) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	p.mu.Lock()
	socket := p.socket
	p.mu.Unlock()
	return socket.Write(ctx, websocket.MessageText, b)
}
