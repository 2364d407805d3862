package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling/message"
)

const room = "1234"

// server is a process that forwards.
type server = exec.Cmd

// roomtape is our own server.
type roomtape struct{ binary, url string }

func (*roomtape) name() string { return "roomtape" }

func (r *roomtape) start(ctx context.Context) (*server, error) {
	cmd := exec.CommandContext(ctx, r.binary, "serve", "--sfu", "--listen", "127.0.0.1:0", "--json", "--log-level", "warn", "--address-joins", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var where struct {
		WebSocket string `json:"websocket"`
	}
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&where); err != nil {
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	r.url = where.WebSocket + room
	return cmd, nil
}

// guest is a participant in a forwarded room.
type guest struct {
	ctx    context.Context
	socket *websocket.Conn
	pc     *webrtc.PeerConnection
	early  []webrtc.ICECandidateInit
	// answered is closed when our offer is.
	answered chan struct{}
	failed   chan error
	// available gets the tracks of others that there are.
	available chan message.Message
}

func guestID(index int) string { return fmt.Sprintf("p%02d", index) }

func (r *roomtape) join(ctx context.Context, c *crowd, p *publisher) (member, error) {
	socket, _, err := websocket.Dial(ctx, r.url, nil)
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(message.MaxSize)
	g := &guest{ctx: ctx, socket: socket, answered: make(chan struct{}), failed: make(chan error, 1), available: make(chan message.Message, kinds*c.participants)}
	if err := g.write(message.Message{Type: message.Join, PeerID: guestID(p.index), RoomID: room}); err != nil {
		return nil, err
	}
	if g.pc, err = c.connect(p.index); err != nil {
		return nil, err
	}
	offer, err := c.publish(g.pc, p)
	if err != nil {
		return nil, err
	}
	if err := g.write(message.Message{Type: message.Offer, Target: message.SFU, Offer: &message.Description{Type: "offer", SDP: offer}}); err != nil {
		return nil, err
	}
	c.wg.Go(func() {
		defer socket.CloseNow()
		if err := g.serve(); ctx.Err() == nil {
			g.failed <- fmt.Errorf("participant %d: %w", p.index, err)
		}
	})
	select {
	case <-g.answered:
	case err := <-g.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for kind := range kinds {
		if err := g.write(message.Message{Type: message.PublishTrack, TrackID: trackID(kind), TrackType: trackID(kind)}); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *guest) subscribe(ctx context.Context, others []int) error {
	for missing := kinds * len(others); missing > 0; {
		select {
		case m := <-g.available:
			if !slices.ContainsFunc(others, func(o int) bool { return guestID(o) == m.ParticipantID }) {
				continue
			}
			missing--
			if err := g.write(message.Message{Type: message.SubscribeTrack, PublisherID: m.ParticipantID, TrackID: m.TrackID}); err != nil {
				return err
			}
		case err := <-g.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (g *guest) write(m message.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return g.socket.Write(g.ctx, websocket.MessageText, b)
}

// serve takes what the server says, until the socket is closed, and says why.
func (g *guest) serve() error {
	for {
		_, b, err := g.socket.Read(g.ctx)
		if err != nil {
			return err
		}
		m, err := message.Parse(b)
		if err != nil {
			return err
		}
		switch m.Type {
		case message.Answer:
			err = g.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Answer.SDP})
			for _, e := range g.early {
				err = errors.Join(err, g.pc.AddICECandidate(e))
			}
			g.early = nil
			close(g.answered)
		case message.Offer:
			var d string
			if d, err = answer(g.pc, m.Offer.SDP); err == nil {
				err = g.write(message.Message{Type: message.Answer, Target: message.SFU, Answer: &message.Description{Type: "answer", SDP: d}})
			}
		case message.ICECandidate:
			init := webrtc.ICECandidateInit{Candidate: m.Candidate.Candidate, SDPMid: m.Candidate.SDPMid, SDPMLineIndex: m.Candidate.SDPMLineIndex}
			if g.pc.RemoteDescription() == nil {
				g.early = append(g.early, init)
				continue
			}
			err = g.pc.AddICECandidate(init)
		case message.TrackAvailable:
			g.available <- m
		case message.Error:
			err = fmt.Errorf("the server says %s: %s", m.Code, m.Text)
		}
		if err != nil {
			return err
		}
	}
}
