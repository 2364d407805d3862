package dump_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// seed adds the beginnings of the captures, where there are any.
func seed(f *testing.F, names ...string) {
	f.Helper()
	dir, err := os.Getwd()
	if err != nil {
		f.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		for _, name := range names {
			paths, _ := filepath.Glob(filepath.Join(dir, "shared", "captures", filepath.FromSlash(name)))
			for _, path := range paths {
				b, err := os.ReadFile(path)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(b[:min(len(b), 12<<10)])
			}
		}
	}
}

// obey reads a dump of which nothing is known, and checks that its room keeps
// its word.
func obey(t *testing.T, cfg dump.Config, b []byte) {
	r, err := dump.OpenBytes(context.Background(), []string{"dump"}, map[string][]byte{"dump": b}, cfg)
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\r") {
			t.Fatalf("not one line: %q", err)
		}
		return
	}
	defer r.Close()
	defer func() {
		if _, err := json.Marshal(r.Summary()); err != nil {
			t.Fatal(err)
		}
	}()
	live := map[*signaling.Track]bool{}
	var last, deadline time.Time
	for n := 0; ; n++ {
		e, err := r.Next(context.Background(), deadline)
		if err != nil {
			if _, again := r.Next(context.Background(), deadline); again == nil {
				t.Fatal("an event after the end")
			}
			return
		}
		if n > 20*len(b)+1000 {
			t.Fatal("it does not end")
		}
		if e.Time.Before(last) {
			t.Fatalf("time falls from %v to %v", last, e.Time)
		}
		last, deadline = e.Time, time.Time{}
		switch e.Kind {
		case signaling.Tick:
			continue
		case signaling.TrackStarted:
			if live[e.Track] {
				t.Fatal("a track starts twice")
			}
			live[e.Track] = true
		case signaling.TrackEnded:
			if !live[e.Track] {
				t.Fatal("a track ends that is not live")
			}
			delete(live, e.Track)
		case signaling.PacketArrived:
			if !live[e.Track] || !e.Packet.Arrival.Equal(e.Time) {
				t.Fatalf("%+v of %+v", e.Packet, e.Track)
			}
			e.Packet.Release()
		}
		if n%3 == 0 {
			deadline = last.Add(5 * time.Millisecond)
		}
	}
}

func fuzz(f *testing.F, prefixes ...string) {
	f.Helper()
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range prefixes {
			if bytes.HasPrefix(b, []byte(p)) {
				obey(t, dump.Config{}, b)
				return
			}
		}
	})
}

func FuzzRTPDump(f *testing.F) {
	seed(f, "HackWebRTC-webrtc/test/fuzzers/corpora/rtpdump-corpus/*/*", "HackWebRTC-webrtc/_history/talk/media/testdata/*.rtpdump", "irtlab-rtptools/*.rtp")
	f.Add([]byte("#!rtpplay1.0 10.0.0.1/5000\n"))
	fuzz(f, "#!rtpplay1.0")
}

func FuzzPcap(f *testing.F) {
	seed(f, "algesten-str0m/tests/data/*.pcap", "rickwporter-rtp-pcap/examples/*.pcap", "RestComm-mediaserver/rtp/src/test/resources/org/restcomm/media/core/rtp/netty/*.pcap",
		"jitsi-libjitsi/src/test/resources/org/jitsi/impl/neomedia/transform/fec/*.pcap", "asterisk-testsuite/tests/rtp/ast-2017-012/sipp/*.pcap")
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 20, cname: "a", bye: true}
	for _, link := range []uint32{0, 1, 101, 113, 276} {
		f.Add(pcap(binary.BigEndian, true, link, c.frames()))
	}
	var relayed, moving []frame
	for n := range 20 {
		at := time.Duration(n) * 20 * time.Millisecond
		b := channelData(0x4001, redundant(1, n, 111))
		switch n {
		case 0:
			b = stun(0x09, attribute(0x0c, []byte{0x40, 1, 0, 0}), peer(9, 7000))
		case 1:
			b = stun(0x16, peer(9, 7000), attribute(0x13, redundant(1, n, 111)))
		}
		relayed = append(relayed, frame{at, ip4(1, 2, udp(1, 2, 4000, 3478, b))})
		moving = append(moving, frame{at, ip4(1, 2, udp(1, 2, 5000+uint16(n/7), 5000, opus(1, n)))})
	}
	f.Add(pcap(binary.LittleEndian, false, 101, relayed))
	f.Add(pcap(binary.LittleEndian, false, 101, moving))
	fuzz(f, "\xd4\xc3\xb2\xa1", "\xa1\xb2\xc3\xd4", "\x4d\x3c\xb2\xa1", "\xa1\xb2\x3c\x4d")
}

