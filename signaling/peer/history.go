package peer

import (
	"time"

	"github.com/pion/rtp"
)

// historySize is how many packets of a track are kept to be sent again: two
// seconds of 9 Mbit/s.
const historySize = 2048

// sent is a packet that was sent. Its payload is shared.
type sent struct {
	header  rtp.Header
	payload []byte
	at      time.Time // when it was sent again last
}

// retransmission is a packet that is to be sent again.
type retransmission struct {
	track  *outgoing
	packet sent
}

// history is the latest packets of a track.
type history struct {
	ring []sent
}

func (h *history) put(header rtp.Header, payload []byte) {
	if h.ring == nil {
		h.ring = make([]sent, historySize)
	}
	h.ring[header.SequenceNumber%historySize] = sent{header: header, payload: payload}
}

// take gives a packet that is asked for, unless it is not there any more or was
// sent again less than a round trip ago: who asks did not see that one yet.
func (h *history) take(number uint16, now time.Time, roundTrip time.Duration) *sent {
	if h.ring == nil {
		return nil
	}
	p := &h.ring[number%historySize]
	if p.payload == nil || p.header.SequenceNumber != number || now.Sub(p.at) < roundTrip {
		return nil
	}
	p.at = now
	return p
}
