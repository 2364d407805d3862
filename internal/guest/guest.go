// Package guest has participants of forwarded rooms, for tests and measurements:
// pion's connections that join by PROTOCOL, and publishers that send what Chromium
// sends.
package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling/message"
)

// Config says who joins which room.
type Config struct {
	// URL is the room's WebSocket, Room its name, ID the participant's.
	URL, Room, ID string
	// PC is the connection, which stays the caller's. What it sends is added before
	// Begin.
	PC *webrtc.PeerConnection
	// Rewrite, when not nil, changes our offer before the server sees it.
	Rewrite func(sdp string) string
}

// Track names a track that is published: its id, and "audio" or "video".
type Track struct{ ID, Kind string }

// Guest is a participant. Its methods may be called by any goroutine, but Begin by
// one.
type Guest struct {
	cfg       Config
	socket    *websocket.Conn
	early     []webrtc.ICECandidateInit // belongs to the loop
	available chan message.Message
	answered  chan struct{}
	ended     chan struct{}
	err       error // why it has ended
}

// maxAvailable is how many tracks of others wait to be subscribed to.
const maxAvailable = 1000

// Join opens the room's socket and joins. The guest leaves when ctx is done.
func Join(ctx context.Context, cfg Config) (*Guest, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	socket, _, err := websocket.Dial(ctx, cfg.URL, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(message.MaxSize)
	g := &Guest{
		cfg: cfg, socket: socket, available: make(chan message.Message, maxAvailable),
		answered: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := g.write(ctx, message.Message{Type: message.Join, PeerID: cfg.ID, RoomID: cfg.Room}); err != nil {
		_ = socket.CloseNow()
		return nil, err
	}
	go func() {
		defer close(g.ended)
		g.err = g.serve(ctx)
		_ = socket.CloseNow()
	}()
	return g, nil
}

// Begin offers what the connection sends, waits for the answer, and publishes.
func (g *Guest) Begin(ctx context.Context, tracks ...Track) error {
	d, err := g.cfg.PC.CreateOffer(nil)
	if err != nil {
		return err
	}
	offer, err := g.describe(d)
	if err != nil {
		return err
	}
	if g.cfg.Rewrite != nil {
		offer = g.cfg.Rewrite(offer)
	}
	if err := g.write(ctx, message.Message{Type: message.Offer, Target: message.SFU, Offer: &message.Description{Type: "offer", SDP: offer}}); err != nil {
		return err
	}
	select {
	case <-g.answered:
	case <-g.ended:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, t := range tracks {
		if err := g.write(ctx, message.Message{Type: message.PublishTrack, TrackID: t.ID, TrackType: t.Kind}); err != nil {
			return err
		}
	}
	return nil
}

// Available gives the next track of somebody else's.
func (g *Guest) Available(ctx context.Context) (participant, track string, err error) {
	select {
	case m := <-g.available:
		return m.ParticipantID, m.TrackID, nil
	case <-g.ended:
		return "", "", g.err
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
}

// Subscribe asks for a track of somebody else's.
func (g *Guest) Subscribe(ctx context.Context, participant, track string) error {
	return g.write(ctx, message.Message{Type: message.SubscribeTrack, PublisherID: participant, TrackID: track})
}

// Wait waits until the guest has left, and tells why.
func (g *Guest) Wait() error {
	<-g.ended
	return g.err
}

func (g *Guest) write(ctx context.Context, m message.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return g.socket.Write(ctx, websocket.MessageText, b)
}

// describe gives a description of ours with all its candidates.
func (g *Guest) describe(d webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(g.cfg.PC)
	if err := g.cfg.PC.SetLocalDescription(d); err != nil {
		return "", err
	}
	<-gathered
	return g.cfg.PC.LocalDescription().SDP, nil
}

// serve takes what the server says, until the socket is closed, and says why.
func (g *Guest) serve(ctx context.Context) error {
	for {
		_, b, err := g.socket.Read(ctx)
		if err != nil {
			return err
		}
		m, err := message.Parse(b)
		if err == nil {
			err = g.take(ctx, m)
		}
		if err != nil {
			return err
		}
	}
}

func (g *Guest) take(ctx context.Context, m message.Message) error {
	pc := g.cfg.PC
	switch m.Type {
	case message.Answer:
		if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Answer.SDP}); err != nil {
			return err
		}
		defer close(g.answered) // there is one offer of ours
		return g.candidates()
	case message.Offer:
		if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: m.Offer.SDP}); err != nil {
			return err
		}
		if err := g.candidates(); err != nil {
			return err
		}
		d, err := pc.CreateAnswer(nil)
		if err != nil {
			return err
		}
		sdp, err := g.describe(d)
		if err != nil {
			return err
		}
		return g.write(ctx, message.Message{Type: message.Answer, Target: message.SFU, Answer: &message.Description{Type: "answer", SDP: sdp}})
	case message.ICECandidate:
		g.early = append(g.early, webrtc.ICECandidateInit{
			Candidate: m.Candidate.Candidate, SDPMid: m.Candidate.SDPMid, SDPMLineIndex: m.Candidate.SDPMLineIndex,
		})
		if pc.RemoteDescription() != nil {
			return g.candidates()
		}
	case message.TrackAvailable:
		select {
		case g.available <- m:
		default: // nobody asks for them
		}
	case message.Error:
		return fmt.Errorf("the server says %s: %s", m.Code, m.Text)
	}
	return nil
}

// candidates adds those that have come early.
func (g *Guest) candidates() error {
	var errs []error
	for _, c := range g.early {
		errs = append(errs, g.cfg.PC.AddICECandidate(c))
	}
	g.early = nil
	return errors.Join(errs...)
}
