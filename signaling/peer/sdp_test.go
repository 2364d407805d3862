package peer

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/sdp/v3"

	"github.com/roomtape/roomtape/signaling"
)

// TestSectionsHaveTheSendersParameterSets has what H264 senders give outside of
// their packets, and what they may not.
func TestSectionsHaveTheSendersParameterSets(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 102 103\r\na=mid:0\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtpmap:102 H264/90000\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n"
	const local = head + "a=recvonly\r\na=fmtp:102 packetization-mode=1;sprop-parameter-sets=Z0LAHtoFB+pA,aM48gA==\r\n"
	for _, c := range []struct {
		name, fmtp string
		want       signaling.ParameterSets
	}{
		{"H264", "102 packetization-mode=1;sprop-parameter-sets=Z0LAHtoCgL/lQA==,aM48gA==", signaling.ParameterSets{
			102: {{0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0x40}, {0x68, 0xce, 0x3c, 0x80}},
		}},
		{"only ours", "102 packetization-mode=1", nil},
		{"of another codec", "96 sprop-parameter-sets=Z0LAHtoCgL/lQA==,aM48gA==", nil},
		{"of a payload type that is not ours", "120 sprop-parameter-sets=Z0LAHtoCgL/lQA==", nil},
		{"broken", "102 sprop-parameter-sets=====,Z", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l, r sdp.SessionDescription
			if err := errors.Join(l.UnmarshalString(local), r.UnmarshalString(head+"a=sendonly\r\na=fmtp:"+c.fmtp+"\r\n")); err != nil {
				t.Fatal(err)
			}
			got := sections(&l, &r)
			if len(got) != 1 {
				t.Fatalf("%d sections", len(got))
			}
			if diff := cmp.Diff(c.want, got[0].sets); diff != "" {
				t.Error(diff)
			}
		})
	}
}