func FuzzPcapng(f *testing.F) {
	seed(f, "google-gopacket/pcapgo/tests/le/*.pcapng", "the-tcpdump-group-tcpdump/tests/*.pcapng", "BelledonneCommunications-mediastreamer2/tester/scenarios/congestion/*.pcapng")
	fuzz(f, "\n\r\r\n")
}

func FuzzMJR(f *testing.F) {
	seed(f, "meetecho-janus-gateway/src/plugins/recordings/*.mjr")
	f.Add(mjr("MJR00002", `{"t":"v","c":"vp8","s":1700000000000000,"u":1700000000500000}`, 20, vp8))
	fuzz(f, "MJR0000", "MEETECHO")
}

func FuzzFramed(f *testing.F) {
	var b []byte
	for n := range 20 {
		p := opus(1, n)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) { obey(t, dump.Config{}, b) })
}

// FuzzOwn reads what a writer has written, damaged.
func FuzzOwn(f *testing.F) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 20, cname: "a", bye: true}
	p := playBytes(f, dump.Config{}, pcap(binary.LittleEndian, true, 101, c.frames()))
	if p.err != nil {
		f.Fatal(p.err)
	}
	f.Add(write(f, p.events))
	fuzz(f, "\n\r\r\n")
}

func FuzzSDP(f *testing.F) {
	f.Add("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time\r\n", "96=VP8/90000,111=opus/48000/2")
	seedSDP(f)
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 20}
	file := pcap(binary.LittleEndian, true, 101, c.frames())
	f.Fuzz(func(t *testing.T, sdp, mapping string) {
		cfg := dump.Config{}
		if m, err := dump.ParseMap(mapping); err == nil {
			cfg.Map = m
		}
		if err := dump.CheckSDP([]byte(sdp)); err == nil {
			cfg.SDP = []byte(sdp)
		}
		obey(t, cfg, file)
		// A message with it in a capture.
		message := frame{0, ip4(3, 4, udp(3, 4, 5060, 5060, append([]byte("INVITE sip:a@b SIP/2.0\r\n\r\n"), sdp...)))}
		if len(message.b) < 60000 {
			obey(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, merge([]frame{message}, c.frames())))
		}
	})
}

func seedSDP(f *testing.F) {
	f.Helper()
	dir, err := os.Getwd()
	if err != nil {
		f.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		paths, _ := filepath.Glob(filepath.Join(dir, "shared", "captures", "HackWebRTC-webrtc", "test", "fuzzers", "corpora", "sdp-corpus", "*"))
		for _, path := range paths {
			if b, err := os.ReadFile(path); err == nil {
				f.Add(string(b[:min(len(b), 8<<10)]), "")
			}
		}
	}
}

// mjr makes a file of Janus' present form.
func mjr(magic, header string, packets int, packet func(uint32, int) []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte(magic), uint16(len(header)))
	b = append(b, header...)
	for n := range packets {
		b = binary.BigEndian.AppendUint32(append(b, "MEET"...), uint32(20*n))
		p := packet(1, n)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

func TestJanusHeadersTellCodecAndTime(t *testing.T) {
	for _, magic := range []string{"MJR00001", "MJR00002"} {
		video := mjr(magic, `{"t":"v","c":"vp8","s":1700000000000000,"u":1700000000500000}`, 20, vp8)
		audio := mjr(magic, `{"t":"a","c":"opus","s":1700000000000000,"u":1700000000700000}`, 20, opus)
		p := playBytes(t, dump.Config{}, video, audio)
		if p.err != nil || len(p.events) != 40+6 {
			t.Fatalf("%v, %d events, %+v", p.err, len(p.events), p.summary)
		}
		for _, s := range p.summary.Streams {
			if s.Payloads[0].KnownBy != "header" || s.Participant != p.summary.Streams[0].Participant {
				t.Errorf("%+v", s)
			}
		}
		if first := p.events[0].Time.UnixMicro(); first != 1700000000500000 {
			t.Errorf("the first packet is at %d", first)
		}
		for _, e := range p.events {
			if e.Packet != nil && e.Track.Kind.String() == "audio" {
				if at := e.Time.UnixMicro(); at != 1700000000700000 {
					t.Errorf("the first packet of the sound is at %d", at)
				}
				break
			}
		}
	}
	unsupported := mjr("MJR00002", `{"t":"a","c":"pcmu","s":1,"u":1}`, 20, opus)
	if p := playBytes(t, dump.Config{}, unsupported); !errors.Is(p.err, dump.ErrCodec) {
		t.Error(p.err)
	}
}
