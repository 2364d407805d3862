package depacket

import (
	"testing"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

const (
	str0mH264   = "algesten-str0m/tests/data/h264.pcap"
	rtpdumpH264 = "HackWebRTC-webrtc/_history/talk/media/testdata/video.rtpdump"
	missingPPS  = belledonne + "h264_missing_pps_in_second_i_frame.pcap"
)

// TestH264Captures compares with the counts of the captures' README. The first
// has 13 clean frames less than it says: one keyframe is a STAP-A packet whose
// slice is cut short by 27 bytes, and 12 frames refer to it.
func TestH264Captures(t *testing.T) {
	for _, c := range []struct {
		name          string
		pt            uint8
		given, keys   int
		width, height int
	}{
		{str0mH264, 126, 158 - 13, 7, 494, 370},
		{rtpdumpH264, 97, 252, 1, 320, 240},
		{missingPPS, 96, 16, 1, 640, 480},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustNew(t, media.H264)
			frames := run(t, d, capturetest.Packets(t, c.name, capturetest.PayloadType(c.pt)))
			t.Logf("%+v", d.Stats())
			if len(frames) != c.given || int(d.Stats().Frames.Key) != c.keys {
				t.Errorf("%d frames and %d keyframes given, want %d and %d", len(frames), d.Stats().Frames.Key, c.given, c.keys)
			}
			if f := frames[0]; !f.Key || f.Width != c.width || f.Height != c.height {
				t.Errorf("first frame: key %v, %dx%d", f.Key, f.Width, f.Height)
			}
			for i, f := range frames {
				if len(f.Private) == 0 {
					t.Fatalf("frame %d has no decoder configuration", i)
				}
			}
		})
	}
}
