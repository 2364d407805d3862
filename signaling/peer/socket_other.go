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
	return conn, nil
}
