package dump_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/dump"
)

// The captures, and what must be found in them.
func TestCapturesAreIdentified(t *testing.T) {
	type want struct {
		name    string
		files   string // comma-separated; {m} is mediastreamer2's folder
		key     string
		packets map[media.Codec]int
		knownBy string // of the tracks
		others  string // what no track is made of, "name:packets", comma-separated
		ignored string
		err     error
		says    string // in the error
		rtpTime bool
	}
	const (
		ms      = "BelledonneCommunications-mediastreamer2/tester/scenarios/"
		janus   = "meetecho-janus-gateway/src/plugins/recordings/rec-sample-"
		google  = "HackWebRTC-webrtc/"
		rest    = "RestComm-mediaserver/rtp/src/test/resources/org/restcomm/media/core/rtp/netty/"
		jitsi   = "jitsi-libjitsi/src/test/resources/org/jitsi/impl/neomedia/transform/fec/"
		membran = "membraneframework-membrane_rtp_"
	)
	vp8, vp9, h264, opus := media.VP8, media.VP9, media.H264, media.Opus
	type m = map[media.Codec]int
	for _, w := range []want{
		{name: "mjr pair", files: janus + "video.mjr," + janus + "audio.mjr", packets: m{vp8: 176, opus: 529}, knownBy: "payload", rtpTime: true},
		{name: "rtpdump with RTCP", files: google + "test/fuzzers/corpora/rtpdump-corpus/vp8/vp8.rtpdump", packets: m{vp8: 171}, knownBy: "payload", ignored: "RTCP:4"},
		{name: "rtpdump H264", files: google + "_history/talk/media/testdata/video.rtpdump", packets: m{h264: 259}, knownBy: "payload"},
		{name: "rtpdump PCMU", files: google + "_history/talk/media/testdata/voice.rtpdump", others: "PCMU:435", err: dump.ErrCodec, says: "PCMU (payload type 0)"},
		{name: "rtpdump without address", files: google + "_history/test/data/voice_engine/stereo_rtp_files/stereo_pcmu_vad_jitter.rtp", others: "PCMU, PCMA or G722:1811", ignored: "empty record:198", err: dump.ErrCodec, says: "PCMU"},
		{name: "bark", files: "irtlab-rtptools/bark.rtp", others: "PCMU:15", ignored: "RTCP:1", err: dump.ErrCodec, says: "PCMU"},
		{name: "str0m VP8", files: "algesten-str0m/tests/data/vp8.pcap", packets: m{vp8: 104}, knownBy: "payload"},
		{name: "str0m H264", files: "algesten-str0m/tests/data/h264.pcap", packets: m{h264: 298}, knownBy: "payload", rtpTime: true},
		{name: "str0m H266", files: "algesten-str0m/tests/data/h266.pcap", others: "H266:323", err: dump.ErrCodec, says: "H266"},
		{name: "membrane VP8", files: membran + "vp8_plugin/test/fixtures/input_vp8.pcap", packets: m{vp8: 410}, knownBy: "payload"},
		{name: "membrane VP9", files: membran + "vp9_plugin/test/fixtures/input_vp9.pcap", packets: m{vp9: 318}, knownBy: "payload"},
		{name: "SRTP", files: membran + "plugin/test/fixtures/rtp/session/srtp.pcap", others: "encrypted:812,encrypted:160", err: dump.ErrEncrypted, says: "SRTP"},
		{name: "SRTP with the key", files: membran + "plugin/test/fixtures/rtp/session/srtp.pcap", key: strings.Repeat("a", 30), packets: m{h264: 812}, knownBy: "payload", others: "MPA:160"},
		{name: "SRTP with a wrong key", files: membran + "plugin/test/fixtures/rtp/session/srtp.pcap", key: strings.Repeat("b", 30), others: "encrypted with another key:0,encrypted with another key:0", ignored: "RTP that the key does not fit:972", err: dump.ErrEncrypted, says: "does not fit"},
		{name: "FlexFEC", files: jitsi + "chrome_flexfec_and_video_capture.pcap", packets: m{vp9: 2553}, knownBy: "payload", others: "flexfec-03:111"},
		{name: "pcapng cooked", files: ms + "congestion/video-160-0-0a5f30.pcapng", packets: m{vp8: 2134}, knownBy: "payload", others: "PCMA:1493", ignored: "STUN:108,ICMP:6"},
		{name: "heavy loss", files: ms + "congestion/video-160-90-0a5c30.pcapng", packets: m{vp8: 125}, knownBy: "payload", others: "PCMA:862", ignored: "STUN:34,ICMP:15"},
		{name: "H264 without PPS", files: ms + "h264_missing_pps_in_second_i_frame.pcap", packets: m{h264: 180}, knownBy: "payload"},
		{name: "ADSL", files: ms + "rtp-534late-24loss-7000total.pcapng", packets: m{opus: 7108}, knownBy: "payload"},
		{name: "Opus 20 60 40", files: ms + "opus-edge-congestion20_60_40.pcapng", packets: m{opus: 3083}, knownBy: "payload", ignored: "ICMP:4"},
		{name: "PCMA", files: ms + "congestion/audio-80-75-0c60.pcapng", others: "PCMA:1737", ignored: "ICMP:6", err: dump.ErrCodec, says: "PCMA"},
		{name: "DTMF on the same SSRC", files: "asterisk-testsuite/tests/channels/pjsip/dtmf_sdp/dtmf_sdp_recognition/sipp/opus-2013785496.pcap", packets: m{opus: 725, media.CodecUnknown: 40}, knownBy: "payload"},
		{name: "crash", files: "asterisk-testsuite/tests/rtp/ast-2017-012/sipp/crash-27382.pcap", others: "PCMU:274", ignored: "RTCP:2", err: dump.ErrCodec, says: "PCMU"},
		{name: "SIP", files: "rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap", packets: m{opus: 425}, knownBy: "SDP in the dump", ignored: "other datagrams:6,SIP or SDP:2"},
		{name: "DTLS", files: rest + "dtls-packet.pcap", ignored: "DTLS:1", err: dump.ErrNoMedia, says: "no RTP"},
		{name: "STUN", files: rest + "stun-packet.pcap", ignored: "STUN:1", err: dump.ErrNoMedia, says: "no RTP"},
		{name: "MGCP", files: rest + "mgcp-packet.pcap", ignored: "other datagrams:1", err: dump.ErrNoMedia, says: "no RTP"},
		{name: "RTCP", files: rest + "rtcp-packet.pcap", ignored: "RTCP:1", err: dump.ErrNoMedia, says: "no RTP"},
		{name: "RTP", files: rest + "rtp-packet.pcap", others: "PCMU:1", err: dump.ErrCodec, says: "PCMU"},
		{name: "crash of tcpdump", files: "the-tcpdump-group-tcpdump/tests/rtp-seg-fault-1.pcapng", ignored: "cut frames:1", err: dump.ErrNoMedia, says: "no RTP"},
	} {
		t.Run(w.name, func(t *testing.T) {
			var files []string
			for name := range strings.SplitSeq(w.files, ",") {
				files = append(files, capture(t, name))
			}
			cfg := dump.Config{}
			if w.key != "" {
				cfg.SRTPKey = []byte(w.key)
			}
			p := play(t, cfg, files...)
			if !errors.Is(p.err, w.err) || p.err != nil && !strings.Contains(p.err.Error(), w.says) {
				t.Errorf("the error is %v, want one of %v with %q", p.err, w.err, w.says)
			}
			if len(p.packets) != len(w.packets) {
				t.Errorf("packets of %v, want %v", p.packets, w.packets)
			}
			for codec, n := range w.packets {
				if p.packets[codec] != n {
					t.Errorf("%d packets of %v, want %d", p.packets[codec], codec, n)
				}
			}
			var others []string
			for _, s := range p.summary.Streams {
				if !s.Track {
					others = append(others, s.Reason+":"+fmt.Sprint(s.Packets))
				} else if y := s.Payloads[0]; y.KnownBy != w.knownBy {
					t.Errorf("%s is known by %q, want %q", y.Format, y.KnownBy, w.knownBy)
				}
			}
			if got := strings.Join(others, ","); got != w.others {
				t.Errorf("other streams %q, want %q", got, w.others)
			}
			var ignored []string
			for _, c := range p.summary.Ignored {
				ignored = append(ignored, c.What+":"+fmt.Sprint(c.Packets))
			}
			if got := strings.Join(ignored, ","); got != w.ignored {
				t.Errorf("ignored %q, want %q", got, w.ignored)
			}
			for _, f := range p.summary.Files {
				if f.RTPTime != w.rtpTime {
					t.Errorf("RTP time is used: %v, want %v", f.RTPTime, w.rtpTime)
				}
			}
		})
	}
}
