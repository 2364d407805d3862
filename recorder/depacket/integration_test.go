//go:build integration

package depacket

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

// decode writes frames as IVF and lets ffmpeg decode them, which must print
// nothing. It gives how many pictures came out.
func decode(t *testing.T, codec media.Codec, frames []Frame) int {
	t.Helper()
	return len(decodeSums(t, codec, frames))
}

// decodeSums gives the checksum of each picture that is decoded.
func decodeSums(t *testing.T, codec media.Codec, frames []Frame) (sums []string) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not on this machine")
	}
	var data [][]byte
	var ts []uint32
	for _, f := range frames {
		data = append(data, f.Data)
		ts = append(ts, f.Timestamp)
	}
	path := filepath.Join(t.TempDir(), "frames.ivf")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fourCC := map[media.Codec]string{media.VP8: "VP80", media.VP9: "VP90"}[codec]
	err = capturetest.WriteIVF(file, fourCC, frames[0].Width, frames[0].Height, data, ts)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ffmpeg", "-v", "error", "-i", path,
		"-fps_mode", "passthrough", "-autoscale", "0", "-f", "framemd5", "-")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("ffmpeg: %v\n%s", err, &errs)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if fields := strings.Split(line, ","); len(fields) == 6 && line[0] != '#' {
			sums = append(sums, strings.TrimSpace(fields[5]))
		}
	}
	return sums
}

func TestWhatALossLeavesIsDecodable(t *testing.T) {
	for _, c := range []struct {
		name  string
		pt    uint8
		codec media.Codec
	}{
		{membraneVP8 + ".pcap", 96, media.VP8},
		{membraneVP9 + ".pcap", 98, media.VP9},
		{str0mVP8, 96, media.VP8},
		{rtpdumpVP8, 125, media.VP8},
		{janusVP8, 100, media.VP8},
		{belledonne + "congestion/video-160-0-0a5f30.pcapng", 96, media.VP8},
		{flexfec, 98, media.VP9},
	} {
		// What each timestamp shows when nothing but the capture's own is lost.
		right := map[uint32]string{}
		for _, percent := range []float64{0, 0.3, 2, 10} {
			t.Run(fmt.Sprintf("%s/%v%%", filepath.Base(c.name), percent), func(t *testing.T) {
				if percent > 0 && testing.Short() {
					t.Skip("only without loss when short")
				}
				all := capturetest.Packets(t, c.name, func(p *media.Packet) bool {
					return p.PayloadType == c.pt || c.name == membraneVP8+".pcap" || c.name == membraneVP9+".pcap"
				})
				r := rand.New(rand.NewPCG(42, uint64(percent*10)))
				var packets []*media.Packet
				for i, p := range all {
					// The only keyframe may be the first.
					if i > 20 && r.Float64()*100 < percent {
						continue
					}
					packets = append(packets, p)
				}
				d := mustNew(t, c.codec)
				frames := run(t, d, packets)
				if len(frames) == 0 {
					t.Fatalf("no frames: %+v", d.Stats())
				}
				var shown []uint32
				for _, f := range frames {
					if !f.Hidden {
						shown = append(shown, f.Timestamp)
					}
				}
				sums := decodeSums(t, c.codec, frames)
				if len(sums) != len(shown) {
					t.Fatalf("%d of %d frames were decoded", len(sums), len(shown))
				}
				others := 0
				for i, sum := range sums {
					if percent == 0 {
						right[shown[i]] = sum
					} else if right[shown[i]] != sum {
						others++
					}
				}
				if others > 0 {
					t.Errorf("%d of %d pictures are not what was sent", others, len(sums))
				}
				t.Logf("%d frames of %d packets, %d dropped", len(frames), len(packets), d.Stats().Frames.Dropped)
			})
		}
	}
}

// TestSuperframesAreReadByFFmpeg sends the frames of a real video two by two, as
// if they were two spatial layers of one picture: each can be decoded after the
// one before it, as layers can.
func TestSuperframesAreReadByFFmpeg(t *testing.T) {
	want := capturetest.IVF(t, membraneVP9+".ivf")
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	for i := 0; i+1 < len(want); i += 2 {
		f.push(s.vp9Packets(
			vp9Layer{id: i / 2, layered: true, tl0: i / 2, data: want[i]},
			vp9Layer{id: i / 2, layered: true, sid: 1, tl0: i / 2, d: true, data: want[i+1]})...)
	}
	f.finish()
	if len(f.frames) != len(want)/2 {
		t.Fatalf("%d frames, want %d", len(f.frames), len(want)/2)
	}
	if n := decode(t, media.VP9, f.frames); n != len(want) {
		t.Errorf("ffmpeg decoded %d layers, want %d", n, len(want))
	}

	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "super.ivf"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var data [][]byte
	var ts []uint32
	for _, fr := range f.frames {
		data, ts = append(data, fr.Data), append(ts, fr.Timestamp)
	}
	if err := capturetest.WriteIVF(file, "VP90", f.frames[0].Width, f.frames[0].Height, data, ts); err != nil {
		t.Fatal(err)
	}
	// It complains that the layers of a picture have one time; they do.
	out, err := exec.Command("ffmpeg", "-v", "fatal", "-i", file.Name(), "-map", "0:v", "-c", "copy",
		"-bsf:v", "vp9_superframe_split", "-f", "data", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	if !bytes.Equal(out, bytes.Join(want[:len(want)/2*2], nil)) {
		t.Error("ffmpeg's split of the superframes is not the frames that were sent")
	}
}

// TestHidingLayersChangesNoPicture decodes what Chromium sent of two spatial
// layers, layer by layer, and compares with what our superframes decode to.
func TestHidingLayersChangesNoPicture(t *testing.T) {
	var layers []Frame
	var tops []int
	for _, picture := range layersSent(t, chromiumLayers(t)) {
		for _, layer := range picture {
			layers = append(layers, Frame{Data: layer, Timestamp: uint32(3000 * len(layers)), Width: 320, Height: 180})
		}
		tops = append(tops, len(layers)-1)
	}
	want := decodeSums(t, media.VP9, layers)
	if len(want) != len(layers) {
		t.Fatalf("%d layers decoded, want %d", len(want), len(layers))
	}
	got := decodeSums(t, media.VP9, run(t, mustNew(t, media.VP9), chromiumLayers(t)))
	if len(got) != len(tops) {
		t.Fatalf("%d pictures shown, want %d", len(got), len(tops))
	}
	for i, top := range tops {
		if got[i] != want[top] {
			t.Errorf("picture %d is not what its top layer decodes to", i)
		}
	}
}
