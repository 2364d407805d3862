package peer

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v4/packetio"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

const (
	localSDP = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\na=extmap:1 " + uriMID + "\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\na=mid:1\r\na=recvonly\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n" +
		"a=rtpmap:98 VP9/90000\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n" +
		"a=extmap:1 " + uriMID + "\r\na=extmap:3 " + uriRepairedRID + "\r\na=extmap:2 " + uriRID + "\r\na=extmap:5 " + uriTWCC + "\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:2\r\na=recvonly\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:1 " + uriMID + "\r\n"

	remoteHead  = "v=0\r\no=- 2 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
	remoteAudio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\na=msid:s a\r\na=rtpmap:111 opus/48000/2\r\n" +
		"a=extmap:1 " + uriMID + "\r\na=ssrc:100 cname:x\r\n"
	remoteVideo = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=sendonly\r\na=msid:s v\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n" +
		"a=extmap:1 " + uriMID + "\r\na=extmap:5 " + uriTWCC + "\r\n" +
		"a=ssrc-group:FID 200 201\r\na=ssrc:200 cname:x\r\na=ssrc:201 cname:x\r\n"
	// One without announced sources, as from an SFU.
	remoteSilent = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:2\r\na=sendonly\r\na=msid:- w\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:1 " + uriMID + "\r\n"
)

// rig is a connection without a network.
type rig struct {
	t *testing.T
	*Conn
	log   *eventLog
	sinks map[uint32]io.Writer
}

func newRig(t *testing.T) *rig {
	log := newEventLog()
	return &rig{
		t: t, log: log, sinks: map[uint32]io.Writer{},
		Conn: newConn(&Factory{}, Options{Participant: "p", Sink: log.sink}),
	}
}

func (r *rig) describe(remote string) {
	r.t.Helper()
	var l, m sdp.SessionDescription
	if err := errors.Join(l.UnmarshalString(localSDP), m.UnmarshalString(remote)); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apply(sections(&l, &m), time.Now())
}

