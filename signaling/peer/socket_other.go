//go:build !linux

package peer

import (
	"net"
	"net/netip"
	"time"
)

// listen opens a socket that pion reads packet by packet. It leaves times
// alone, so that packets arrive when they are decrypted.
func listen(addr netip.AddrPort, _ time.Duration, _ *arrivals) (net.PacketConn, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(receiveBuffer)
	return guarded{conn}, nil
}

// guarded is a socket that gives no forged packets.
type guarded struct{ *net.UDPConn }

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (g guarded) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, addr, err := g.ReadFromUDPAddrPort(b)
		if err != nil || !forged(b[:n]) {
			return n, addr, err
		}
	}
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (g guarded) WriteToAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	return g.WriteToUDPAddrPort(b, addr)
}

// ReadFrom implements net.PacketConn.
func (g guarded) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := g.ReadFromAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(addr), nil
}
