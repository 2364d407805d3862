package sfu

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

// Announce tells all participants, and those who come later, that the state of
// the recording is another one, such as "paused". It does nothing without
// Config.Announce. It may be called by any goroutine and does not block.
func (r *Room) Announce(state string) {
	if !r.cfg.Announce {
		return
	}
	r.do(func(time.Time) {
		r.recording = state
		if s := r.stay; s != nil && s.state == peer.Connected {
			r.tell(s, state, "")
		}
	})
}

// tell says over the data channel how the recording is, to all or to one.
func (r *Room) tell(s *stay, state, target string) {
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		State  string `json:"state"`
		PeerID string `json:"peer_id"`
		Target string `json:"target,omitempty"`
	}{"recording", state, r.self, target})
	if err == nil {
		_ = s.conn.Send(peer.Messages, b) // a server without the channel tells nobody
	}
}

// said takes a message that the server has relayed, and gives it as its sender
// had it.
func (r *Room) said(m peer.Message, stop <-chan struct{}) {
	if !r.cfg.Messages {
		return
	}
	var relayed struct {
		From   string  `json:"from"`
		Text   *string `json:"relayed_text"`
		Binary *string `json:"relayed_base64"`
	}
	if !m.Text || json.Unmarshal(m.Data, &relayed) != nil || badID(relayed.From) {
		return // it is nobody's
	}
	out := signaling.Message{Label: m.Label, Text: true, To: r.cfg.PeerID}
	switch {
	case relayed.Text != nil:
		out.Data = []byte(*relayed.Text)
	case relayed.Binary != nil:
		b, err := base64.StdEncoding.DecodeString(*relayed.Binary)
		if err != nil {
			return
		}
		out.Text, out.Data = false, b
	default:
		out.Data = message.WithoutMember(m.Data, message.MemberFrom, relayed.From)
	}
	out.Reply = func(text []byte) {
		if b, ok := message.WithMember(text, message.MemberTarget, relayed.From); ok {
			m.Reply(b)
		}
	}
	r.queue.PushMessage(signaling.Event{Kind: signaling.MessageArrived, Participant: relayed.From, Message: &out}, stop)
}
