package dump

import (
	"encoding/binary"
	"fmt"
	"time"
)

// pcap reads the libpcap file format (draft-ietf-opsawg-pcap).
type pcap struct {
	*input
	order binary.ByteOrder
	nanos bool
	link  linkType
	net   network
}

const (
	pcapMicro = 0xa1b2c3d4
	pcapNano  = 0xa1b23c4d
)

func isPcap(head []byte) bool {
	_, _, ok := pcapMagic(head)
	return ok
}

func pcapMagic(head []byte) (order binary.ByteOrder, nanos, ok bool) {
	if len(head) < 4 {
		return nil, false, false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(head) {
		case pcapMicro:
			return order, false, true
		case pcapNano:
			return order, true, true
		}
	}
	return nil, false, false
}

func newPcap(in *input) (*pcap, error) {
	head, err := in.take(24)
	if err != nil {
		return nil, err
	}
	f := &pcap{input: in}
	f.order, f.nanos, _ = pcapMagic(head)
	// The upper half may say how long frame check sequences are.
	f.link = linkType(f.order.Uint32(head[20:]) & 0xffff)
	if !f.link.known() {
		return nil, fmt.Errorf("%s: %w: link type %v", in.name, ErrFormat, f.link)
	}
	return f, nil
}

func (f *pcap) format() string { return "pcap" }

func (f *pcap) next(d *datagram) error {
	f.begin()
	head, err := f.take(16)
	if err != nil {
		return err
	}
	fraction := int64(f.order.Uint32(head[4:]))
	if !f.nanos {
		fraction *= 1000
	}
	at := time.Unix(int64(f.order.Uint32(head)), fraction).UTC()
	size := f.order.Uint32(head[8:])
	if size > maxRecord {
		return f.damage("a packet of %d bytes", size)
	}
	frame, err := f.take(int(size))
	if err != nil {
		return err
	}
	*d = datagram{at: at}
	f.net.decode(f.link, frame, d)
	return nil
}
