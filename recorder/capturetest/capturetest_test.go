package capturetest

import (
	"testing"

	"github.com/roomtape/roomtape/media"
)

func TestCapturesHoldThePacketsTheyAreSaidToHold(t *testing.T) {
	for _, c := range []struct {
		name string
		pt   uint8
		want int
	}{
		{"meetecho-janus-gateway/src/plugins/recordings/rec-sample-video.mjr", 100, 176},
		{"meetecho-janus-gateway/src/plugins/recordings/rec-sample-audio.mjr", 111, 529},
		{"HackWebRTC-webrtc/test/fuzzers/corpora/rtpdump-corpus/vp8/vp8.rtpdump", 125, 171},
		{"algesten-str0m/tests/data/vp8.pcap", 96, 104},
		{"rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap", 99, 425},
		{"jitsi-libjitsi/src/test/resources/org/jitsi/impl/neomedia/transform/fec/chrome_flexfec_and_video_capture.pcap", 98, 2553},
		{"BelledonneCommunications-mediastreamer2/tester/scenarios/congestion/video-160-0-0a5f30.pcapng", 96, 2134},
		{"BelledonneCommunications-mediastreamer2/tester/scenarios/rtp-534late-24loss-7000total.pcapng", 124, 7108},
		{"BelledonneCommunications-mediastreamer2/tester/scenarios/opus-edge-congestion20_60_40.pcapng", 96, 3083},
	} {
		byType := map[uint8]int{}
		for _, p := range Packets(t, c.name, func(*media.Packet) bool { return true }) {
			byType[p.PayloadType]++
		}
		if byType[c.pt] != c.want {
			t.Errorf("%s: packets by payload type %v, want %d of type %d", c.name, byType, c.want, c.pt)
		}
	}
}
