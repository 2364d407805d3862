package dump_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

func merge(lists ...[]frame) []frame {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b frame) int { return cmp.Compare(a.at, b.at) })
	return all
}

// Who the participants are, each with the tracks in the order of their start.
func TestParticipants(t *testing.T) {
	audio := func(from, to byte, port uint16, ssrc uint32, cname string) call {
		return call{from: from, to: to, port: port, ssrc: ssrc, packets: 50, cname: cname}
	}
	video := func(from, to byte, port uint16, ssrc uint32, cname string) call {
		return call{from: from, to: to, port: port, ssrc: ssrc, packets: 50, cname: cname, video: true}
	}
	for name, c := range map[string]struct {
		calls []call
		want  string
	}{
		"one name": {[]call{audio(1, 2, 5000, 1, "alice@x"), video(1, 2, 6000, 2, "alice@x")},
			"alice@x audio 1, alice@x video 2"},
		"two names on one port, as of an SFU": {
			[]call{audio(1, 2, 5000, 1, "alice"), audio(1, 2, 5000, 2, "bob"), video(1, 2, 5000, 3, "bob"), video(1, 2, 5000, 4, "alice")},
			"alice audio 1, alice video 4, bob audio 2, bob video 3"},
		"both directions without names": {
			[]call{audio(1, 2, 5000, 1, ""), video(1, 2, 6000, 2, ""), audio(2, 1, 5000, 3, ""), video(2, 1, 6000, 4, "")},
			"00000001 audio 1, 00000001 video 2, 00000003 audio 3, 00000003 video 4"},
		"no names on one port": {
			[]call{audio(1, 2, 5000, 1, ""), audio(1, 2, 5000, 2, ""), video(1, 2, 5000, 3, ""), video(1, 2, 5000, 4, "")},
			"00000001 audio 1, 00000001 video 3, 00000002 audio 2, 00000002 video 4"},
		"a name of only one track": {[]call{audio(1, 2, 5000, 1, ""), video(1, 2, 6000, 2, "alice")},
			"alice audio 1, alice video 2"},
		"a sender that began anew": {[]call{audio(1, 2, 5000, 1, ""), {from: 1, to: 2, port: 5000, ssrc: 2, first: 60, packets: 50}},
			"00000001 audio 1, 00000001 audio 2"},
		"camera and screen": {[]call{video(1, 2, 5000, 1, "a"), video(1, 2, 5000, 2, "a")},
			"a video 1, a video 2 of 2"},
		"a name that can't be one": {[]call{audio(1, 2, 5000, 7, "a\nb")}, "00000007 audio 7"},
		"one name on two hosts": {[]call{audio(1, 2, 5000, 1, "x"), audio(2, 1, 5000, 2, "x")},
			"x audio 1, x-2 audio 2"},
	} {
		t.Run(name, func(t *testing.T) {
			var frames [][]frame
			for _, c := range c.calls {
				frames = append(frames, c.frames())
			}
			p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, merge(frames...)))
			if p.err != nil {
				t.Fatal(p.err)
			}
			var got []string
			for _, e := range p.events {
				if e.Kind == signaling.TrackStarted {
					s := fmt.Sprint(e.Track.Participant, " ", e.Track.Kind, " ", e.Track.SSRC)
					if e.Track.Stream != "" {
						s += " of " + e.Track.Stream
					}
					got = append(got, s)
				}
			}
			slices.Sort(got)
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
		})
	}
}

func TestGoodbyeEndsTheTrack(t *testing.T) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 50, cname: "a", bye: true}
	other := call{from: 3, to: 2, port: 5000, ssrc: 2, first: 50, packets: 1500}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, merge(c.frames(), other.frames())))
	want := []signaling.EventKind{
		signaling.Joined, signaling.TrackStarted, signaling.Reported, signaling.TrackEnded, signaling.Left,
		signaling.Joined, signaling.TrackStarted, signaling.TrackEnded, signaling.Left,
	}
	if got := kinds(p.events); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Who has sent the last packet leaves while others stay, without a goodbye.
