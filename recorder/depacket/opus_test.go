package depacket

import (
	"bytes"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

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
