package peer

import (
	"testing"
	"time"
)

// TestHistoryKeepsFourSeconds sends a track at several paces, and asks for what is
// some time ago.
func TestHistoryKeepsFourSeconds(t *testing.T) {
	const rate = 90000
	now := time.Now()
	for _, c := range []struct {
		perSecond int
		// Asked for, in packets ago, what is there still, and what is not.
		kept, gone int
	}{
		{10, 40, 64},
		{50, 200, 256},
		{200, 800, 1024},
		{400, 1600, 2048},
		{5000, 2047, 2048}, // no more, however much is sent
	} {
		var h history
		const last = 70_000 // numbers wrap
		for i := range last + 1 {
			h.put(sent{payload: []byte{1}, sequence: uint16(i), timestamp: uint32(i * rate / c.perSecond)}, rate)
		}
		if h.take(uint16(last-c.kept), now, time.Second) == nil {
			t.Errorf("at %d packets/s what was sent %d packets ago is gone", c.perSecond, c.kept)
		}
		gone := last - c.gone
		if h.take(uint16(gone), now, time.Second) != nil {
			t.Errorf("at %d packets/s what was sent %d packets ago is kept", c.perSecond, c.gone)
		}
		if h.take(uint16(last-c.kept), now.Add(time.Second/2), time.Second) != nil {
			t.Errorf("at %d packets/s a packet is given twice in a round trip", c.perSecond)
		}
	}
}
