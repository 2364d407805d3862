package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

// roomtape runs a command line.
func roomtape(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(t.Context(), append([]string{"roomtape"}, args...), stdio{strings.NewReader(""), &out, &errs}); got != want {
		t.Fatalf("%q: exit code %d, want %d\n%s", args, got, want, &errs)
	}
	return out.String(), errs.String()
}

// replayFile replays a dump and gives the result and the folder of the files.
func replayFile(t *testing.T, args ...string) (replayed, string) {
	t.Helper()
	dir := t.TempDir()
	out, _ := roomtape(t, exitOK, append([]string{"replay", "--json", "--log-level", "error", "--out", dir}, args...)...)
	var r replayed
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r, dir
}

const belledonne = "BelledonneCommunications-mediastreamer2/tester/scenarios/"

// replayCase is a capture that becomes one file. The counts are those of the
// captures' README: the clean ones.
type replayCase struct {
	files        []string
	codecs       string
	frames, keys int64
	ms           int64 // how long the call was
}

func (c replayCase) name() string { return filepath.Base(c.files[0]) }

func (c replayCase) paths(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, f := range c.files {
		paths = append(paths, capturetest.Path(t, f))
	}
	return paths
}

var replayCases = []replayCase{
	{[]string{"meetecho-janus-gateway/src/plugins/recordings/rec-sample-video.mjr", "meetecho-janus-gateway/src/plugins/recordings/rec-sample-audio.mjr"},
		"VP8+Opus", 173 + 529, 1 + 529, 10580},
	{[]string{"HackWebRTC-webrtc/test/fuzzers/corpora/rtpdump-corpus/vp8/vp8.rtpdump"}, "VP8", 120, 1, 4930},
	{[]string{"HackWebRTC-webrtc/_history/talk/media/testdata/video.rtpdump"}, "H264", 252, 1, 8580},
	{[]string{"algesten-str0m/tests/data/vp8.pcap"}, "VP8", 101, 3, 3310},
	{[]string{"membraneframework-membrane_rtp_vp8_plugin/test/fixtures/input_vp8.pcap"}, "VP8", 300, 3, 9970},
	{[]string{"membraneframework-membrane_rtp_vp9_plugin/test/fixtures/input_vp9.pcap"}, "VP9", 300, 3, 9940},
	{[]string{"jitsi-libjitsi/src/test/resources/org/jitsi/impl/neomedia/transform/fec/chrome_flexfec_and_video_capture.pcap"}, "VP9", 112, 1, 9710},
	{[]string{belledonne + "congestion/video-160-0-0a5f30.pcapng"}, "VP8", 565, 5, 23210},
	{[]string{belledonne + "congestion/video-160-90-0a5c30.pcapng"}, "VP8", 18, 1, 720},
	{[]string{belledonne + "h264_missing_pps_in_second_i_frame.pcap"}, "H264", 16, 1, 1060},
	{[]string{belledonne + "rtp-534late-24loss-7000total.pcapng"}, "Opus", 7108, 7108, 142170},
	{[]string{belledonne + "opus-edge-congestion20_60_40.pcapng"}, "Opus", 3083, 3083, 119840},
	{[]string{"asterisk-testsuite/tests/channels/pjsip/dtmf_sdp/dtmf_sdp_recognition/sipp/opus-2013785496.pcap"}, "Opus", 725, 725, 15230},
	{[]string{"rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap"}, "Opus", 425, 425, 8500},
}

func TestCapturesReplay(t *testing.T) {
	for _, c := range replayCases {
		t.Run(c.name(), func(t *testing.T) {
			paths := c.paths(t)
			r, dir := replayFile(t, paths...)
			if len(r.Files) != 1 {
				t.Fatalf("%d files", len(r.Files))
			}
			f := r.Files[0]
			var frames, keys int64
			var codecs []string
			for _, tr := range f.Tracks {
				frames, keys = frames+tr.Frames.Written, keys+tr.Frames.Key
				codecs = append(codecs, tr.Codec)
			}
			if got := strings.Join(codecs, "+"); got != c.codecs || frames != c.frames || keys != c.keys {
				t.Errorf("%s: %d frames, %d keyframes; want %s: %d, %d", got, frames, keys, c.codecs, c.frames, c.keys)
			}
			if strings.HasPrefix(c.name(), "opus-2013785496") {
				if p := f.Tracks[0].Packets; p.Lost != 0 || p.Discarded["auxiliary"] != 40 {
					t.Errorf("telephone events: %+v", p)
				}
			}
			if f.DurationMS < c.ms-20 || f.DurationMS > c.ms+20 {
				t.Errorf("%d ms; want %d", f.DurationMS, c.ms)
			}
			data, err := os.ReadFile(filepath.Join(dir, f.Path))
			if err != nil {
				t.Fatal(err)
			}
			report, err := webm.Inspect(bytes.NewReader(data), int64(len(data)))
			if err != nil || !report.Finalized || len(report.Faults) > 0 {
				t.Errorf("inspect: %v, %+v", err, report.Faults)
			}
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			again, _ := replayFile(t, paths...)
			if again.Files[0].SHA256 != f.SHA256 {
				t.Error("on one processor, the replay gives other bytes")
			}
		})
	}
}

