package turn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// FuzzFrames reads what a TCP client might send: each frame is as long as its
// head says, nothing is lost between frames, and none is longer than pion takes.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x03\x00\x08\x21\x12\xa4\x42............\x00\x0d\x00\x04\x00\x00\x02\x58\x40\x00\x00\x05abcde\x00\x00\x00"))
	f.Add([]byte("\x00\x01\xff\xec\x21\x12\xa4\x42............"))
	f.Add([]byte("\x00\x09\x00\x08\x21\x12\xa4\x42............\x00\x0c\x00\x04\x40\x00\x00\x00"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	s, err := newServer(Config{Secret: "s", Public: []netip.Addr{loopback}})
	if err != nil {
		f.Fatal(err)
	}
	l := &listener{server: s, clients: map[netip.AddrPort]*client{}}
	from := netip.AddrPortFrom(loopback, 1)
	l.clients[from] = &client{relay: &relay{from: from}, peers: map[netip.Addr]struct{}{}, channels: map[uint16]struct{}{}}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		b := make([]byte, maxFrame)
		read := 0
		for {
			n, err := readFrame(r, b)
			if err != nil {
				break
			}
			if n < 4 || n%4 != 0 || !bytes.Equal(b[:n], in[read:read+n]) {
				t.Fatalf("a frame of %d bytes at %d", n, read)
			}
			want := 4 + (int(binary.BigEndian.Uint16(b[2:]))+3)&^3
			if b[0]&0xc0 == 0 {
				want += headerLen - 4
			}
			if n != want {
				t.Fatalf("a frame of %d bytes, want %d", n, want)
			}
			read += n
			now := time.Unix(0, 0)
			l.admits(b[:n], from, now)
			l.answered(b[:n], from, now)
		}
	})
}
