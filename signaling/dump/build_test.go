package dump_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// rtp makes a packet.
func rtp(pt uint8, seq uint16, ts, ssrc uint32, payload ...byte) []byte {
	b := []byte{0x80, pt}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, ts)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, payload...)
}

// opus makes packet n of a stream of 20 ms packets.
func opus(ssrc uint32, n int) []byte {
	return rtp(111, uint16(n), uint32(960*n), ssrc, 0xfc, byte(n), byte(n>>3), 7, 8, 9)
}

// vp8 makes packet n of a stream of one packet a frame, the first a keyframe.
func vp8(ssrc uint32, n int) []byte {
	b := rtp(96|0x80, uint16(n), uint32(3000*n), ssrc, 0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, byte(n))
	if n > 0 {
		b[13] = 0x11
	}
	return b
}

// sdes makes a compound packet with a sender report and a canonical name.
func sdes(ssrc uint32, name string, bye bool) []byte {
	b := []byte{0x80, 200, 0, 6}
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = binary.BigEndian.AppendUint64(b, 0xe0000000_00000000)
	b = append(b, make([]byte, 12)...)
	chunk := binary.BigEndian.AppendUint32(nil, ssrc)
	chunk = append(append(chunk, 1, byte(len(name))), name...)
	chunk = append(chunk, make([]byte, 4-len(chunk)%4)...)
	b = append(b, 0x81, 202, 0, byte(len(chunk)/4))
	b = append(b, chunk...)
	if bye {
		b = append(b, 0x81, 203, 0, 1)
		b = binary.BigEndian.AppendUint32(b, ssrc)
	}
	return b
}

// udp wraps a datagram from 10.0.0.from to 10.0.0.to.
func udp(from, to byte, fromPort, toPort uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, fromPort)
	b = binary.BigEndian.AppendUint16(b, toPort)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func ip4(from, to byte, payload []byte) []byte { return ip4part(from, to, 1, 0, payload) }

// ip4part makes a fragment: where is its offset in units of 8 bytes, and flags.
func ip4part(from, to byte, id, where uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(payload)))
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, where)
	b = append(b, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to)
	return append(b, payload...)
}

// ip6 makes a packet with extension headers, the last of which says that UDP
// follows.
func ip6(first byte, extensions, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(extensions)+len(payload)))
	b = append(b, first, 64,
		0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
	return append(append(b, extensions...), payload...)
}

// frame is a captured frame.
type frame struct {
	at time.Duration
	b  []byte
}

// pcap makes a file.
func pcap(order binary.AppendByteOrder, nanos bool, link uint32, frames []frame) []byte {
	magic, unit := uint32(0xa1b2c3d4), time.Microsecond
	if nanos {
		magic, unit = 0xa1b23c4d, time.Nanosecond
	}
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 65535)
	b = order.AppendUint32(b, link)
	for _, f := range frames {
		b = order.AppendUint32(b, 1_700_000_000+uint32(f.at/time.Second))
		b = order.AppendUint32(b, uint32(f.at%time.Second/unit))
		b = order.AppendUint32(b, uint32(len(f.b)))
		b = order.AppendUint32(b, uint32(len(f.b)))
		b = append(b, f.b...)
	}
	return b
}

// playBytes is play of what would be in a file.
func playBytes(t testing.TB, cfg dump.Config, files ...[]byte) played {
	t.Helper()
	var names []string
	content := map[string][]byte{}
	for i, b := range files {
		name := fmt.Sprint("dump", i)
		names = append(names, name)
		content[name] = b
	}
	r, err := dump.OpenBytes(t.Context(), names, content, cfg)
	return take(t, r, err)
}

// calls makes frames of calls between hosts on a line of IPv4: each a stream of
// VP8 or Opus.
type call struct {
	from, to byte
	port     uint16
	video    bool
	ssrc     uint32
	first    int // in which 20 ms
	packets  int
	cname    string
	bye      bool
}

func (c call) frames() []frame {
	var out []frame
	for i := range c.packets {
		p := opus(c.ssrc, i)
		if c.video {
			p = vp8(c.ssrc, i)
		}
		at := time.Duration(c.first+i) * 20 * time.Millisecond
		out = append(out, frame{at, ip4(c.from, c.to, udp(c.from, c.to, c.port, c.port, p))})
	}
	if c.cname != "" {
		at := time.Duration(c.first+c.packets)*20*time.Millisecond - time.Millisecond
		out = append(out, frame{at, ip4(c.from, c.to, udp(c.from, c.to, c.port+1, c.port+1, sdes(c.ssrc, c.cname, c.bye)))})
	}
	return out
}

func kinds(list []signaling.Event) (out []signaling.EventKind) {
	for _, e := range list {
		if e.Kind != signaling.PacketArrived {
			out = append(out, e.Kind)
		}
	}
	return out
}
