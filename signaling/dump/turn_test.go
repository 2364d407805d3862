package dump_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/dump"
)

// stun makes a message with attributes.
func stun(kind uint16, attributes ...[]byte) []byte {
	body := slices.Concat(attributes...)
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = binary.BigEndian.AppendUint32(b, 0x2112a442)
	return append(append(b, "transactions"[:12]...), body...)
}

func attribute(kind uint16, value []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// peer is XOR-PEER-ADDRESS of 10.0.0.host:port.
func peer(host byte, port uint16) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 1}, port^0x2112)
	return attribute(0x12, append(b, 10^0x21, 0^0x12, 0^0xa4, host^0x42))
}

// channelData frames b (RFC 8656 §12.4), padded as over TCP.
func channelData(number uint16, b []byte) []byte {
	head := binary.BigEndian.AppendUint16(nil, number)
	head = append(binary.BigEndian.AppendUint16(head, uint16(len(b))), b...)
	return append(head, make([]byte, -len(b)&3)...)
}

// A client, 10.0.0.1, is in a call with 10.0.0.9 through a relay on 10.0.0.2.
func TestRelayedPacketsAreUnwrapped(t *testing.T) {
	out := func(b []byte) []byte { return ip4(1, 2, udp(1, 2, 4000, 3478, b)) }
	in := func(b []byte) []byte { return ip4(2, 1, udp(2, 1, 3478, 4000, b)) }
	var frames []frame
	add := func(i int, b []byte) { frames = append(frames, frame{time.Duration(i) * 20 * time.Millisecond, b}) }
	for i := range 200 {
		sent, received := opus(1, i), opus(2, i)
		switch {
		case i < 20:
			add(i, out(stun(0x16, peer(9, 7000), attribute(0x13, sent))))
			add(i, in(stun(0x17, attribute(0x13, received), peer(9, 7000))))
		default:
			if i == 20 {
				add(i, out(stun(0x09, attribute(0x0c, []byte{0x40, 1, 0, 0}), peer(9, 7000))))
			}
			add(i, out(channelData(0x4001, sent)))
			add(i, in(channelData(0x4001, received)))
		}
	}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, frames))
	if p.err != nil {
		t.Fatal(p.err)
	}
	if n := p.packets[media.Opus]; n != 400 {
		t.Errorf("%d packets", n)
	}
	s := p.summary
	if len(s.Streams) != 2 || s.Streams[0].From != "10.0.0.1:4000" || s.Streams[0].To != "10.0.0.9:7000" ||
		s.Streams[1].From != "10.0.0.9:7000" || s.Streams[1].To != "10.0.0.1:4000" {
		t.Errorf("%+v", s.Streams)
	}
	if want := []dump.Count{{What: "TURN channel data", Packets: 360}, {What: "TURN indications", Packets: 40}}; !slices.Equal(s.Relayed, want) {
		t.Errorf("relayed: %v", s.Relayed)
	}
	if want := []dump.Count{{What: "STUN", Packets: 1}}; !slices.Equal(s.Ignored, want) {
		t.Errorf("set aside: %v", s.Ignored)
	}
}

// What can't be unwrapped is counted as what it is.
func TestRelayedPacketsMayBeAnything(t *testing.T) {
	out := func(b []byte) frame { return frame{0, ip4(1, 2, udp(1, 2, 4000, 3478, b))} }
	cut := stun(0x16, peer(9, 7000), attribute(0x13, opus(1, 1)))
	binary.BigEndian.PutUint16(cut[32+2:], 2000)
	c := call{from: 3, to: 2, port: 5000, ssrc: 1, packets: 100}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, append([]frame{
		out(channelData(0x4001, nil)), out(channelData(0x4001, []byte("no packet of media"))),
		out(cut), out(stun(0x16, attribute(0x13, opus(1, 1)))), out(stun(0x16, attribute(0x12, []byte{0, 2, 3}), attribute(0x13, opus(1, 1)))),
		out(stun(0x09, attribute(0x0c, nil))), out(stun(0x17, peer(9, 7000))), out(stun(0x16, []byte{0, 0x13})),
		out(channelData(0x4001, channelData(0x4001, opus(1, 1)))),
	}, c.frames()...)))
	if p.err != nil {
		t.Fatal(p.err)
	}
	want := []dump.Count{{What: "STUN", Packets: 6}, {What: "TURN channel data", Packets: 2}, {What: "other datagrams", Packets: 1}}
	if !slices.Equal(p.summary.Ignored, want) {
		t.Errorf("set aside: %v", p.summary.Ignored)
	}
	if n := p.packets[media.Opus]; n != 100 {
		t.Errorf("%d packets", n)
	}
}