func TestWhatCantBeReplayedIsNamed(t *testing.T) {
	for name, want := range map[string]string{
		"algesten-str0m/tests/data/h266.pcap":                                                           "H266",
		"irtlab-rtptools/bark.rtp":                                                                      "PCMU",
		belledonne + "congestion/audio-80-75-0c60.pcapng":                                               "PCMA",
		"membraneframework-membrane_rtp_plugin/test/fixtures/rtp/session/srtp.pcap":                     "encrypted",
		"asterisk-testsuite/tests/rtp/ast-2017-012/sipp/crash-27382.pcap":                               "PCMU",
		"the-tcpdump-group-tcpdump/tests/rtp-seg-fault-1.pcapng":                                        "no RTP",
		"google-gopacket/pcapgo/tests/le/test001.pcapng":                                                "no RTP",
		"HackWebRTC-webrtc/_history/test/data/voice_engine/stereo_rtp_files/stereo_pcmu_vad_jitter.rtp": "PCMU",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, stderr := roomtape(t, exitDamaged, "replay", "--log-level", "error", "--out", t.TempDir(), capturetest.Path(t, name))
			if !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("stderr is %q; want a line with %s", stderr, want)
			}
		})
	}
}

// Two oracles: with --format ivf, the frames are those of another depacketizer.
func TestReplayedIVFIsTheOracles(t *testing.T) {
	for _, codec := range []string{"vp8", "vp9"} {
		t.Run(codec, func(t *testing.T) {
			name := "membraneframework-membrane_rtp_" + codec + "_plugin/test/fixtures/input_" + codec
			r, dir := replayFile(t, "--format", "ivf", capturetest.Path(t, name+".pcap"))
			got, err := os.ReadFile(filepath.Join(dir, r.Files[0].Path))
			if err != nil {
				t.Fatal(err)
			}
			g, w := ivfFrames(got), ivfFrames(capturetest.File(t, name+".ivf"))
			if len(g) != len(w) || len(g) == 0 {
				t.Fatalf("%d frames; want %d", len(g), len(w))
			}
			for i := range g {
				if !bytes.Equal(g[i], w[i]) {
					t.Fatalf("frame %d differs", i)
				}
			}
		})
	}
}

func ivfFrames(b []byte) [][]byte {
	var out [][]byte
	for b = b[32:]; len(b) > 12; {
		n := int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24
		out = append(out, b[12:12+n])
		b = b[12+n:]
	}
	return out
}

func TestGolden(t *testing.T) {
	dump := capturetest.Path(t, "algesten-str0m/tests/data/vp8.pcap")
	golden := filepath.Join(t.TempDir(), "golden.json")
	roomtape(t, exitUsage, "replay", "--check", golden, dump)
	roomtape(t, exitUsage, "replay", "--update", dump)
	if out, _ := roomtape(t, exitOK, "replay", "--log-level", "error", "--check", golden, "--update", dump); !strings.Contains(out, "Wrote ") {
		t.Errorf("stdout is %s", out)
	}
	if out, _ := roomtape(t, exitOK, "replay", "--log-level", "error", "--check", golden, dump); !strings.Contains(out, "As expected by ") {
		t.Errorf("stdout is %s", out)
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(`"written": 101`), []byte(`"written": 102`), 1)
	if err := os.WriteFile(golden, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr := roomtape(t, exitDamaged, "replay", "--log-level", "error", "--check", golden, dump)
	for _, want := range []string{".tracks[0].frames.written: 102\n  +", ".tracks[0].frames.written: 101\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("stdout lacks %q:\n%s", want, out)
		}
	}
	if strings.Count(stderr, "\n") != 1 {
		t.Errorf("stderr is %q", stderr)
	}
}
