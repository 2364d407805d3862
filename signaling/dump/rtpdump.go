package dump

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// rtpDump reads the format of rtptools' rtpdump: a line of text, a header with
// the start time, and records with an offset in milliseconds.
type rtpDump struct {
	*input
	start time.Time
	from  netip.AddrPort
}

const rtpDumpMagic = "#!rtpplay1.0"

func isRTPDump(head []byte) bool { return bytes.HasPrefix(head, []byte(rtpDumpMagic)) }

func newRTPDump(in *input) (*rtpDump, error) {
	head, _ := in.r.Peek(sniffed)
	line := bytes.IndexByte(head, '\n')
	if line < 0 {
		return nil, in.damage("the first line has no end")
	}
	text, err := in.take(line + 1)
	if err != nil {
		return nil, err
	}
	f := &rtpDump{input: in}
	address := strings.TrimSpace(strings.TrimPrefix(string(text), rtpDumpMagic))
	header, err := in.take(16)
	if err != nil {
		return nil, err
	}
	f.start = time.Unix(int64(binary.BigEndian.Uint32(header)), int64(binary.BigEndian.Uint32(header[4:]))*1000).UTC()
	if host, port, ok := strings.Cut(address, "/"); ok {
		// The address in the text is where the packets went, or came from;
		// which one depends on the program. It is the same for all.
		f.from, _ = netip.ParseAddrPort(host + ":" + port)
	}
	return f, nil
}

func (f *rtpDump) format() string { return "rtpdump" }

func (f *rtpDump) next(d *datagram) error {
	f.begin()
	head, err := f.take(8)
	if err != nil {
		return err
	}
	// The packet's own length, at head[2:], is 0 for RTCP or the length of
	// the compound, by two conventions; the packet itself tells as well.
	size := int(binary.BigEndian.Uint16(head))
	*d = datagram{from: f.from, at: f.start.Add(time.Duration(binary.BigEndian.Uint32(head[4:])) * time.Millisecond)}
	switch {
	case size == 0 || size == 8: // a record without a packet
		d.other = "empty record"
		return nil
	case size < 8:
		return f.damage("a record of %d bytes", size)
	}
	whole := int(binary.BigEndian.Uint16(head[2:]))
	if d.data, err = f.take(size - 8); whole > size-8 {
		d.data, d.other = nil, otherShort
	}
	return err
}
