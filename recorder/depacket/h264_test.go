package depacket

import (
	"encoding/binary"
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
// has 13 clean frames less than it says: one keyframe is cut short, and 12 frames
// refer to it; TestOneCaptureIsCut has the proof.
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

// TestOneCaptureIsCut shows that whoever made the first capture cut what was
// longer than 1043 bytes, with the RTP header. No packet is longer; and of those
// of just that length one is a STAP-A packet, with a keyframe, whose slice has 27
// bytes less than the packet itself says. Its UDP and IP lengths fit what is left,
// so no reading of the file brings them back.
//
// Four more are single slices, of which three are given. They can't be told from whole ones by anything
// but decoding them: of the 24 rows of macroblocks, ffmpeg runs out of bits in the
// 20th, 22nd and 23rd. Leaving them out, with all that refers to them, would
// leave 121 pictures less, so they stay. The fourth and the rest are of pictures
// that lack other packets, or refer to such.
func TestOneCaptureIsCut(t *testing.T) {
	const limit = 1043
	var slices, short int
	for _, p := range capturetest.Packets(t, str0mH264, capturetest.PayloadType(126)) {
		size := len(p.Append(nil))
		if size > limit {
			t.Fatalf("a packet of %d bytes", size)
		}
		if size < limit {
			continue
		}
		switch b := p.Payload; b[0] & 0x1f {
		case nalSlice:
			slices++
		case nalSTAPA:
			for b = b[1:]; len(b) > 2; {
				n := int(binary.BigEndian.Uint16(b))
				if n > len(b)-2 {
					short = n - (len(b) - 2)
					break
				}
				b = b[2+n:]
			}
		}
	}
	if slices != 4 || short != 27 {
		t.Errorf("%d slices of that length, and one that is %d bytes short", slices, short)
	}
}
