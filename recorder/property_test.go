package recorder

import (
	"bytes"
	"math/rand/v2"
	"path"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/recorder/jitter"
)

// realCalls are captures in which every packet came.
var realCalls = []struct {
	name  string
	pt    uint8
	codec media.Codec
}{
	{"membraneframework-membrane_rtp_vp8_plugin/test/fixtures/input_vp8.pcap", 96, media.VP8},
	{"algesten-str0m/tests/data/vp8.pcap", 96, media.VP8},
	{"membraneframework-membrane_rtp_vp9_plugin/test/fixtures/input_vp9.pcap", 96, media.VP9},
	{"HackWebRTC-webrtc/_history/talk/media/testdata/video.rtpdump", 97, media.H264},
	{"rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap", 99, media.Opus},
}

// reassemble gives the frames of packets that come 2 ms apart.
func reassemble(t *testing.T, codec media.Codec, packets []*media.Packet) []depacket.Frame {
	t.Helper()
	d, err := depacket.New(codec, depacket.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b := jitter.New(jitter.Config{MaxWait: 200 * time.Millisecond})
	var frames []depacket.Frame
	drain := func(now time.Time) {
		for out, ok := b.Pop(now); ok; out, ok = b.Pop(now) {
			d.Push(out.Packet, out.Lost)
		}
		for f, ok := d.Next(); ok; f, ok = d.Next() {
			frames = append(frames, f)
		}
	}
	now := t0
	for _, p := range packets {
		now = now.Add(2 * time.Millisecond)
		p.Arrival = now
		if b.Push(p) != jitter.Kept {
			t.Fatalf("packet %d is not kept", p.SequenceNumber)
		}
		drain(now)
	}
	b.Flush()
	end := now.Add(time.Second)
	drain(end)
	d.Flush()
	drain(end)
	return frames
}

func TestOrderInsideTheWindowDoesNotMatter(t *testing.T) {
	const window = 20 // packets, 40 ms
	for _, c := range realCalls {
		t.Run(path.Base(c.name), func(t *testing.T) {
			load := func() []*media.Packet { return capturetest.Packets(t, c.name, capturetest.PayloadType(c.pt)) }
			want := reassemble(t, c.codec, load())
			for seed := range uint64(10) {
				packets := load()
				r := rand.New(rand.NewPCG(seed, 0))
				for from := 1; from < len(packets); from += window { // what comes before the first is late
					block := packets[from:min(from+window, len(packets))]
					r.Shuffle(len(block), func(i, j int) { block[i], block[j] = block[j], block[i] })
				}
				got := reassemble(t, c.codec, packets)
				if len(got) != len(want) {
					t.Fatalf("seed %d: %d frames, want %d", seed, len(got), len(want))
				}
				for i := range got {
					if !bytes.Equal(got[i].Data, want[i].Data) || got[i].Timestamp != want[i].Timestamp || got[i].Key != want[i].Key {
						t.Fatalf("seed %d: frame %d differs", seed, i)
					}
				}
			}
		})
	}
}

// TestOneLostPacketTakesOnlyWhatDependsOnIt loses packets one by one: what is
// complete before, and what follows from the next keyframe on, stays as it was.
func TestOneLostPacketTakesOnlyWhatDependsOnIt(t *testing.T) {
	for _, c := range realCalls {
		t.Run(path.Base(c.name), func(t *testing.T) {
			load := func() []*media.Packet { return capturetest.Packets(t, c.name, capturetest.PayloadType(c.pt)) }
			whole := reassemble(t, c.codec, load())
			total := len(load())
			for lose := 1; lose < total; lose += 1 + total/60 {
				packets := load()
				hit := packets[lose].Timestamp
				packets[lose].Release()
				got := reassemble(t, c.codec, append(packets[:lose:lose], packets[lose+1:]...))

				at := map[uint32]depacket.Frame{}
				for _, f := range got {
					at[f.Timestamp] = f
				}
				mended, missing := false, 0
				for _, f := range whole {
					after := int32(f.Timestamp - hit)
					mended = mended || after > 0 && f.Key
					g, ok := at[f.Timestamp]
					if ok && !bytes.Equal(g.Data, f.Data) {
						t.Fatalf("packet %d lost: frame at %d is another one", lose, f.Timestamp)
					}
					if !ok {
						missing++
					}
					if !ok && (after < 0 || mended) {
						t.Errorf("packet %d lost: frame at %d is missing, %d ticks after it, keyframe seen: %v", lose, f.Timestamp, after, mended)
					}
				}
				if c.codec == media.Opus && missing != 1 {
					t.Errorf("packet %d lost: %d frames of sound are missing", lose, missing)
				}
				if len(got) != len(whole)-missing {
					t.Errorf("packet %d lost: %d frames, of which some were not sent", lose, len(got))
				}
			}
		})
	}
}
