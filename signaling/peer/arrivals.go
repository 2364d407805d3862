package peer

import (
	"encoding/binary"
	"sync"
	"time"
)

// arrivals remembers when the kernel got the last few thousand packets, by
// what SRTP leaves in the clear: source and sequence number (RFC 3711 §3.1). A
// packet is looked up when it is decrypted, after it has waited for company and
// crossed some goroutines. So feedback to the sender, jitter and the recording
// know the true arrival, however packets are batched.
type arrivals struct {
	mu    sync.Mutex
	slots [4096]arrival
}

type arrival struct {
	key uint64
	at  int64 // Unix time in nanoseconds
}

// controlKey is the key of the latest RTCP packet of a source.
func controlKey(ssrc uint32) uint64 { return 1<<63 | uint64(ssrc)<<16 }

// key gives 0 for what is no RTP or RTCP packet (RFC 7983 §7, RFC 5761 §4).
func key(b []byte) uint64 {
	if len(b) < 12 || b[0]>>6 != 2 {
		return 0
	}
	if b[1]&0x7f >= 64 && b[1]&0x7f < 96 {
		return controlKey(binary.BigEndian.Uint32(b[4:]))
	}
	return uint64(binary.BigEndian.Uint32(b[8:]))<<16 | uint64(binary.BigEndian.Uint16(b[2:]))
}

func slot(k uint64) uint64 { return (k ^ k>>16*0x9e3779b1) % 4096 }

// put is called locked.
func (a *arrivals) put(b []byte, at int64) {
	if k := key(b); k != 0 {
		a.slots[slot(k)] = arrival{k, at}
	}
}

// of gives the arrival of the packet with this key, which is now when it is not
// known, or was more than limit ago.
func (a *arrivals) of(k uint64, now time.Time, limit time.Duration) time.Time {
	a.mu.Lock()
	s := &a.slots[slot(k)]
	at := s.at
	known := k != 0 && s.key == k
	a.mu.Unlock()
	if !known {
		return now
	}
	// The kernel's clock is the wall clock, which may have been set since.
	if ago := time.Duration(now.UnixNano() - at); ago > 0 && ago < limit {
		return now.Add(-ago)
	}
	return now
}
