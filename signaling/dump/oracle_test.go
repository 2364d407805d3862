package dump_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/roomtape/roomtape/signaling/dump"
)

// gopacket's reader and ours find the same datagrams at the same times in the
// conformance suite of pcapng and in the other captures.
func TestDatagramsAreThoseThatGopacketFinds(t *testing.T) {
	root := filepath.Dir(capture(t, "README.md"))
	var paths []string
	for _, pattern := range []string{"*/*/*/*/*.pcapng", "*/*/*/*.pcap", "*/*/*.pcap"} {
		list, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, list...)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := gopacketDatagrams(t, b)
			got, err := dump.Datagrams(b)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Fatalf("%d datagrams, want %d", len(got), len(want))
			}
			for i := range got {
				if !got[i].At.Equal(want[i].At) || !bytes.Equal(got[i].Data, want[i].Data) {
					t.Errorf("datagram %d at %v of %d bytes, want %v of %d", i, got[i].At, len(got[i].Data), want[i].At, len(want[i].Data))
				}
			}
		})
	}
}

func gopacketDatagrams(t *testing.T, b []byte) (out []dump.Datagram) {
	var src gopacket.PacketDataSource
	var link func(gopacket.CaptureInfo) layers.LinkType
	if r, err := pcapgo.NewReader(bytes.NewReader(b)); err == nil {
		src, link = r, func(gopacket.CaptureInfo) layers.LinkType { return r.LinkType() }
	} else {
		r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			t.Fatal(err)
		}
		src, link = r, func(ci gopacket.CaptureInfo) layers.LinkType { return ci.AncillaryData[0].(layers.LinkType) }
	}
	for {
		data, ci, err := src.ReadPacketData()
		if err != nil {
			return out
		}
		p := gopacket.NewPacket(data, link(ci), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if ok && int(udp.Length) == len(udp.Payload)+8 {
			out = append(out, dump.Datagram{At: ci.Timestamp, Data: bytes.Clone(udp.Payload)})
		}
	}
}

// A file may be cut anywhere: what is before is used, and where it is cut is
// told.
func TestEveryCutOfACaptureGivesWhatIsBefore(t *testing.T) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 20}
	var rtpdump []byte
	rtpdump = append(rtpdump, "#!rtpplay1.0 1.2.3.4/5\n"...)
	rtpdump = append(rtpdump, make([]byte, 16)...)
	for n := range 20 {
		p := opus(1, n)
		rtpdump = binary.BigEndian.AppendUint16(rtpdump, uint16(8+len(p)))
		rtpdump = binary.BigEndian.AppendUint16(rtpdump, uint16(len(p)))
		rtpdump = binary.BigEndian.AppendUint32(rtpdump, uint32(20*n))
		rtpdump = append(rtpdump, p...)
	}
	for name, whole := range map[string][]byte{
		"pcap":    pcap(binary.LittleEndian, true, 101, c.frames()),
		"rtpdump": rtpdump,
		"mjr":     mjr("MJR00002", `{"t":"a","c":"opus","s":1,"u":1}`, 20, opus),
	} {
		t.Run(name, func(t *testing.T) {
			last := 0
			for n := 1; n < len(whole); n++ {
				p := playBytes(t, dump.Config{Map: map[uint8]dump.Format{111: dump.NewFormat("opus")}}, whole[:n])
				var d *dump.DamageError
				switch {
				case errors.Is(p.err, dump.ErrFormat), errors.Is(p.err, dump.ErrNoMedia):
				case p.err == nil && len(p.events) > 0: // between two records
				case errors.As(p.err, &d):
					if d.Offset > int64(n) || d.Offset < int64(n)-64 {
						t.Fatalf("cut at %d: %v", n, p.err)
					}
				default:
					t.Fatalf("cut at %d: %v", n, p.err)
				}
				if len(p.events) < last {
					t.Fatalf("%d events when cut at %d, %d before", len(p.events), n, last)
				}
				last = len(p.events)
			}
			if last != 19+4 {
				t.Errorf("%d events without the last byte", last)
			}
		})
	}
}

// Times that are all equal are no times.
func TestRTPTimeWhenCaptureTimesAreUseless(t *testing.T) {
	frames := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 51}.frames()
	for i := range frames {
		frames[i].at = time.Second
	}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, frames))
	if p.err != nil || !p.summary.Files[0].RTPTime {
		t.Fatalf("%v, %+v", p.err, p.summary.Files)
	}
	if d := p.events[len(p.events)-1].Time.Sub(p.events[0].Time); d != time.Second {
		t.Errorf("it lasts %v", d)
	}
}
