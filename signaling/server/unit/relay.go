package unit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

// relay passes a data channel message on: to the participant that its member
// target names, or to all others. Its member from says whose it is, whatever the
// sender wrote. What is no JSON object is put into one.
func (c *Client) relay(m peer.Message, stop <-chan struct{}) {
	if m.Label != peer.Messages || len(m.Data) > maxRelayed {
		return
	}
	var target string
	b, ok := m.Data, m.Text
	if ok {
		b, ok = message.WithMember(m.Data, message.MemberFrom, c.id)
	}
	if ok {
		var to struct {
			Target *string `json:"target"`
		}
		if json.Unmarshal(m.Data, &to) != nil {
			return // to whom?
		}
		if to.Target != nil {
			target = *to.Target
		}
	} else {
		wrapped, err := json.Marshal(map[string]string{message.RelayedText: string(m.Data)})
		if !m.Text {
			wrapped, err = json.Marshal(map[string]string{message.RelayedBinary: base64.StdEncoding.EncodeToString(m.Data)})
		}
		if err != nil {
			return
		}
		b, _ = message.WithMember(wrapped, message.MemberFrom, c.id)
	}
	var to []*peer.Conn
	c.room.mu.Lock()
	for id, o := range c.room.clients {
		if conn := o.conn.Load(); o != c && conn != nil && (target == "" || target == id) {
			to = append(to, conn)
		}
	}
	c.room.mu.Unlock()
	for _, conn := range to {
		deliver(conn, b, stop)
	}
}

// deliver sends a message, and waits while a client has much to read, so that its
// senders are slowed down and nothing is lost. One that reads nothing is not waited
// for.
func deliver(conn *peer.Conn, b []byte, stop <-chan struct{}) {
	until := time.Now().Add(deliverFor)
	for errors.Is(conn.Send(peer.Messages, b), peer.ErrLimit) && time.Now().Before(until) {
		t := time.NewTimer(deliverEvery)
		select {
		case <-stop:
			t.Stop()
			return
		case <-t.C:
		}
	}
}
