package dump

import (
	"time"

	"github.com/roomtape/roomtape/signaling"
)

const (
	eventMessage = "message"
	// messagePart is how much of a message a block holds, and maxMessage the
	// longest message that is read, in bytes.
	messagePart = 60_000
	maxMessage  = 16 << 20
	// maxMessageLabel is how much of a data channel's label is kept, in bytes.
	maxMessageLabel = 1024
)

// message writes a data channel message, in as many blocks as it takes.
func (d *Writer) message(at time.Time, participant string, m *signaling.Message) error {
	data := m.Data
	label := m.Label[:min(len(m.Label), maxMessageLabel)]
	for {
		part := data[:min(len(data), messagePart)]
		data = data[len(part):]
		e := ownEvent{Event: eventMessage, Participant: text(participant), Label: text(label), Text: m.Text, More: len(data) > 0}
		if err := d.block(at, 0, e, part); err != nil || len(data) == 0 {
			return err
		}
	}
}

// message gives the event of a message when its last part has been read.
func (p *ownPlayer) message(own *ownEvent, data []byte) (e signaling.Event, ok bool) {
	if len(p.said)+len(data) > maxMessage {
		p.said = nil
		return e, false
	}
	p.said = append(p.said, data...)
	if own.More {
		return e, false
	}
	m := &signaling.Message{Label: string(own.Label), Text: own.Text, Data: p.said}
	p.said = nil
	return signaling.Event{Kind: signaling.MessageArrived, Participant: string(own.Participant), Message: m}, true
}
