package dump_test

import (
	"encoding/base64"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// TestParameterSetsOfSDP looks for what H264 needs in the descriptions that are
// given, and that are in a dump.
func TestParameterSetsOfSDP(t *testing.T) {
	sps, other, pps := []byte{0x67, 66, 0xc0, 30, 1}, []byte{0x67, 66, 0xc0, 30, 2}, []byte{0x68, 0xce, 0x3c, 0x80}
	describe := func(sps []byte) string {
		b64 := base64.StdEncoding.EncodeToString
		return "v=0\r\nm=video 5004 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;sprop-parameter-sets=" + b64(sps) + "," + b64(pps) + "\r\n"
	}
	sip := func(at time.Duration, from byte, sdp string) frame {
		return frame{at, ip4(from, 3-from, udp(from, 3-from, 5060, 5060, []byte("INVITE sip:b@example.com SIP/2.0\r\nContent-Type: application/sdp\r\n\r\n"+sdp)))}
	}
	var media []frame
	for i := range 50 {
		nal := append([]byte{0x41, 0x9a, byte(i)}, make([]byte, 200)...)
		if i%25 == 0 {
			nal[0], nal[1] = 0x65, 0x88
		}
		p := rtp(97, uint16(i), uint32(i*3600), 7, nal...)
		p[1] |= 0x80
		media = append(media, frame{time.Duration(i+10) * 40 * time.Millisecond, ip4(1, 2, udp(1, 2, 5004, 5004, p))})
	}
	for _, c := range []struct {
		name  string
		given string
		sip   []frame
		want  signaling.ParameterSets
	}{
		{"given", describe(sps), nil, signaling.ParameterSets{97: {sps, pps}}},
		{"in the dump", "", []frame{sip(0, 1, describe(sps))}, signaling.ParameterSets{97: {sps, pps}}},
		{"twice in the dump", "", []frame{sip(0, 1, describe(sps)), sip(1, 1, describe(sps))}, signaling.ParameterSets{97: {sps, pps}}},
		{"of two senders in the dump", "", []frame{sip(0, 1, describe(sps)), sip(1, 2, describe(other)), sip(2, 1, describe(sps))}, nil},
		{"given and in the dump", describe(other), []frame{sip(0, 1, describe(sps))}, signaling.ParameterSets{97: {other, pps}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := playBytes(t, dump.Config{SDP: []byte(c.given)}, pcap(binary.LittleEndian, false, 101, merge(c.sip, media)))
			n := 0
			for _, e := range got.events {
				if e.Kind != signaling.TrackStarted {
					continue
				}
				n++
				if diff := cmp.Diff(c.want, e.Track.ParameterSets); diff != "" {
					t.Error(diff)
				}
			}
			if n != 1 {
				t.Errorf("%d tracks", n)
			}
		})
	}
}
