package timeline

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// TestCaptures: in real calls, frames stay near their arrival, and near the
// spacing that the sender gave them.
func TestCaptures(t *testing.T) {
	for _, c := range []struct {
		name string
		kind media.Kind
		rate uint32
		pt   uint8
	}{
		{"HackWebRTC-webrtc/test/fuzzers/corpora/rtpdump-corpus/vp8/vp8.rtpdump", media.Video, 90000, 125},
		{"BelledonneCommunications-mediastreamer2/tester/scenarios/congestion/video-160-0-0a5f30.pcapng", media.Video, 90000, 96},
		{"BelledonneCommunications-mediastreamer2/tester/scenarios/rtp-534late-24loss-7000total.pcapng", media.Audio, 48000, 124},
		{"BelledonneCommunications-mediastreamer2/tester/scenarios/opus-edge-congestion20_60_40.pcapng", media.Audio, 48000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dgs := capturetest.Read(t, c.name)
			tr := New(Config{}).NewTrack(c.kind, c.rate)
			var first time.Time
			var ssrc, stamp uint32
			var out []Placed
			var arrivals []time.Duration
			for _, d := range dgs {
				if first.IsZero() {
					first = d.Arrival
				}
				at := d.Arrival.Sub(first)
				if b := d.Data; len(b) >= 28 && b[0]>>6 == 2 && b[1] == 200 {
					if ssrc != 0 && binary.BigEndian.Uint32(b[4:]) == ssrc {
						tr.Report(signaling.SenderReport{NTP: binary.BigEndian.Uint64(b[8:]), RTP: binary.BigEndian.Uint32(b[16:])}, at)
					}
					continue
				}
				p := capturetest.Parse(d)
				if p == nil || p.PayloadType != c.pt && c.pt != 0 || ssrc != 0 && p.SSRC != ssrc {
					continue
				}
				if ssrc != 0 && int32(p.Timestamp-stamp) <= 0 {
					continue // of the same frame, or late
				}
				ssrc, stamp = p.SSRC, p.Timestamp
				tr.Push(depacket.Frame{Timestamp: p.Timestamp}, at)
				arrivals = append(arrivals, at)
				for f, ok := tr.Pop(at); ok; f, ok = tr.Pop(at) {
					out = append(out, f)
				}
			}
			tr.Flush()
			for f, ok := tr.Pop(0); ok; f, ok = tr.Pop(0) {
				out = append(out, f)
			}
			if len(out) != len(arrivals) || len(out) == 0 {
				t.Fatalf("%d frames came back of %d", len(out), len(arrivals))
			}
			var bent, early time.Duration
			for i := 1; i < len(out); i++ {
				ticks := int64(out[i].Frame.Timestamp - out[i-1].Frame.Timestamp)
				bent = max(bent, (out[i].Time - out[i-1].Time - time.Duration(ticksToNanos(ticks, int64(c.rate)))).Abs())
				early = max(early, arrivals[i]-out[i].Time)
				late := 100 * ms
				if arrivals[i] < 5*time.Second { // one capture begins with a burst of frames from before it
					late = 350 * ms
				}
				if out[i].Time > arrivals[i]+late {
					t.Fatalf("frame %d is placed at %v, and arrived at %v", i, out[i].Time, arrivals[i])
				}
			}
			t.Logf("%d frames, placed up to %v before their arrival, spacing changed by up to %v; %+v", len(out), early, bent, tr.Stats())
		})
	}
}
