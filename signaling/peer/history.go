package peer

import "time"

const (
	// historySize is how many packets of a track are kept at most to be sent
	// again: two seconds of 9 Mbit/s.
	historySize = 2048
	// historyLeast is how many are kept at least, and historyFor, in seconds of
	// the track's own time, for how long they are if historySize allows it.
	historyLeast = 64
	historyFor   = 4
)

// sent is a packet that was sent. Its payload and dependency descriptor are shared.
type sent struct {
	payload     []byte
	dependency  []byte
	at          time.Time // when it was sent again last
	timestamp   uint32
	sequence    uint16
	payloadType uint8
	marker      bool
	waits       bool // to be sent again
}

// retransmission is a packet that is to be sent again.
type retransmission struct {
	track  *outgoing
	packet sent
}

// history is the latest packets of a track, in a ring that grows as long as what
// it would forget is younger than historyFor.
type history struct {
	ring []sent // its length is a power of two
}

// put keeps a packet. rate is the clock rate of its timestamp.
func (h *history) put(p sent, rate uint32) {
	if h.ring == nil {
		h.ring = make([]sent, historyLeast)
	}
	at := &h.ring[int(p.sequence)%len(h.ring)]
	if at.payload != nil && at.sequence != p.sequence && len(h.ring) < historySize &&
		int32(p.timestamp-at.timestamp) < int32(historyFor*rate) {
		h.grow()
		at = &h.ring[int(p.sequence)%len(h.ring)]
	}
	*at = p
}

func (h *history) grow() {
	ring := make([]sent, 2*len(h.ring))
	for _, p := range h.ring {
		if p.payload != nil {
			ring[int(p.sequence)%len(ring)] = p
		}
	}
	h.ring = ring
}

// take gives a packet that is asked for, unless it is not there any more or was
// sent again less than a round trip ago: who asks did not see that one yet.
func (h *history) take(number uint16, now time.Time, roundTrip time.Duration) *sent {
	if h.ring == nil {
		return nil
	}
	p := &h.ring[int(number)%len(h.ring)]
	if p.payload == nil || p.sequence != number || now.Sub(p.at) < roundTrip {
		return nil
	}
	p.at = now
	return p
}

// ask tells whether a packet that is asked for is to be sent again, under the rules of
// take, and does not wait for that already.
func (h *history) ask(number uint16, now time.Time, roundTrip time.Duration) bool {
	if h.ring == nil {
		return false
	}
	p := &h.ring[int(number)%len(h.ring)]
	if p.payload == nil || p.sequence != number || p.waits || now.Sub(p.at) < roundTrip {
		return false
	}
	p.waits = true
	return true
}

// asked gives a packet that waits to be sent again, and does so no more; nil: it is
// not kept any more.
func (h *history) asked(number uint16) *sent {
	if h.ring == nil {
		return nil
	}
	p := &h.ring[int(number)%len(h.ring)]
	if p.payload == nil || p.sequence != number || !p.waits {
		return nil
	}
	p.waits = false
	return p
}