func TestWhoFallsSilentLeaves(t *testing.T) {
	a := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 50}
	b := call{from: 3, to: 2, port: 5000, ssrc: 2, packets: 1500}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, merge(a.frames(), b.frames())))
	var left []time.Duration
	for _, e := range p.events {
		if e.Kind == signaling.Left {
			left = append(left, e.Time.Sub(p.events[0].Time).Round(time.Second))
		}
	}
	if !slices.Equal(left, []time.Duration{11 * time.Second, 30 * time.Second}) {
		t.Errorf("they left after %v", left)
	}
}

// Retransmissions are packets of the track that they repair, and no track.
func TestRetransmissionsAreUnwrapped(t *testing.T) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 60, video: true}
	video := c.frames()
	// Frames of two packets, as those of video are.
	for i := range video {
		b := video[i].b[28:]
		binary.BigEndian.PutUint32(b[4:], uint32(i/2)*3000)
		if i%2 == 1 {
			b[12] = 0 // not the first of its frame
		}
	}
	var rtx []frame
	for i := 10; i < 30; i += 2 {
		original := video[i].b[28:]
		b := rtp(97, uint16(i), binary.BigEndian.Uint32(original[4:]), 2)
		b = append(b, original[2], original[3])
		b = append(b, original[12:]...)
		rtx = append(rtx, frame{video[i].at + 70*time.Millisecond, ip4(1, 2, udp(1, 2, 5000, 5000, b))})
		video[i].b = ip4(1, 2, udp(1, 2, 5000, 5001, nil)) // lost
	}
	for name, cfg := range map[string]dump.Config{
		"by its numbers": {},
		"by SDP":         {SDP: []byte("m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n")},
		"by map":         {Map: must(dump.ParseMap("96=vp8,97=rtx"))},
	} {
		t.Run(name, func(t *testing.T) {
			p := playBytes(t, cfg, pcap(binary.LittleEndian, true, 101, merge(video, rtx)))
			if p.err != nil || p.packets[media.VP8] != 60 {
				t.Fatalf("%v, %+v, %+v", p.err, p.packets, p.summary)
			}
			recovered := 0
			for _, e := range p.events {
				if e.Packet != nil && e.Packet.Recovered {
					recovered++
					if e.Packet.SSRC != 1 || e.Packet.SequenceNumber%2 != 0 || e.Packet.Payload[0] != 0x10 {
						t.Errorf("%+v", e.Packet)
					}
				}
			}
			if s := p.summary.Streams[1]; recovered != 10 || s.Track || s.Reason != "rtx" || !s.Auxiliary {
				t.Errorf("%d packets recovered, %+v", recovered, s)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestParseMap(t *testing.T) {
	m, err := dump.ParseMap("96=VP8/90000, 111=OPUS/48000/2,97=rtx,0=PCMU")
	if err != nil || m[96].Codec != media.VP8 || m[111].Codec != media.Opus || m[97].Name != "rtx" || m[0].Codec != media.CodecUnknown {
		t.Error(m, err)
	}
	for _, bad := range []string{"", "96", "128=VP8", "x=VP8", "96=", "96=VP8/8000", "96=VP8/x", "96=VP8,96=VP9", "96=/90000"} {
		if m, err := dump.ParseMap(bad); err == nil {
			t.Errorf("%q gives %v", bad, m)
		}
	}
}

func TestSDPNamesExtensions(t *testing.T) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 50, video: true}
	sdp := "v=0\r\na=rtpmap:96 VP8/90000\r\na=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time\r\n" +
		"a=extmap:12/sendonly https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n"
	p := playBytes(t, dump.Config{SDP: []byte(sdp)}, pcap(binary.LittleEndian, true, 101, c.frames()))
	if p.err != nil {
		t.Fatal(p.err)
	}
	if tr := p.events[1].Track; tr == nil || tr.AbsCaptureTime != 3 || tr.Dependencies != 12 {
		t.Errorf("%+v", tr)
	}
}
