package peer

import (
	"encoding/binary"
	"sync"
	"time"
)

// arrivals remembers when the kernel got the last few thousand RTP packets, by
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

// key gives 0 for what is no RTP packet (RFC 7983 §7, RFC 5761 §4).
func key(b []byte) uint64 {
	if len(b) < 12 || b[0]>>6 != 2 || b[1]&0x7f >= 64 && b[1]&0x7f < 96 {
		return 0
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

// of gives the arrival of the RTP packet b, which is now when it is not known.
func (a *arrivals) of(b []byte, now time.Time) time.Time {
	k := key(b)
	a.mu.Lock()
	s := &a.slots[slot(k)]
	at := s.at
	known := k != 0 && s.key == k
	a.mu.Unlock()
	if !known {
		return now
	}
	// The kernel's clock is the wall clock, which may have been set since.
	if ago := time.Duration(now.UnixNano() - at); ago > 0 && ago < time.Second {
		return now.Add(-ago)
	}
	return now
}
