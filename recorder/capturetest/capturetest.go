// Package capturetest reads the real RTP captures that tests use as oracles:
// pcap and pcapng files, rtpdump files, Janus' .mjr files and IVF files.
//
// It is for tests only. It reads what a file says and makes no attempt to be
// robust: anything it can't read fails the test. Captures are no part of the
// repository; where they are absent, the test is skipped and says so.
package capturetest

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/roomtape/roomtape/media"
)

// Datagram is one UDP payload of a capture.
type Datagram struct {
	Arrival time.Time
	Data    []byte
}

// Path gives the path of the capture with the given slash-separated name. It
// looks for shared/captures beside each folder above the working directory, and
// skips the test when none holds the capture.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "shared", "captures", filepath.FromSlash(name))
		if _, err := os.Stat(path); err == nil {
			return path
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Skipf("capture %s is not on this machine", name)
		}
		dir = up
	}
}

// Glob gives the paths of all captures that match the pattern of path.Match,
// in lexical order, and skips the test when there is none.
func Glob(tb testing.TB, pattern string) []string {
	tb.Helper()
	root := filepath.Dir(Path(tb, "README.md"))
	paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
	if err != nil {
		tb.Fatal(err)
	}
	if len(paths) == 0 {
		tb.Skipf("captures %s are not on this machine", pattern)
	}
	return paths
}

// File reads a capture whole.
func File(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(Path(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Read gives the datagrams of a pcap, pcapng, rtpdump or .mjr file in the order
// of the file. The format is told by the content. A .mjr file of the old form
// has no arrival times: all are the zero Time. An rtpdump without a
// start time counts from the Unix epoch.
func Read(tb testing.TB, name string) []Datagram {
	tb.Helper()
	return Decode(tb, name, File(tb, name))
}

// Decode is Read of a capture that was read already; name is for messages.
func Decode(tb testing.TB, name string, b []byte) []Datagram {
	tb.Helper()
	var d []Datagram
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("#!rtpplay1.0")):
		d, err = readRTPDump(b)
	case bytes.HasPrefix(b, []byte("MEETECHO")), bytes.HasPrefix(b, []byte("MJR")):
		d, err = readMJR(b)
	default:
		d, err = readPcap(b)
	}
	if err != nil {
		tb.Fatalf("reading capture %s: %v", name, err)
	}
	return d
}

// Packets gives the RTP packets of a capture that keep tells to keep, in the
// order of the file. RTCP, STUN and whatever else is no RTP packet is left out
// (RFC 7983, RFC 5761 §4). Each packet comes from media.NewPacket and is the
// caller's.
func Packets(tb testing.TB, name string, keep func(*media.Packet) bool) []*media.Packet {
	tb.Helper()
	var out []*media.Packet
	for _, d := range Read(tb, name) {
		if p := Parse(d); p != nil && keep(p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		tb.Fatalf("capture %s holds no such RTP packet", name)
	}
	return out
}

// PayloadType makes a function for Packets that keeps one payload type.
func PayloadType(pt uint8) func(*media.Packet) bool {
	return func(p *media.Packet) bool { return p.PayloadType == pt }
}

// Parse reads the datagram as an RTP packet, or returns nil when it is none.
func Parse(d Datagram) *media.Packet {
	if len(d.Data) < 2 || d.Data[1] >= 192 && d.Data[1] <= 223 {
		return nil
	}
	p, err := media.NewPacket(d.Data, d.Arrival)
	if err != nil {
		return nil
	}
	return p
}

func readPcap(b []byte) ([]Datagram, error) {
	var src gopacket.PacketDataSource
	var link func(gopacket.CaptureInfo) layers.LinkType
	if r, err := pcapgo.NewReader(bytes.NewReader(b)); err == nil {
		src, link = r, func(gopacket.CaptureInfo) layers.LinkType { return r.LinkType() }
	} else {
		r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, err
		}
		src, link = r, func(ci gopacket.CaptureInfo) layers.LinkType {
			i, err := r.Interface(ci.InterfaceIndex)
			if err != nil {
				return layers.LinkTypeNull
			}
			return i.LinkType
		}
	}
	var out []Datagram
	for {
		data, ci, err := src.ReadPacketData()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		p := gopacket.NewPacket(data, link(ci), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		// ICMP errors quote a datagram; Lazy decoding stops before that.
		if udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
			out = append(out, Datagram{Arrival: ci.Timestamp, Data: udp.Payload})
		}
	}
}

// readRTPDump reads the format of rtptools' rtpdump(1).
func readRTPDump(b []byte) ([]Datagram, error) {
	line := bytes.IndexByte(b, '\n')
	if line < 0 || len(b) < line+1+16 {
		return nil, io.ErrUnexpectedEOF
	}
	b = b[line+1:]
	start := time.Unix(int64(binary.BigEndian.Uint32(b)), 1000*int64(binary.BigEndian.Uint32(b[4:])))
	b = b[16:]
	var out []Datagram
	for len(b) >= 8 {
		n := int(binary.BigEndian.Uint16(b))
		if n < 8 || n > len(b) {
			return out, nil
		}
		offset := time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Millisecond
		if n > 8 {
			out = append(out, Datagram{Arrival: start.Add(offset), Data: b[8:n]})
		}
		b = b[n:]
	}
	return out, nil
}

// readMJR reads what Janus records: the header of 2014 ("MEETECHO", five bytes
// of name, records of length and packet) and the present one ("MJR00001" or
// "MJR00002" and a JSON header, records with the time of arrival in ms).
func readMJR(b []byte) ([]Datagram, error) {
	var out []Datagram
	timed := false
	for len(b) >= 10 {
		head := b[:8]
		at := time.Time{}
		var n int
		switch {
		case bytes.HasPrefix(head, []byte("MJR")):
			timed = true
			n = int(binary.BigEndian.Uint16(b[8:]))
			b = b[10:]
			if n <= len(b) {
				b = b[n:]
			}
			continue
		case bytes.Equal(head, []byte("MEETECHO")):
			n = int(binary.BigEndian.Uint16(b[8:]))
		case bytes.HasPrefix(head, []byte("MEET")):
			at = time.Unix(0, 0).Add(time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Millisecond)
			n = int(binary.BigEndian.Uint16(b[8:]))
		default:
			return nil, io.ErrUnexpectedEOF
		}
		b = b[10:]
		if n > len(b) {
			return out, nil
		}
		// The old header is a record of its own: "video" or "audio".
		if n > 5 || timed {
			out = append(out, Datagram{Arrival: at, Data: b[:n]})
		}
		b = b[n:]
	}
	return out, nil
}