// rtp writes a packet with extensions, given as id and value.
func (r *rig) rtp(ssrc uint32, pt uint8, seq uint16, payload string, extensions ...any) {
	r.t.Helper()
	p := rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, SSRC: ssrc},
		Payload: []byte(payload),
	}
	for i := 0; i < len(extensions); i += 2 {
		if err := p.SetExtension(uint8(extensions[i].(int)), []byte(extensions[i+1].(string))); err != nil {
			r.t.Fatal(err)
		}
	}
	b, err := p.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	if r.sinks[ssrc] == nil {
		r.sinks[ssrc] = r.buffer(packetio.RTPBufferPacket, ssrc)
	}
	if _, err := r.sinks[ssrc].Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) rtcp(ssrc uint32, p rtcp.Packet) {
	r.t.Helper()
	b, err := p.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.buffer(packetio.RTCPBufferPacket, ssrc).Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// take gives the events since the last call, in words.
func (r *rig) take() []string {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	var out []string
	for _, e := range r.log.events {
		s := map[signaling.EventKind]string{
			signaling.TrackStarted: "start ", signaling.TrackEnded: "end ", signaling.Reported: "report ", signaling.PacketArrived: "",
		}[e.Kind] + e.Track.ID
		if e.Kind == signaling.PacketArrived {
			if e.Packet.Recovered {
				s += " again"
			}
			s += " " + e.Track.Codecs[e.Packet.PayloadType].String() + " " + string(e.Packet.Payload)
		}
		out = append(out, s)
	}
	r.log.events = nil
	return out
}

func (r *rig) want(want ...string) {
	r.t.Helper()
	got := r.take()
	if len(got) != len(want) {
		r.t.Fatalf("got %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			r.t.Errorf("got %q, want %q", got, want)
			return
		}
	}
}

func TestSourcesFindTheirTracks(t *testing.T) {
	r := newRig(t)
	r.describe(remoteHead + remoteAudio + remoteVideo + remoteSilent)
	r.want() // nothing flows yet
	r.rtp(200, 96, 1, "announced")
	r.rtp(100, 111, 1, "sound")
	r.rtp(201, 97, 1, "\x00\x00lost")
	r.rtp(201, 97, 2, "") // a probe
	r.rtp(300, 96, 1, "by mid", 1, "2")
	r.rtp(300, 96, 2, "without")
	r.rtp(301, 97, 1, "\x00\x00rtx by mid", 1, "2")
	r.rtp(400, 96, 1, "only one m-line announces nothing")
	r.rtp(500, 111, 1, "another source of mid 0", 1, "0")
	r.rtp(200, 13, 1, "a payload type of nobody")
	r.want(
		"start v", "v VP8 announced", "start a", "a Opus sound", "v again VP8 lost",
		"start w", "w VP8 by mid", "w VP8 without", "w again VP8 rtx by mid",
		"start w", "w VP8 only one m-line announces nothing",
		"start a", "a Opus another source of mid 0",
		"v unknown a payload type of nobody", // its number is the track's
	)
}

func TestEarlyPacketsWaitForTheirDescription(t *testing.T) {
	r := newRig(t)
	r.rtp(200, 96, 1, "one")
	r.rtp(200, 96, 2, "two")
	r.rtp(9, 77, 1, "noise")
	r.want()
	r.describe(remoteHead + remoteVideo)
	r.want("start v", "v VP8 one", "v VP8 two")
	for range MaxEarlyPackets + 5 {
		r.rtp(9, 77, 1, "noise")
	}
	if n := len(r.sources[9].early); n != MaxEarlyPackets || r.dropped != 6 {
		t.Errorf("%d packets are kept, %d dropped", n, r.dropped)
	}
}

func TestTracksEndAndBeginAnew(t *testing.T) {
	r := newRig(t)
	r.up = true
	r.describe(remoteHead + remoteAudio + remoteVideo)
	r.want("start a", "start v")
	r.rtp(200, 96, 1, "x")
	r.rtcp(200, &rtcp.SenderReport{SSRC: 200, NTPTime: 1 << 40, RTPTime: 5})
	r.rtcp(100, &rtcp.SenderReport{SSRC: 200, Reports: []rtcp.ReceptionReport{{SSRC: 100}}}) // about 100, not by it
	r.rtcp(200, &rtcp.Goodbye{Sources: []uint32{7, 200}})
	r.want("v VP8 x", "report v", "end v")
	r.rtp(200, 96, 2, "back")
	r.want("start v", "v VP8 back")
	r.describe(remoteHead + remoteAudio + remoteVideo) // nothing changed
	r.want()
	r.describe(remoteHead + remoteVideo)
	r.want("end a")
	r.describe(remoteHead + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\na=msid:s v2\r\na=rtpmap:96 VP8/90000\r\na=ssrc:222 cname:x\r\n")
	r.want("end v", "start v2")
}

func TestSourcesAndTracksAreBounded(t *testing.T) {
	r := newRig(t)
	r.pc = nil
	r.describe(remoteHead + remoteSilent)
	for i := range MaxTracks + 10 {
		r.rtp(uint32(1000+i), 96, 1, "x")
	}
	if n := len(r.tracks); n != MaxTracks {
		t.Errorf("%d tracks", n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = Failed // so that fail, which needs pion to close, does nothing
	for i := range MaxSources {
		r.source(uint32(5000 + i))
	}
	if n := len(r.sources); n != MaxSources {
		t.Errorf("%d sources", n)
	}
}

func TestSilentTracksMakeRoom(t *testing.T) {
	r := newRig(t)
	r.describe(remoteHead + remoteSilent)
	for i := range MaxTracks {
		r.rtp(uint32(1000+i), 96, 1, "x")
	}
	r.mu.Lock()
	r.tracks[3].latest = time.Now().Add(-time.Hour)
	r.mu.Unlock()
	r.take()
	r.rtp(1, 96, 1, "new")
	r.want("end w", "start w", "w VP8 new")
}

func TestFeedbackIsPacked(t *testing.T) {
	r := newRig(t)
	r.describe(remoteHead + remoteVideo)
	tr := r.tracks[0]
	tr.Nack([]uint16{65535, 3, 1, 65534, 3})
	tr.RequestKeyframe()
	now := time.Now()
	out := tr.due(nil, now)
	if len(out) != 2 {
		t.Fatalf("%v", out)
	}
	nack := out[0].(*rtcp.TransportLayerNack)
	if len(nack.Nacks) != 1 || nack.Nacks[0] != (rtcp.NackPair{PacketID: 65534, LostPackets: 0b10101}) || nack.MediaSSRC != 200 {
		t.Errorf("NACK is %+v", nack)
	}
	if pli := out[1].(*rtcp.PictureLossIndication); pli.MediaSSRC != 200 {
		t.Errorf("PLI is %+v", pli)
	}
	if out := tr.due(nil, now.Add(keyframeRetry/2)); len(out) != 0 {
		t.Errorf("too soon: %v", out)
	}
	if out := tr.due(nil, now.Add(keyframeRetry)); len(out) != 1 {
		t.Errorf("no packet came, and it is not repeated: %v", out)
	}
	r.rtp(200, 96, 1, "x")
	tr.due(nil, now.Add(2*keyframeRetry))
	if out := tr.due(nil, now.Add(9*keyframeRetry)); len(out) != 0 {
		t.Errorf("repeated though packets come: %v", out)
	}
	tr.section.pli, tr.section.fir = false, true
	tr.RequestKeyframe()
	if fir, ok := tr.due(nil, now.Add(time.Hour))[0].(*rtcp.FullIntraRequest); !ok || fir.FIR[0].SSRC != 200 {
		t.Errorf("no FIR: %v", fir)
	}
	big := make([]uint16, 3*maxNacks)
	for i := range big {
		big[i] = uint16(i * 20)
	}
	tr.Nack(big)
	out = tr.due(nil, now.Add(time.Hour))
	asked := 0
	for _, p := range out {
		if b, err := p.Marshal(); err != nil || len(b) > 1200 {
			t.Errorf("NACK of %d bytes, %v", len(b), err)
		}
		for _, pair := range p.(*rtcp.TransportLayerNack).Nacks {
			for _, seq := range pair.PacketList() {
				if asked++; seq < 2*maxNacks*20 {
					t.Fatalf("asked for %d, which is old", seq)
				}
			}
		}
	}
	if asked != maxNacks {
		t.Errorf("asked for %d, want the newest %d", asked, maxNacks)
	}
}

// TestFIRIsNumbered: each request has a number of its own, its repetitions have
// the same (RFC 5104 §4.3.1.1).
func TestFIRIsNumbered(t *testing.T) {
	r := newRig(t)
	r.describe(remoteHead + strings.ReplaceAll(remoteVideo, "nack pli", "ccm fir"))
	tr := r.tracks[0]
	now := time.Now()
	number := func() uint8 {
		t.Helper()
		for _, p := range tr.due(nil, now) {
			if fir, ok := p.(*rtcp.FullIntraRequest); ok {
				return fir.FIR[0].SequenceNumber
			}
		}
		t.Fatal("no FIR")
		return 0
	}
	tr.RequestKeyframe()
	first := number()
	now = now.Add(keyframeRetry) // nothing has come
	if again := number(); again != first {
		t.Errorf("the repetition of %d is %d", first, again)
	}
	r.rtp(200, 96, 1, "x")
	now = now.Add(keyframeRetry)
	tr.RequestKeyframe()
	if next := number(); next != first+1 {
		t.Errorf("after %d comes %d", first, next)
	}
}

// TestFeedbackGoesTogether: what is due at one moment, for whichever track, is
// as few packets on the wire as it can be.
func TestFeedbackGoesTogether(t *testing.T) {
	r := newRig(t)
	r.describe(remoteHead + strings.Replace(remoteAudio, "a=extmap", "a=rtcp-fb:111 nack\r\na=extmap", 1) + remoteVideo)
	var packets []rtcp.Packet
	for range 40 {
		for _, tr := range r.tracks {
			tr.Nack([]uint16{1, 50, 100, 200})
			packets = tr.due(packets, time.Now())
		}
	}
	compounds := bundle(packets)
	size, sources := 0, map[uint32]int{}
	for _, c := range compounds {
		b, err := rtcp.Marshal(c)
		if err != nil || len(b) > maxCompound {
			t.Errorf("a packet of %d bytes, %v", len(b), err)
		}
		size += len(b)
		for _, p := range c {
			sources[p.(*rtcp.TransportLayerNack).MediaSSRC]++
		}
	}
	if len(compounds) != 1+size/maxCompound {
		t.Errorf("%d packets for %d bytes", len(compounds), size)
	}
	if len(sources) != 2 || sources[100] != 40 || sources[200] != 40 {
		t.Errorf("asked %v", sources)
	}
	if bundle(nil) != nil {
		t.Error("something of nothing")
	}
}

func TestReceptionReport(t *testing.T) {
	var r reception
	now := time.Now()
	send := func(seq uint16, ts uint32, at time.Duration) {
		r.arrive(&media.Packet{SequenceNumber: seq, Timestamp: ts}, at, 90000)
	}
	for i, seq := range []uint16{65534, 65535, 0, 2, 3} { // 1 is lost
		send(seq, uint32(i)*900, time.Duration(i)*10*time.Millisecond)
	}
	r.reported(0x0001_2345_6789_0000, now)
	got := r.report(9, now.Add(500*time.Millisecond))
	want := rtcp.ReceptionReport{
		SSRC: 9, FractionLost: 256 / 6, TotalLost: 1, LastSequenceNumber: 1<<16 | 3,
		LastSenderReport: 0x2345_6789, Delay: 32768,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	send(4, 5*900, 70*time.Millisecond) // 20 ms late
	if got := r.report(9, now); got.FractionLost != 0 || got.Jitter != 1800/16 {
		t.Errorf("then %+v", got)
	}
}

// FuzzPackets: no RTP or RTCP packet makes it panic, or hold more than it may.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 200, 1, 2}, false)
	f.Add([]byte{0x81, 203, 0, 1, 0, 0, 0, 200}, true)
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	var l, m sdp.SessionDescription
	if err := errors.Join(l.UnmarshalString(localSDP), m.UnmarshalString(remoteHead+remoteVideo+remoteSilent)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, control bool) {
		c := newConn(&Factory{}, Options{Sink: func(e signaling.Event) {
			if e.Packet != nil {
				e.Packet.Release()
			}
		}})
		c.apply(sections(&l, &m), time.Now())
		ssrc := uint32(200)
		if len(b) >= 12 && !control {
			ssrc = binary.BigEndian.Uint32(b[8:])
		}
		kind := packetio.RTPBufferPacket
		if control {
			kind = packetio.RTCPBufferPacket
		}
		for range 3 {
			if _, err := c.buffer(kind, ssrc).Write(b); err != nil {
				t.Fatal(err)
			}
		}
		c.due(time.Now().Add(time.Hour))
	})
}

// BenchmarkReceive is one decrypted packet, from SRTP's goroutine to the sink.
// It must not allocate.
func BenchmarkReceive(b *testing.B) {
	var l, m sdp.SessionDescription
	if err := errors.Join(l.UnmarshalString(localSDP), m.UnmarshalString(remoteHead+remoteVideo)); err != nil {
		b.Fatal(err)
	}
	c := newConn(&Factory{}, Options{Sink: func(e signaling.Event) {
		if e.Packet != nil {
			e.Packet.Release()
		}
	}})
	c.apply(sections(&l, &m), time.Now())
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SSRC: 200}, Payload: make([]byte, 1150)}
	_ = p.SetExtension(5, []byte{0, 0})
	raw, err := p.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	sink := c.buffer(packetio.RTPBufferPacket, 200)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	seq := uint16(rand.Uint32())
	for b.Loop() {
		seq++
		binary.BigEndian.PutUint16(raw[2:], seq)
		binary.BigEndian.PutUint16(raw[17:], seq)
		if _, err := sink.Write(raw); err != nil {
			b.Fatal(err)
		}
		if seq%256 == 0 {
			c.feedback.BuildFeedbackPacket()
		}
	}
}
