package dump_test

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/dump"
)

// Every way of wrapping a packet that captures come in.
func TestEveryEncapsulationIsUnwrapped(t *testing.T) {
	ether := func(kind uint16, b []byte) []byte {
		return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), b...)
	}
	packet := func(n int) []byte { return udp(1, 2, 5000, 6000, opus(9, n)) }
	whole := func(n int) []byte { return ip4(1, 2, packet(n)) }
	for name, c := range map[string]struct {
		link uint32
		wrap func(n int) [][]byte
	}{
		"Ethernet": {1, func(n int) [][]byte { return [][]byte{append(ether(0x800, whole(n)), 0, 0, 0)} }},
		"VLAN":     {1, func(n int) [][]byte { return [][]byte{ether(0x8100, append([]byte{0, 7, 8, 0}, whole(n)...))} }},
		"QinQ": {1, func(n int) [][]byte {
			return [][]byte{ether(0x88a8, append([]byte{0, 7, 0x81, 0, 0, 8, 8, 0}, whole(n)...))}
		}},
		"PPPoE": {1, func(n int) [][]byte {
			return [][]byte{ether(0x8864, append([]byte{0x11, 0, 0, 1, 0, 0, 0, 0x21}, whole(n)...))}
		}},
		"BSD loopback":   {0, func(n int) [][]byte { return [][]byte{append([]byte{2, 0, 0, 0}, whole(n)...)} }},
		"loopback":       {108, func(n int) [][]byte { return [][]byte{append([]byte{0, 0, 0, 2}, whole(n)...)} }},
		"raw":            {101, func(n int) [][]byte { return [][]byte{whole(n)} }},
		"raw of BSD":     {12, func(n int) [][]byte { return [][]byte{whole(n)} }},
		"raw IPv4":       {228, func(n int) [][]byte { return [][]byte{whole(n)} }},
		"Linux cooked":   {113, func(n int) [][]byte { return [][]byte{append(append(make([]byte, 14), 8, 0), whole(n)...)} }},
		"Linux cooked 2": {276, func(n int) [][]byte { return [][]byte{append(append([]byte{8, 0}, make([]byte, 18)...), whole(n)...)} }},
		"IPv6":           {229, func(n int) [][]byte { return [][]byte{ip6(17, nil, packet(n))} }},
		"IPv6 with extension headers": {101, func(n int) [][]byte {
			return [][]byte{ip6(0, []byte{60, 0, 0, 0, 0, 0, 0, 0, 17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, packet(n))}
		}},
		"IPv6 fragments": {101, func(n int) [][]byte {
			p := packet(n)
			return [][]byte{
				ip6(44, []byte{17, 0, 0, 17, 0, 0, 0, byte(n)}, p[16:][:len(p)-16][:0:0]), // an empty one says nothing
				ip6(44, []byte{17, 0, 0, 16, 0, 0, 0, byte(n)}, p[16:]),
				ip6(44, []byte{17, 0, 0, 1, 0, 0, 0, byte(n)}, p[:16]),
			}
		}},
		"IPv4 fragments": {101, func(n int) [][]byte {
			p := packet(n)
			return [][]byte{
				ip4part(1, 2, uint16(n), 0x2000, p[:8]), ip4part(1, 2, uint16(n), 0x2001, p[8:16]),
				ip4part(1, 2, uint16(n), 0x2001, p[8:16]), ip4part(1, 2, uint16(n), 2, p[16:]),
			}
		}},
		"IPv4 in IPv6": {101, func(n int) [][]byte { return [][]byte{ip6(4, nil, whole(n))} }},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []frame
			for n := range 30 {
				for _, b := range c.wrap(n) {
					frames = append(frames, frame{time.Duration(n) * 20 * time.Millisecond, b})
				}
			}
			for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
				for _, nanos := range []bool{false, true} {
					p := playBytes(t, dump.Config{}, pcap(order, nanos, c.link, frames))
					if p.err != nil || p.packets[media.Opus] != 30 {
						t.Fatalf("%v, %d packets, %v: %+v", order, p.packets[media.Opus], p.err, p.summary)
					}
					first, last := p.events[2].Packet.Arrival, p.events[len(p.events)-3].Packet.Arrival
					if first.Unix() != 1_700_000_000 || last.Sub(first) != 29*20*time.Millisecond {
						t.Fatalf("%v: from %v to %v", order, first, last)
					}
				}
			}
		})
	}
}

