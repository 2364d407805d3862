package turn

import "sync/atomic"

// Stats are figures about a server. All but those that end in Now only grow.
type Stats struct {
	// AllocationsNow and ConnectionsNow are the allocations that exist, and the
	// TCP and TLS connections that are open.
	AllocationsNow, ConnectionsNow int
	// Allocations and Connections are those that there have been.
	Allocations, Connections uint64
	// Bytes and packets relayed, the UDP payloads alone: ToPeers from clients
	// to their peers, FromPeers the other way.
	BytesToPeers, BytesFromPeers, PacketsToPeers, PacketsFromPeers uint64
	// OverToPeers and OverFromPeers are packets beyond Config.MaxBitrate, which
	// were not relayed.
	OverToPeers, OverFromPeers uint64
	// Lost are packets for clients that read their TCP connection too slowly.
	Lost uint64
	// Refused counts what was refused, by reason: "malformed", "expired" and
	// "forged" credentials, "quota_user", "quota_address" and "quota_total",
	// "rate" (requests and connections too fast), "no_port", "peer" (addresses
	// that nothing is relayed to) and "peers" (too many of them at once).
	Refused map[string]uint64
}

// refusal is a reason to refuse something.
type refusal int

const (
	none refusal = iota
	malformed
	expired
	forged
	quotaUser
	quotaAddress
	quotaTotal
	tooFast
	noPort
	deniedPeer
	tooManyPeers
	refusals
)

// String gives the reason as Stats.Refused has it.
func (r refusal) String() string {
	return [...]string{
		"none", "malformed", "expired", "forged", "quota_user", "quota_address", "quota_total", "rate", "no_port", "peer", "peers",
	}[r]
}

// counters are what Stats is made of.
type counters struct {
	allocations, connections                                       atomic.Uint64
	bytesToPeers, bytesFromPeers, packetsToPeers, packetsFromPeers atomic.Uint64
	lost, overToPeers, overFromPeers                               atomic.Uint64
	refused                                                        [refusals]atomic.Uint64
}

// Stats gives the figures of now. It may be called by any goroutine, also after
// Close.
func (s *Server) Stats() Stats {
	c := &s.counters
	out := Stats{
		Allocations: c.allocations.Load(), Connections: c.connections.Load(),
		BytesToPeers: c.bytesToPeers.Load(), BytesFromPeers: c.bytesFromPeers.Load(),
		PacketsToPeers: c.packetsToPeers.Load(), PacketsFromPeers: c.packetsFromPeers.Load(),
		Lost:        c.lost.Load(),
		OverToPeers: c.overToPeers.Load(), OverFromPeers: c.overFromPeers.Load(),
		Refused: make(map[string]uint64, refusals),
	}
	s.quotas.mu.Lock()
	out.AllocationsNow = s.quotas.total
	s.quotas.mu.Unlock()
	s.conns.mu.Lock()
	out.ConnectionsNow = s.conns.total
	s.conns.mu.Unlock()
	for r := none + 1; r < refusals; r++ {
		out.Refused[r.String()] = c.refused[r].Load()
	}
	return out
}
