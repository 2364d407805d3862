package depacket

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

// fuzzMaxFrame bounds frames in the fuzz tests, low enough to be reached.
const fuzzMaxFrame = 600

// pushFuzzed reads a series of packets out of in and checks what must hold
// whatever they are. Each packet is four bytes (flags, payload size, step of the
// timestamp, loss) and the payload.
func pushFuzzed(t testing.TB, codec media.Codec, in []byte) {
	d, err := New(codec, Config{AbsCaptureTime: 3, Dependencies: dependencyID, MaxFrameSize: fuzzMaxFrame})
	if err != nil {
		t.Fatal(err)
	}
	pushAll(t, d, codec, in)
}

// pushAll is pushFuzzed with a depacketizer of its own. It gives the frames
// without their data, and how many packets were lost and recovered.
func pushAll(t testing.TB, d Depacketizer, codec media.Codec, in []byte) (frames []Frame, missing, recovered int) {
	var seq uint16
	var ts uint32
	pushed := uint64(0)
	for len(in) >= 4 {
		flags, size, step, lost := in[0], int(in[1]), in[2], int(in[3]>>4)
		in = in[4:]
		size = min(size, len(in))
		if lost > 12 {
			lost <<= 4
		}
		seq += uint16(lost)
		missing += lost
		ts += uint32(step&3) * 3000
		if flags&0x0e == 0x0e {
			d.Restart()
		}
		s := sender{t: t, seq: seq, ts: ts}
		var p *media.Packet
		if flags&0x20 != 0 { // the beginning is a dependency descriptor
			n := min(size, 3+int(flags>>6)*16)
			p = s.described(in[n:size], flags&1 != 0, in[:n])
		} else {
			p = s.packet(in[:size], flags&1 != 0)
		}
		in = in[size:]
		seq++
		d.Push(p, lost)
		pushed++
		for {
			f, ok := d.Next()
			if !ok {
				break
			}
			checkFrame(t, codec, f)
			if flags&0x10 != 0 {
				d.Recycle(f.Data)
			}
			f.Data = nil
			frames = append(frames, f)
		}
	}
	d.Flush()
	frames = next(d, frames)
	checkStats(t, d, pushed, frames)
	return frames, missing, int(d.Stats().Recovered)
}

func checkFrame(t testing.TB, codec media.Codec, f Frame) {
	t.Helper()
	// What makes a superframe comes on top: an index of at most 2 + 8×4 bytes,
	// and one for each layer that is hidden.
	// Keyframes of AV1 and H264 may get parameters in front of them.
	limit := fuzzMaxFrame + 34 + 7
	switch codec {
	case media.AV1:
		limit = fuzzMaxFrame + maxSequence
	case media.H264:
		limit = fuzzMaxFrame + (1+maxPPS)*(maxParameterSet+4)
	}
	if len(f.Data) == 0 || len(f.Data) > limit {
		t.Fatalf("frame of %d bytes", len(f.Data))
	}
	if f.Packets < 0 || f.Packets == 0 && codec != media.Opus || f.LostPackets < 0 || f.DroppedFrames < 0 {
		t.Fatalf("counts of %+v", f)
	}
	if codec == media.Opus {
		if !f.Key || f.Duration < 2500*time.Microsecond || f.Duration > 120*time.Millisecond || f.Width != 0 {
			t.Fatalf("Opus frame: key %v, %v, width %d", f.Key, f.Duration, f.Width)
		}
		return
	}
	if f.Key != (f.Width > 0) || f.Key != (f.Height > 0) || f.Duration != 0 {
		t.Fatalf("video frame: key %v, %dx%d, %v", f.Key, f.Width, f.Height, f.Duration)
	}
	if (codec == media.AV1 || codec == media.H264) && len(f.Private) < 4 {
		t.Fatalf("decoder configuration %x", f.Private)
	}
	if f.Width > 65536 || f.Height > 65536 {
		t.Fatalf("size %dx%d", f.Width, f.Height)
	}
}

// encode makes fuzz input of packets.
func encode(packets []*media.Packet, limit int) []byte {
	var b []byte
	ts := packets[0].Timestamp
	for _, p := range packets[:min(limit, len(packets))] {
		size := min(len(p.Payload), 255)
		flags, step := byte(0x10), byte(0)
		if p.Marker {
			flags |= 1
		}
		if p.Timestamp != ts {
			step = 1
		}
		ts = p.Timestamp
		b = append(append(b, flags, byte(size), step, 0), p.Payload[:size]...)
	}
	return b
}

// malformed are packets that are there to break parsers.
func malformed(t testing.TB) (payloads [][]byte) {
	for _, pattern := range []string{
		"HackWebRTC-webrtc/test/fuzzers/corpora/*/*-[0-9]*",
		"HackWebRTC-webrtc/test/fuzzers/corpora/rtcp-corpus/*.rtcp",
		"aiortc-aiortc/tests/*.bin",
	} {
		for _, path := range capturetest.Glob(t, pattern) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			payloads = append(payloads, b)
			if p := capturetest.Parse(capturetest.Datagram{Data: b}); p != nil {
				payloads = append(payloads, p.Payload)
			}
		}
	}
	return payloads
}

var fuzzed = []media.Codec{media.VP8, media.VP9, media.AV1, media.H264, media.Opus}

func TestMalformedPacketsOfOthersDoNoHarm(t *testing.T) {
	payloads := malformed(t)
	for _, codec := range fuzzed {
		d := mustNew(t, codec)
		s := &sender{t: t}
		pushed := uint64(0)
		for i, b := range payloads {
			if len(b) > 4000 {
				b = b[:4000]
			}
			for _, marker := range []bool{false, true} {
				s.ts += uint32(i%3) * 3000
				d.Push(s.packet(b, marker), i%5/4)
				pushed++
			}
			pushFuzzed(t, codec, b)
		}
		d.Flush()
		checkStats(t, d, pushed, next(d, nil))
	}
}

