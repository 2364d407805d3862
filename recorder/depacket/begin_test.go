package depacket

import (
	"testing"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

func TestBeginningsOfKeyframes(t *testing.T) {
	vp9Key := []byte{0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0, 0, 0, 0, 0, 0, 0, 0} // 320x240
	for _, c := range []struct {
		what    string
		codec   media.Codec
		payload []byte
		want    bool
	}{
		{"VP8 key", media.VP8, append([]byte{0x10}, vp8Key...), true},
		{"VP8 key with PictureID", media.VP8, append([]byte{0x90, 0x80, 5}, vp8Key...), true},
		{"VP8 inter", media.VP8, append([]byte{0x10}, vp8Inter...), false},
		{"VP8 key, second packet", media.VP8, append([]byte{0x00}, vp8Key...), false},
		{"VP8 second partition", media.VP8, append([]byte{0x11}, vp8Key...), false},
		{"VP8 cut short", media.VP8, []byte{0x90, 0x80}, false},
		{"VP9 key", media.VP9, append([]byte{0x88, 1}, vp9Key...), true},
		{"VP9 inter", media.VP9, append([]byte{0xc8, 1}, 0x86, 0), false},
		{"VP9 inter without the P bit", media.VP9, append([]byte{0x88, 1}, 0x86, 0), false},
		{"VP9 key, second packet", media.VP9, append([]byte{0x80, 1}, vp9Key...), false},
		{"VP9 key, upper layer", media.VP9, append([]byte{0xa8, 1, 2, 0}, vp9Key...), false},
		{"AV1 key", media.AV1, []byte{0x18, 9}, true},
		{"AV1 inter", media.AV1, []byte{0x10, 9}, false},
		{"H264 IDR", media.H264, []byte{0x65, 1}, true},
		{"H264 slice", media.H264, []byte{0x41, 1}, false},
		{"H264 SPS", media.H264, []byte{0x67, 1}, true},
		{"H264 PPS and SPS together", media.H264, []byte{0x78, 0, 1, 0x68, 0, 2, 0x67, 1}, true},
		{"H264 slices together", media.H264, []byte{0x78, 0, 1, 0x41, 0, 2, 0x41, 1}, false},
		{"H264 together, cut short", media.H264, []byte{0x78, 0xff, 0xff, 0x41, 0, 2}, false},
		{"H264 IDR, first fragment", media.H264, []byte{0x7c, 0x85, 1}, true},
		{"H264 IDR, second fragment", media.H264, []byte{0x7c, 0x05, 1}, false},
		{"H264 fragment, cut short", media.H264, []byte{0x7c}, false},
		{"Opus", media.Opus, []byte{0xfc}, false},
		{"nothing", media.VP8, nil, false},
	} {
		if got := BeginsKeyframe(c.codec, c.payload); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestH264StreamsBeginWithTheirParameterSets has a picture's first packet, which
// can't be decoded when the one before it was lost.
func TestH264StreamsBeginWithTheirParameterSets(t *testing.T) {
	for _, c := range []struct {
		what    string
		codec   media.Codec
		payload []byte
		sets    bool
		want    bool
	}{
		{"SPS", media.H264, []byte{0x67, 1}, false, true},
		{"SPS and PPS together", media.H264, []byte{0x78, 0, 2, 0x67, 1, 0, 1, 0x68}, false, true},
		{"PPS", media.H264, []byte{0x68, 1}, false, false},
		{"IDR", media.H264, []byte{0x65, 1}, false, false},
		{"IDR, sets known", media.H264, []byte{0x65, 1}, true, true},
		{"IDR, first fragment", media.H264, []byte{0x7c, 0x85, 1}, false, false},
		{"IDR, first fragment, sets known", media.H264, []byte{0x7c, 0x85, 1}, true, true},
		{"nothing", media.H264, nil, false, false},
		{"VP8 key", media.VP8, append([]byte{0x10}, vp8Key...), false, true},
	} {
		if got := BeginsStream(c.codec, c.payload, c.sets); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestBeginningsAreThoseOfKeyframes holds what one packet tells against what the
// depacketizer finds.
func TestBeginningsAreThoseOfKeyframes(t *testing.T) {
	for _, c := range []struct {
		name  string
		pt    uint8
		codec media.Codec
	}{
		{janusVP8, 100, media.VP8},
		{str0mVP8, 96, media.VP8},
		{belledonne + "congestion/video-160-0-0a5f30.pcapng", 96, media.VP8},
		{membraneVP9 + ".pcap", 96, media.VP9},
	} {
		t.Run(c.name, func(t *testing.T) {
			packets := capturetest.Packets(t, c.name, capturetest.PayloadType(c.pt))
			begins := map[uint32]bool{}
			for _, p := range packets {
				if BeginsKeyframe(c.codec, p.Payload) {
					begins[p.Timestamp] = true
				}
			}
			keys := 0
			for _, f := range run(t, mustNew(t, c.codec), packets) {
				if f.Key != begins[f.Timestamp] {
					t.Errorf("frame at %d: key %v, begins %v", f.Timestamp, f.Key, begins[f.Timestamp])
				}
				if f.Key {
					keys++
				}
			}
			if keys == 0 {
				t.Error("no keyframe")
			}
		})
	}
}
