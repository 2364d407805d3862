package turn

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestBitrateOfAnAllocation: one allocation relays no more than it may in each
// direction, while another has its own.
func TestBitrateOfAnAllocation(t *testing.T) {
	const bitrate, size, packets = 400_000, 1000, 1000
	h := newHome(t, Config{MaxBitrate: bitrate, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	_ = peer.SetReadBuffer(4 << 20)
	flood, other := h.allocate(t, "udp"), h.allocate(t, "udp")
	began := time.Now()
	for range packets {
		if _, err := flood.WriteTo(make([]byte, size), peer.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		// What the sockets of this machine lose would be taken for the limit.
		time.Sleep(100 * time.Microsecond)
	}
	until(t, "all packets", func() bool { s := h.Stats(); return s.PacketsToPeers+s.OverToPeers >= packets*9/10 })
	most := uint64(leastBurst + bitrate/8*(time.Since(began).Seconds()+1))
	if s := h.Stats(); s.BytesToPeers > most || s.OverToPeers == 0 || s.BytesToPeers < leastBurst/2 {
		t.Errorf("%d bytes relayed, %d may be, %d packets were too many", s.BytesToPeers, most, s.OverToPeers)
	}
	before := h.Stats().PacketsToPeers
	if _, err := other.WriteTo([]byte("hello"), peer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	until(t, "the other's packet", func() bool { return h.Stats().PacketsToPeers > before })

	// The other way; the peer is known by what was sent to it.
	relayed := netip.MustParseAddrPort(other.LocalAddr().String())
	began = time.Now()
	for range packets {
		if _, err := peer.WriteToUDPAddrPort(make([]byte, size), relayed); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	until(t, "all packets back", func() bool { s := h.Stats(); return s.PacketsFromPeers+s.OverFromPeers >= packets*9/10 })
	most = uint64(leastBurst + bitrate/8*(time.Since(began).Seconds()+1))
	if s := h.Stats(); s.BytesFromPeers > most || s.OverFromPeers == 0 || s.BytesFromPeers < leastBurst/2 {
		t.Errorf("%d bytes relayed, %d may be, %d packets were too many", s.BytesFromPeers, most, s.OverFromPeers)
	}
}