func addSeeds(f *testing.F, codec media.Codec) {
	s := &sender{t: f}
	switch codec {
	case media.VP8:
		var p []*media.Packet
		for i := range 6 {
			p = append(p, s.vp8Packets(vp8Frame{id: i, tid: i % 3, tl0: i / 3, key: i == 0, y: i == 4, n: i == 5})...)
		}
		f.Add(encode(p, len(p)))
	case media.VP9:
		var p []*media.Packet
		for i := range 6 {
			data := vp9InterData(1, 0, 0, 9)
			if i == 0 {
				data = vp9KeyData(320, 180, 9)
			}
			l := vp9Layer{id: i, layered: true, flex: i > 3, tid: i % 2, tl0: i / 2, u: true, data: data}
			if i > 3 {
				l.diffs = []int{1, 2}
			}
			up := l
			up.sid, up.d, up.data = 1, true, vp9InterData(2, 640, 360, 9)
			up.sizes = [][2]int{{320, 180}, {640, 360}}
			p = append(p, s.vp9Packets(l, up)...)
		}
		f.Add(encode(p, len(p)))
	case media.AV1:
		p := packetsOf(f, av1Payloads(8))
		f.Add(encode(p, len(p)))
	case media.H264:
		p := packetsOf(f, h264Payloads(8))
		f.Add(encode(p, len(p)))
		for _, name := range []string{str0mH264, rtpdumpH264, missingPPS} {
			p := capturetest.Packets(f, name, func(*media.Packet) bool { return true })
			f.Add(encode(p, 40))
		}
	case media.Opus:
		f.Add([]byte("\x01\x03\x01\x00\xf8\x01\x02\x00\x06\x01\x10\xfb\x83\x01\x02\x09\x08\x00\x01\x01\x00\xfb"))
	}
}

// describedSeed has a keyframe with a dependency descriptor, and frames after it.
func describedSeed(key, inter []byte) (in []byte) {
	for i := range 5 {
		d := testDescriptor{number: uint16(i), key: i == 0, tid: i % 3, chain: i, diffs: []int{1}[:min(i, 1)]}
		b := d.append(true, true)
		n := 3 + (len(b)-3+15)/16*16
		b = append(b, make([]byte, n-len(b))...)
		payload := inter
		if i == 0 {
			payload = key
		}
		in = append(in, 0x31|byte((n-3)/16)<<6, byte(n+len(payload)), 1, byte(i/3)<<4)
		in = append(append(in, b...), payload...)
	}
	return in
}

func FuzzVP8(f *testing.F) {
	addSeeds(f, media.VP8)
	f.Add(describedSeed(append([]byte{0x10}, vp8Key...), append([]byte{0x10}, vp8Inter...)))
	f.Fuzz(func(t *testing.T, in []byte) { pushFuzzed(t, media.VP8, in) })
}

func FuzzVP9(f *testing.F) {
	addSeeds(f, media.VP9)
	p := chromiumLayers(f)
	f.Add(encode(p, len(p)))
	f.Add(describedSeed(append([]byte{0x0c}, vp9KeyData(320, 180, 9)...), append([]byte{0x0c}, vp9InterData(1, 0, 0, 9)...)))
	f.Fuzz(func(t *testing.T, in []byte) { pushFuzzed(t, media.VP9, in) })
}

func FuzzAV1(f *testing.F) {
	addSeeds(f, media.AV1)
	whole := func(tu []byte) []byte { return (&codecs.AV1Payloader{}).Payload(1100, tu)[0] }
	f.Add(describedSeed(whole(append(bytes.Clone(av1Seq), testAV1Frame(true, 1, 9)...)), whole(testAV1Frame(false, 1, 9))))
	f.Fuzz(func(t *testing.T, in []byte) { pushFuzzed(t, media.AV1, in) })
}

func FuzzH264(f *testing.F) {
	addSeeds(f, media.H264)
	f.Add(describedSeed(stapA(testSPS, testPPS, testSlice(0x65, 0, 9)), testSlice(0x41, 1, 9)))
	f.Fuzz(func(t *testing.T, in []byte) { pushFuzzed(t, media.H264, in) })
}

// FuzzHide checks that a frame that is hidden says the same as before, but for
// being shown.
func FuzzHide(f *testing.F) {
	for _, picture := range layersSent(f, chromiumLayers(f)) {
		for _, layer := range picture {
			f.Add(layer, uint16(320))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, width uint16) {
		var was, is vp9Header
		if !parseVP9Header(frame, &was) || !was.shown || was.contextBit == 0 {
			return
		}
		hidden, ok := hideVP9([]byte("before"), frame, &was, int(width))
		if !ok {
			return
		}
		hidden = hidden[len("before"):]
		if !parseVP9Header(hidden, &is) {
			t.Fatal("the hidden frame has no valid header")
		}
		before, _ := vp9HeaderEnd(frame, &was, int(width))
		if !was.key {
			was.contextBit++
		}
		was.shown = false
		if is != was {
			t.Fatalf("hidden frame %+v, want %+v", is, was)
		}
		after, ok := vp9HeaderEnd(hidden, &is, int(width))
		if !ok || !bytes.Equal(frame[(before+7)/8:], hidden[(after+7)/8:]) {
			t.Fatal("what follows the header is not the same")
		}
	})
}

func FuzzOpus(f *testing.F) {
	addSeeds(f, media.Opus)
	f.Fuzz(func(t *testing.T, in []byte) { pushFuzzed(t, media.Opus, in) })
}
