package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets are read with one system call.
	batchSize = 64
	// datagramSize is the longest packet that is read; ICE takes no longer
	// ones either.
	datagramSize = 8192
	// often is how many packets in one read mean that more will come soon.
	often = 2
	// idleWait is how long the reader waits in the kernel, and so how long
	// Close may take.
	idleWait = 100 * time.Millisecond
)

// batchConn is a UDP socket that reads many packets with one recvmmsg(2) and
// gives them one by one.
//
// It stays out of the runtime's poller, which would wake for every packet even
// while nobody waits for one: while packets come often, the reader sleeps and
// lets them gather, and when they don't it waits in poll(2).
//
// One goroutine reads; any may write.
type batchConn struct {
	fd    int
	local *net.UDPAddr
	every time.Duration // for how long packets may gather
	times *arrivals

	mu     sync.RWMutex // held for reading by whoever uses fd
	closed bool

	// What follows belongs to the reader.
	messages  [batchSize]mmsghdr
	vectors   [batchSize]unix.Iovec
	names     [batchSize]unix.RawSockaddrInet6 // large enough for IPv4 as well
	controls  [batchSize]control
	buffers   []byte
	next, got int
	readAt    time.Time
	sleepy    bool
}

// mmsghdr is what recvmmsg(2) fills in.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// control has room for a timestamp (SCM_TIMESTAMPNS).
type control struct {
	hdr unix.Cmsghdr
	at  unix.Timespec
	_   [32]byte
}

// listen opens a socket that is read in batches, of which one begins so long after
// the other. The times at which the kernel got RTP packets are put into times.
func listen(addr netip.AddrPort, every time.Duration, times *arrivals) (net.PacketConn, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	b := &batchConn{fd: fd, every: every, times: times, buffers: make([]byte, batchSize*datagramSize)}
	if err := b.setUp(addr); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	for i := range b.messages {
		b.vectors[i].Base = &b.buffers[i*datagramSize]
		b.vectors[i].SetLen(datagramSize)
		h := &b.messages[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
	}
	return b, nil
}

func (b *batchConn) setUp(addr netip.AddrPort) error {
	if addr.Addr().Is6() {
		if err := unix.SetsockoptInt(b.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	// Both are welcome, but not needed.
	_ = unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	_ = unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err := unix.Bind(b.fd, sockaddr(addr)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(b.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	port := 0
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = sa.Port
	case *unix.SockaddrInet6:
		port = sa.Port
	}
	b.local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), uint16(port)))
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (b *batchConn) ReadFromAddrPort(p []byte) (int, netip.AddrPort, error) {
	for {
		for b.next == b.got {
			if err := b.fill(); err != nil {
				return 0, netip.AddrPort{}, err
			}
		}
		i := b.next
		b.next++
		if packet := b.buffers[i*datagramSize:][:b.messages[i].len]; !forged(packet) {
			return copy(p, packet), b.source(i), nil
		}
	}
}

// fill waits for packets and reads them, or none.
func (b *batchConn) fill() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.next, b.got = 0, 0
	if b.closed {
		return net.ErrClosed
	}
	if b.sleepy {
		time.Sleep(b.every - time.Since(b.readAt))
	} else {
		fds := [1]unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], int(idleWait.Milliseconds()))
		if n == 0 || errors.Is(err, unix.EINTR) {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("poll", err)
		}
	}
	for i := range b.messages {
		h := &b.messages[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(int(unsafe.Sizeof(b.controls[i])))
	}
	// It does not block, so the scheduler need not know of it.
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(b.fd),
		uintptr(unsafe.Pointer(&b.messages[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	b.readAt = time.Now()
	switch errno {
	case 0:
		b.got = int(n)
		b.sleepy = b.got >= often && b.got < batchSize
		b.stamp()
		return nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED: // the last tells of some peer's port
		b.sleepy = false
		return nil
	}
	return os.NewSyscallError("recvmmsg", errno)
}

// stamp keeps the times at which the kernel got the packets of a batch.
func (b *batchConn) stamp() {
	b.times.mu.Lock()
	defer b.times.mu.Unlock()
	for i := range b.got {
		c := &b.controls[i]
		if b.messages[i].hdr.Controllen == 0 || c.hdr.Level != unix.SOL_SOCKET || c.hdr.Type != unix.SCM_TIMESTAMPNS {
			continue
		}
		b.times.put(b.buffers[i*datagramSize:][:b.messages[i].len], c.at.Nano())
	}
}

// source is who sent message i.
func (b *batchConn) source(i int) netip.AddrPort {
	name := &b.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), port)
}

// WriteToAddrPort implements ice.AddrPortReaderWriter. A packet for which the
// kernel has no room is lost, as on the way.
func (b *batchConn) WriteToAddrPort(p []byte, addr netip.AddrPort) (int, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	if addr.Addr().Unmap().Is4() != (b.local.IP.To4() != nil) {
		return 0, fmt.Errorf("peer: %v can't be reached from %v", addr, b.local)
	}
	if len(p) == 0 {
		return 0, nil
	}
	name, size := rawSockaddr(addr)
	// It does not block, so the scheduler need not know of it.
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(b.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&name)), uintptr(size))
	if errno != 0 && errno != unix.EAGAIN {
		return 0, os.NewSyscallError("sendto", errno)
	}
	return len(p), nil
}

// rawSockaddr gives an address as the kernel has it, which is as long as size says.
func rawSockaddr(a netip.AddrPort) (name unix.RawSockaddrInet6, size int) {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&name))
		v4.Family, v4.Addr = unix.AF_INET, ip.As4()
		size = unix.SizeofSockaddrInet4
	} else {
		name.Family, name.Addr = unix.AF_INET6, ip.As16()
		size = unix.SizeofSockaddrInet6
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], a.Port())
	return name, size
}

// ReadFrom implements net.PacketConn.
func (b *batchConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, addr, err := b.ReadFromAddrPort(p)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(addr), nil
}

// WriteTo implements net.PacketConn.
func (b *batchConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("peer: %v is no UDP address", addr)
	}
	return b.WriteToAddrPort(p, u.AddrPort())
}

// Close frees the socket, for which it waits until the reader looks up: within
// idleWait.
func (b *batchConn) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return os.NewSyscallError("close", unix.Close(b.fd))
}

// LocalAddr implements net.PacketConn.
func (b *batchConn) LocalAddr() net.Addr { return b.local }

// Writes never block, and the reader is ended by Close: there is nothing for a
// deadline to end.

// SetDeadline implements net.PacketConn by doing nothing.
func (b *batchConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn by doing nothing.
func (b *batchConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn by doing nothing.
func (b *batchConn) SetWriteDeadline(time.Time) error { return nil }
