package peer

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

func record(content, epoch byte, data string) []byte {
	return append([]byte{content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9, 0, byte(len(data))}, data...)
}

func TestForged(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		want   bool
	}{
		"nothing":                     {nil, false},
		"a STUN request":              {[]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false},
		"RTP":                         {append([]byte{0x97}, make([]byte, 40)...), false},
		"a handshake":                 {record(22, 0, "hello"), false},
		"encrypted data":              {record(23, 1, "data"), false},
		"data in the clear":           {record(23, 0, "data"), true},
		"a handshake, and such data":  {append(record(22, 0, "hello"), record(23, 0, "data")...), true},
		"a cut record":                {record(23, 0, "data")[:12], false},
		"a record longer than it all": {append(record(22, 0, "hello")[:12], 200), false},
	} {
		if got := forged(c.packet); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestForgedPacketsAreNotRead sends data in the clear before what a peer could
// send: only the latter is read.
func TestForgedPacketsAreNotRead(t *testing.T) {
	conn, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), time.Millisecond, &arrivals{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	from, err := net.Dial("udp4", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	want := record(23, 1, "data")
	for _, p := range [][]byte{record(23, 0, "data"), record(23, 0, ""), want} {
		if _, err := from.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	n, _, err := conn.ReadFrom(b)
	if err != nil || !bytes.Equal(b[:n], want) {
		t.Errorf("read %x, %v; want %x", b[:n], err, want)
	}
}
