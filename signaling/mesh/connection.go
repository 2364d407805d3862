package mesh

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

// connection is one peer connection with what a roster wants to know of it.
type connection struct {
	*peer.Conn
	latest  atomic.Int64 // Unix time in ns of the latest packet; 0: none yet
	started sync.Once    // telling them so
}

func (r *Room) newConnection(participant string, number int) (*connection, error) {
	c := &connection{}
	pc, err := r.factory.Connect(peer.Options{
		Participant: participant,
		Connection:  number,
		Sink: func(e signaling.Event) {
			if e.Kind == signaling.PacketArrived {
				c.latest.Store(e.Time.UnixNano())
			}
			r.queue.Push(e)
		},
		Behind: r.queue.Behind,
		OnMessage: func(m peer.Message, stop <-chan struct{}) {
			if !r.messages {
				return
			}
			self := r.self.Load()
			r.queue.PushMessage(signaling.Event{
				Kind: signaling.MessageArrived, Participant: participant,
				Message: &signaling.Message{Label: m.Label, Text: m.Text, Data: m.Data, To: *self, Reply: m.Reply},
			}, stop)
		},
		OnCandidate: func(m message.Candidate) {
			r.inbox.put(func(time.Time) { r.roster.gathered(number, m) })
		},
		OnStranded: func() {
			r.inbox.put(func(now time.Time) { r.roster.moved(number, now) })
		},
		OnState: func(s peer.State) {
			if s, ok := linkStates[s]; ok {
				r.inbox.put(func(now time.Time) { r.roster.changed(number, s, now) })
			}
		},
	})
	if err != nil {
		return nil, err
	}
	c.Conn = pc
	return c, nil
}

var linkStates = map[peer.State]linkState{
	peer.Connecting:   connecting,
	peer.Connected:    connected,
	peer.Disconnected: disconnected,
	peer.Failed:       failed,
	peer.Closed:       closed,
}

// heard implements conn.
func (c *connection) heard() time.Time {
	if ns := c.latest.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// tell says over the data channel how the recording is; when the channel is not
// open yet, as soon as it is.
func (c *connection) tell(state, self string) {
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		State  string `json:"state"`
		PeerID string `json:"peer_id"`
	}{"recording", state, self})
	if err == nil {
		_ = c.Send(peer.Messages, b) // who has no such channel is not told
	}
}

// hangUp closes the connection; its tracks have ended when it returns.
func (c *connection) hangUp() { _ = c.Close() } // there is nothing to be done about an error
