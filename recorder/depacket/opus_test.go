package depacket

import (
	"bytes"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

func TestOpusDuration(t *testing.T) {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	const silk10, silk60, hybrid20, celt25, celt20 = 0 << 3, 3 << 3, 13 << 3, 16 << 3, 31 << 3
	pad := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		name string
		b    []byte
		want time.Duration // 0: refused
	}{
		{"nothing", nil, 0},
		{"DTX of one byte", []byte{celt20}, ms(20)},
		{"DTX of two bytes", []byte{celt20, 0}, ms(20)},
		{"one frame of 10 ms", []byte{silk10, 1, 2}, ms(10)},
		{"one frame of 2.5 ms", []byte{celt25, 1}, ms(2.5)},
		{"one frame of 60 ms", []byte{silk60, 1}, ms(60)},
		{"hybrid", []byte{hybrid20, 1}, ms(20)},
		{"one frame of 1275 bytes", append([]byte{celt20}, pad(1275)...), ms(20)},
		{"one frame of 1276 bytes", append([]byte{celt20}, pad(1276)...), 0},
		{"two frames", []byte{celt20 | 1, 1, 2}, ms(40)},
		{"two empty frames", []byte{celt20 | 1}, ms(40)},
		{"two frames of an odd size", []byte{celt20 | 1, 1, 2, 3}, 0},
		{"two frames of 60 ms", []byte{silk60 | 1, 1, 2}, ms(120)},
		{"two sizes", []byte{celt20 | 2, 1, 9, 8, 8}, ms(40)},
		{"two sizes, none given", []byte{celt20 | 2}, 0},
		{"two sizes, first too large", []byte{celt20 | 2, 4, 9, 8, 8}, 0},
		{"two sizes, size cut", []byte{celt20 | 2, 252}, 0},
		{"two sizes, first of 252", append([]byte{celt20 | 2, 252, 0}, pad(252)...), ms(40)},
		{"three frames", []byte{celt20 | 3, 3, 1, 2, 3}, ms(60)},
		{"three frames of no size", []byte{celt20 | 3, 3}, ms(60)},
		{"three frames of 4/3 bytes", []byte{celt20 | 3, 3, 1, 2, 3, 4}, 0},
		{"no count", []byte{celt20 | 3}, 0},
		{"no frames", []byte{celt20 | 3, 0, 1}, 0},
		{"six frames of 20 ms", []byte{celt20 | 3, 6}, ms(120)},
		{"seven frames of 20 ms", []byte{celt20 | 3, 7}, 0},
		{"48 frames of 2.5 ms", []byte{celt25 | 3, 48}, ms(120)},
		{"49 frames of 2.5 ms", []byte{celt25 | 3, 49}, 0},
		{"padding", []byte{celt20 | 3, 0x40 | 1, 2, 7, 0, 0}, ms(20)},
		{"long padding", append([]byte{celt20 | 3, 0x40 | 1, 255, 1, 7}, pad(255)...), ms(20)},
		{"padding cut", []byte{celt20 | 3, 0x40 | 1, 255}, 0},
		{"too much padding", []byte{celt20 | 3, 0x40 | 1, 3, 0, 0}, 0},
		{"sizes", []byte{celt20 | 3, 0x80 | 3, 1, 2, 9, 8, 8, 7}, ms(60)},
		{"sizes too large", []byte{celt20 | 3, 0x80 | 3, 1, 4, 9, 8, 8, 7}, 0},
		{"sizes cut", []byte{celt20 | 3, 0x80 | 3, 1}, 0},
	} {
		got, ok := opusDuration(c.b)
		if ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.name, got, ok, c.want)
		}
	}
}

func TestEachOpusPacketIsAFrame(t *testing.T) {
	f := &feeder{t: t, d: mustNew(t, media.Opus)}
	s := &sender{t: t}
	f.push(s.packet([]byte{0xf8, 1, 2}, true))
	f.push(s.packet(nil, false))
	f.push(s.packet([]byte{0xfb}, false)) // no count: can't be
	f.lost = 2
	f.push(s.packet([]byte{0xf8}, false))
	f.d.Restart()
	f.push(s.packet([]byte{0xf8, 3}, false))
	if n := f.finish(); n != 3 {
		t.Fatalf("%d frames, want 3", n)
	}
	a, b, c := f.frames[0], f.frames[1], f.frames[2]
	if !a.Key || !bytes.Equal(a.Data, []byte{0xf8, 1, 2}) || a.Duration != 20*time.Millisecond {
		t.Errorf("first frame %+v", a)
	}
	if b.LostPackets != 2 || b.DroppedFrames != 1 || len(b.Data) != 1 || b.Restarted {
		t.Errorf("second frame %+v", b)
	}
	if !c.Restarted || c.LostPackets != 0 {
		t.Errorf("third frame %+v", c)
	}
	if f.d.NeedsKeyframe() {
		t.Error("audio needs a keyframe")
	}
}

func TestOpusOfRealCalls(t *testing.T) {
	for _, c := range []struct {
		name           string
		pt             uint8
		packets, given int
		durations      map[time.Duration]bool
	}{
		{belledonne + "opus-edge-congestion20_60_40.pcapng", 96, 3083, 3083, map[time.Duration]bool{20e6: true, 60e6: true, 40e6: true}},
		{belledonne + "rtp-534late-24loss-7000total.pcapng", 124, 7108, 7108, map[time.Duration]bool{20e6: true}},
		{"rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap", 99, 425, 425, map[time.Duration]bool{20e6: true}},
		{"meetecho-janus-gateway/src/plugins/recordings/rec-sample-audio.mjr", 111, 529, 529, map[time.Duration]bool{20e6: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			packets := capturetest.Packets(t, c.name, capturetest.PayloadType(c.pt))
			if len(packets) != c.packets {
				t.Errorf("%d packets, want %d", len(packets), c.packets)
			}
			d := mustNew(t, media.Opus)
			frames := run(t, d, packets)
			durations := map[time.Duration]int{}
			lost := 0
			for i, f := range frames {
				durations[f.Duration]++
				lost += f.LostPackets
				// Where nothing is lost and nobody paused, timestamps go on by
				// the duration.
				if i > 0 && f.LostPackets == 0 {
					p := frames[i-1]
					if step := time.Duration(f.Timestamp-p.Timestamp) * time.Second / 48000; step < p.Duration {
						t.Errorf("frame %d is %v after one of %v", i, step, p.Duration)
					}
				}
			}
			t.Logf("%d frames, lost %d, durations %v", len(frames), lost, durations)
			if len(frames) != c.given {
				t.Errorf("%d frames, want %d: %+v", len(frames), c.given, d.Stats())
			}
			for d := range c.durations {
				if durations[d] == 0 {
					t.Errorf("no frame of %v", d)
				}
			}
			if len(durations) != len(c.durations) {
				t.Errorf("durations %v, want %v", durations, c.durations)
			}
		})
	}
}
