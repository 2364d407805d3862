package server

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// room has the peers of one room in the order in which they joined.
type room struct {
	id    string
	peers []*socket
	// forwarded is what its media goes by, or nil in a mesh.
	forwarded *unit.Room
}

func (rm *room) find(id string) *socket {
	for _, p := range rm.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (rm *room) remove(so *socket) {
	rm.peers = slices.DeleteFunc(rm.peers, func(p *socket) bool { return p == so })
}

// broadcast queues a message for all peers but one.
func (rm *room) broadcast(m message.Message, except *socket) {
	b := encode(m)
	for _, p := range rm.peers {
		if p != except {
			p.send(b)
		}
	}
}

// join puts a socket into a room and queues what it and the others are told.
// All of it happens under the server's lock, so that everybody sees who comes
// and goes in one order.
func (s *Server) join(so *socket, e envelope, roomID string) *refusal {
	peerID := e.PeerID
	if what := badID(peerID); what != "" {
		return &refusal{code: message.CodeBadPeerID, text: "the peer_id " + what}
	}
	if what := badID(roomID); what != "" {
		return &refusal{code: message.CodeBadRoomID, text: "the room_id " + what}
	}
	if peerID == message.SFU {
		return &refusal{code: message.CodeBadPeerID, text: "this peer_id is that of servers which forward"}
	}
	claims, refused := s.access(so, e, roomID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if refused != nil {
		return refused
	}
	rm := s.rooms[roomID]
	if rm == nil {
		if len(s.rooms) >= s.cfg.MaxRooms {
			return &refusal{code: message.CodeTooManyRooms, text: fmt.Sprintf("the server has its %d rooms already", s.cfg.MaxRooms)}
		}
		rm = &room{id: roomID}
	}
	old := rm.find(peerID)
	if old == nil && len(rm.peers) >= s.cfg.MaxPeers {
		return &refusal{code: message.CodeRoomFull, text: fmt.Sprintf("the room has its %d peers already", s.cfg.MaxPeers)}
	}
	if old != nil && !outranks(claims, old.claims) {
		return forbidden("this peer_id is somebody's whose token names it")
	}
	if old != nil && s.resume(old, so, e, claims) {
		so.id, so.claims = peerID, claims
		return nil
	}
	if old != nil {
		s.part(old, "")
		old.send(encode(message.Message{Type: message.Error, Code: message.CodeReplaced, Text: "another socket has joined under this peer_id"}))
		old.out.end(StatusReplaced, "another socket has joined under this peer_id")
	}
	so.room, so.id, so.claims = rm, peerID, claims
	s.enter(rm, so, e.Resume != nil)
	rm.peers = append(rm.peers, so)
	s.rooms[roomID] = rm
	return nil
}

// leave takes a socket out of its room, if it still is in one. The code says why,
// when it is not that the socket has closed.
func (s *Server) leave(so *socket, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rm := so.room
	if rm == nil {
		return
	}
	s.part(so, code)
	if len(rm.peers) == 0 {
		delete(s.rooms, rm.id)
	}
}

// relay passes an offer, answer or candidate on to its target. It is called by
// the goroutine that joins, which alone changes so.id.
func (s *Server) relay(so *socket, e envelope) *refusal {
	if e.payload() == nil {
		return &refusal{code: message.CodeBadMessage, text: fmt.Sprintf("a message of type %q needs its payload", e.Type)}
	}
	if so.id == "" {
		return &refusal{code: message.CodeNotJoined, text: "join a room first"}
	}
	if refused := e.restrict(so.claims); refused != nil {
		return refused
	}
	b, err := e.relayed(so.id)
	if err != nil {
		return &refusal{code: message.CodeBadMessage, text: "the payload can't be relayed"}
	}
	if len(b) > s.cfg.MaxMessage {
		return &refusal{code: message.CodeTooLarge, text: fmt.Sprintf("the relayed message would be larger than %d bytes", s.cfg.MaxMessage)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if so.room == nil {
		return &refusal{code: message.CodeNotJoined, text: "join a room first"}
	}
	to := so.room.find(e.Target)
	if to == nil || to == so {
		// Candidates to somebody who has just left are the way of the world.
		if e.Type == message.ICECandidate {
			return nil
		}
		return &refusal{code: message.CodeUnknownPeer, text: "the target is not in the room", peer: e.Target}
	}
	to.send(b)
	return nil
}

// refusal is an error message, after which the socket is closed if there is a
// status for that.
type refusal struct {
	code, text, peer string
	status           websocket.StatusCode
}

func (r *refusal) message() message.Message {
	return message.Message{Type: message.Error, Code: r.code, Text: r.text, PeerID: r.peer}
}

// refuse queues an error message for a socket and closes it after that.
func (so *socket) refuse(code, text string, status websocket.StatusCode) {
	so.server.counts.refused(code)
	so.send(encode(message.Message{Type: message.Error, Code: code, Text: text}))
	so.out.end(status, text)
}

func encode(m message.Message) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("server: a message of strings did not marshal: " + err.Error())
	}
	return b
}
