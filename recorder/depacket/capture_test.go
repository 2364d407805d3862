package depacket

import (
	"bytes"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
	"github.com/roomtape/roomtape/recorder/jitter"
)

const (
	membraneVP8 = "membraneframework-membrane_rtp_vp8_plugin/test/fixtures/input_vp8"
	membraneVP9 = "membraneframework-membrane_rtp_vp9_plugin/test/fixtures/input_vp9"
	belledonne  = "BelledonneCommunications-mediastreamer2/tester/scenarios/"
	flexfec     = "jitsi-libjitsi/src/test/resources/org/jitsi/impl/neomedia/transform/fec/chrome_flexfec_and_video_capture.pcap"
	rtpdumpVP8  = "HackWebRTC-webrtc/test/fuzzers/corpora/rtpdump-corpus/vp8/vp8.rtpdump"
	janusVP8    = "meetecho-janus-gateway/src/plugins/recordings/rec-sample-video.mjr"
	str0mVP8    = "algesten-str0m/tests/data/vp8.pcap"
)

func mustNew(t testing.TB, codec media.Codec) Depacketizer {
	t.Helper()
	d, err := New(codec, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run takes packets through a jitter buffer into d, flushes, and gives the
// frames. It checks that each packet is accounted for.
func run(t testing.TB, d Depacketizer, packets []*media.Packet) []Frame {
	t.Helper()
	var frames []Frame
	b := jitter.New(jitter.Config{})
	pushed := uint64(0)
	pop := func(now time.Time) {
		for {
			p, ok := b.Pop(now)
			if !ok {
				return
			}
			if p.Restarted {
				d.Restart()
			}
			pushed++
			d.Push(p.Packet, p.Lost)
			frames = next(d, frames)
		}
	}
	var now time.Time
	for _, p := range packets {
		now = p.Arrival
		if b.Push(p) != jitter.Kept {
			p.Release()
		}
		pop(now)
	}
	b.Flush()
	pop(now)
	d.Flush()
	frames = next(d, frames)
	checkStats(t, d, pushed, frames)
	return frames
}

func next(d Depacketizer, frames []Frame) []Frame {
	for {
		f, ok := d.Next()
		if !ok {
			return frames
		}
		frames = append(frames, f)
	}
}

func checkStats(t testing.TB, d Depacketizer, pushed uint64, frames []Frame) {
	t.Helper()
	s := d.Stats()
	if s.Packets.Total() != pushed {
		t.Fatalf("%d packets pushed, %d accounted for: %+v", pushed, s.Packets.Total(), s)
	}
	used, keys := 0, 0
	for _, f := range frames {
		used += f.Packets
		if f.Key {
			keys++
		}
	}
	if s.Packets.Used != uint64(used) || s.Frames.Given != uint64(len(frames)) || s.Frames.Key != uint64(keys) {
		t.Fatalf("frames made of %d packets, %d frames, %d keyframes, but %+v", used, len(frames), keys, s)
	}
}

func TestFramesAreThoseThatWereSent(t *testing.T) {
	for _, c := range []struct {
		codec media.Codec
		name  string
	}{
		{media.VP8, membraneVP8},
		{media.VP9, membraneVP9},
	} {
		t.Run(c.codec.String(), func(t *testing.T) {
			packets := capturetest.Packets(t, c.name+".pcap", func(*media.Packet) bool { return true })
			frames := run(t, mustNew(t, c.codec), packets)
			want := capturetest.IVF(t, c.name+".ivf")
			if len(frames) != len(want) {
				t.Fatalf("%d frames, want %d", len(frames), len(want))
			}
			for i, f := range frames {
				if !bytes.Equal(f.Data, want[i]) {
					t.Errorf("frame %d differs", i)
				}
				if f.LostPackets != 0 || f.DroppedFrames != 0 || f.Key != (f.Width > 0) {
					t.Errorf("frame %d: %d lost, %d dropped, key %v, width %d", i, f.LostPackets, f.DroppedFrames, f.Key, f.Width)
				}
			}
		})
	}
}

// TestOnlyCleanFramesAreGiven compares with the counts of the captures' README.
func TestOnlyCleanFramesAreGiven(t *testing.T) {
	for _, c := range []struct {
		name          string
		pt            uint8
		codec         media.Codec
		given, keys   int
		width, height int
	}{
		{janusVP8, 100, media.VP8, 173, 1, 640, 480},
		{rtpdumpVP8, 125, media.VP8, 120, 0, 0, 0},
		{str0mVP8, 96, media.VP8, 101, 3, 0, 0},
		{belledonne + "congestion/video-160-0-0a5f30.pcapng", 96, media.VP8, 565, 5, 1280, 720},
		{belledonne + "congestion/video-160-90-0a5c30.pcapng", 96, media.VP8, 18, 0, 0, 0},
		{flexfec, 98, media.VP9, 112, 0, 1280, 720},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustNew(t, c.codec)
			frames := run(t, d, capturetest.Packets(t, c.name, capturetest.PayloadType(c.pt)))
			if len(frames) != c.given {
				t.Errorf("%d frames given, want %d", len(frames), c.given)
			}
			t.Logf("%+v", d.Stats())
			if len(frames) == 0 {
				return
			}
			if f := frames[0]; !f.Key || c.width > 0 && (f.Width != c.width || f.Height != c.height) {
				t.Errorf("first frame: key %v, %dx%d, want a keyframe of %dx%d", f.Key, f.Width, f.Height, c.width, c.height)
			}
			if keys := int(d.Stats().Frames.Key); c.keys > 0 && keys != c.keys {
				t.Errorf("%d keyframes, want %d", keys, c.keys)
			}
		})
	}
}
