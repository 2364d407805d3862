package server

import (
	"fmt"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/token"
)

// enter tells a newcomer and the others of it: who is there, or that there is
// the forwarding unit. It is called locked. Who resumes can come back by another
// socket.
func (s *Server) enter(rm *room, so *socket, resumes bool) {
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
	welcome := message.Message{Type: message.RoomPeers, Peers: []string{message.SFU}, Rights: s.rightsOf(so.claims)}
	if !resumes || s.cfg.ResumeWithin <= 0 {
		so.send(encode(welcome))
		so.client = rm.forwarded.Enter(so.id, func(m message.Message) { so.send(encode(m)) }, func() {})
		return
	}
	th := s.newThread(so)
	welcome.Resume = &th.token
	so.send(encode(welcome))
	so.thread.Store(th)
	so.client = rm.forwarded.Enter(so.id, func(m message.Message) { th.say(nil, encode(m)) }, func() { s.ended(th) })
}

// part takes a socket out of its room, and tells the others. It is called locked.
func (s *Server) part(so *socket, code string) {
	rm := so.room
	so.room = nil
	rm.remove(so)
	s.unkeep(so)
	if so.client != nil {
		so.client.Leave()
		return
	}
	rm.broadcast(message.Message{Type: message.PeerLeft, PeerID: so.id, Code: code}, nil)
}

// forward gives a message to the unit, which takes it unless the socket is cut. It
// is called by the goroutine that joins, which alone changes so.client and so.claims.
func (s *Server) forward(so *socket, typ message.Type, b []byte) (refused *refusal, taken bool) {
	switch {
	case so.client == nil && so.id == "":
		return &refusal{code: message.CodeNotJoined, text: "join a room first"}, true
	case so.client == nil:
		return nil, true // in a mesh these are messages of an unknown type
	case typ == message.PublishTrack && !so.claims.May(token.Publish):
		return lacks(token.Publish), true
	case typ == message.SubscribeTrack && !so.claims.May(token.Subscribe):
		return lacks(token.Subscribe), true
	}
	m, err := message.Parse(b)
	if err != nil {
		return &refusal{code: message.CodeBadMessage, text: "the message can't be read"}, true
	}
	r, taken := so.client.Receive(so.ctx, m)
	if r != nil {
		refused = &refusal{code: r.Code, text: r.Text}
	}
	return refused, taken
}

// lacks refuses a message, after which the socket goes on.
func lacks(right token.Right) *refusal {
	return &refusal{code: message.CodeForbidden, text: fmt.Sprintf("the token gives no right to %s", right)}
}
