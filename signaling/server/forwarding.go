package server

import (
	"fmt"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/token"
)

// enter tells a newcomer and the others of it: who is there, or that there is
// the forwarding unit. It is called locked.
func (s *Server) enter(rm *room, so *socket) {
	if s.cfg.Forward == nil {
		peers := make([]string, 0, len(rm.peers))
		for _, p := range rm.peers {
			peers = append(peers, p.id)
		}
		rm.broadcast(message.Message{Type: message.PeerJoined, PeerID: so.id}, nil)
		so.send(encode(message.Message{Type: message.RoomPeers, Peers: peers, Rights: s.rightsOf(so.claims)}))
		return
	}
	if rm.forwarded == nil {
		rm.forwarded = s.cfg.Forward.Room()
	}
	so.send(encode(message.Message{Type: message.RoomPeers, Peers: []string{message.SFU}, Rights: s.rightsOf(so.claims)}))
	so.client = rm.forwarded.Enter(so.id, func(m message.Message) { so.send(encode(m)) })
}

// part takes a socket out of its room, and tells the others. It is called locked.
func (s *Server) part(so *socket, code string) {
	rm := so.room
	so.room = nil
	rm.remove(so)
	if so.client != nil {
		so.client.Leave()
		return
	}
	rm.broadcast(message.Message{Type: message.PeerLeft, PeerID: so.id, Code: code}, nil)
}

// forward gives a message to the unit. It is called by the goroutine that joins,
// which alone changes so.client and so.claims.
func (s *Server) forward(so *socket, typ message.Type, b []byte) *refusal {
	switch {
	case so.client == nil && so.id == "":
		return &refusal{code: message.CodeNotJoined, text: "join a room first"}
	case so.client == nil:
		return nil // in a mesh these are messages of an unknown type
	case typ == message.PublishTrack && !so.claims.May(token.Publish):
		return lacks(token.Publish)
	case typ == message.SubscribeTrack && !so.claims.May(token.Subscribe):
		return lacks(token.Subscribe)
	}
	m, err := message.Parse(b)
	if err != nil {
		return &refusal{code: message.CodeBadMessage, text: "the message can't be read"}
	}
	if r := so.client.Receive(so.ctx, m); r != nil {
		return &refusal{code: r.Code, text: r.Text}
	}
	return nil
}

// lacks refuses a message, after which the socket goes on.
func lacks(right token.Right) *refusal {
	return &refusal{code: message.CodeForbidden, text: fmt.Sprintf("the token gives no right to %s", right)}
}