// Cut frames hold part of a packet: that is no packet.
func TestCutFramesAreSetAside(t *testing.T) {
	var frames []frame
	for n := range 30 {
		b := ip4(1, 2, udp(1, 2, 5000, 6000, opus(9, n)))
		frames = append(frames, frame{time.Duration(n), b[:len(b)-2]})
	}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, false, 101, frames))
	if !errors.Is(p.err, dump.ErrNoMedia) || len(p.summary.Ignored) != 1 || p.summary.Ignored[0].Packets != 30 {
		t.Errorf("%v: %+v", p.err, p.summary)
	}
}

func TestUnknownLinkTypeIsNamed(t *testing.T) {
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, false, 105, nil))
	if !errors.Is(p.err, dump.ErrFormat) || p.err.Error() != "dump0: not a dump that can be read: link type 105" {
		t.Error(p.err)
	}
}

// A pcapng file of two sections of both byte orders, with interfaces of their
// own link types and clocks.
func TestSectionsAndInterfaces(t *testing.T) {
	var b []byte
	at := 0
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		block := func(kind uint32, body []byte) {
			for len(body)%4 != 0 {
				body = append(body, 0)
			}
			b = order.AppendUint32(b, kind)
			b = order.AppendUint32(b, uint32(len(body)+12))
			b = append(b, body...)
			b = order.AppendUint32(b, uint32(len(body)+12))
		}
		head := order.AppendUint32(nil, 0x1a2b3c4d)
		head = order.AppendUint16(head, 1)
		block(0x0a0d0d0a, append(order.AppendUint16(head, 0), 255, 255, 255, 255, 255, 255, 255, 255))
		block(0x0bad, make([]byte, 300<<10)) // of a kind that is not known, and large
		// Of unknown link type, of milliseconds, of 2^-10 s with an offset.
		block(1, append(order.AppendUint16(nil, 105), 0, 0, 0, 0, 0, 0))
		raw := append(order.AppendUint16(nil, 101), 0, 0, 0, 0, 0, 0)
		option := func(code uint16, v ...byte) []byte {
			o := order.AppendUint16(order.AppendUint16(nil, code), uint16(len(v)))
			o = append(o, v...)
			for len(o)%4 != 0 {
				o = append(o, 0)
			}
			return o
		}
		block(1, append(append([]byte{}, raw...), option(9, 3)...))
		offset := order.AppendUint64(nil, 1_700_000_000)
		block(1, append(append(append([]byte{}, raw...), option(9, 0x80|10)...), option(14, offset...)...))
		for range 20 {
			id, ticks := uint32(1), uint64(1_700_000_000_000)+uint64(20*at)
			if at%2 == 1 {
				id, ticks = 2, uint64(20*at*1024/1000)
			}
			packet := ip4(1, 2, udp(1, 2, 5000, 6000, opus(9, at)))
			at++
			body := order.AppendUint32(nil, id)
			body = order.AppendUint32(body, uint32(ticks>>32))
			body = order.AppendUint32(body, uint32(ticks))
			body = order.AppendUint32(body, uint32(len(packet)))
			body = order.AppendUint32(body, uint32(len(packet)))
			block(6, append(body, packet...))
		}
	}
	p := playBytes(t, dump.Config{}, b)
	if p.err != nil || p.packets[media.Opus] != 40 || len(p.summary.Streams) != 1 {
		t.Fatalf("%d packets, %v: %+v", p.packets[media.Opus], p.err, p.summary)
	}
	n := 0
	for _, e := range p.events {
		if e.Packet == nil {
			continue
		}
		want := time.Unix(1_700_000_000, int64(20*n)*1_000_000)
		if d := e.Time.Sub(want); d > 0 || d < -time.Millisecond {
			t.Errorf("packet %d at %v, want %v", n, e.Time, want)
		}
		n++
	}
}
