package depacket

import (
	"bytes"
	"os"
	"testing"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
)

// chromiumLayers gives packets that Chromium sent of two spatial layers.
func chromiumLayers(t testing.TB) []*media.Packet {
	t.Helper()
	const path = "testdata/vp9_l2t3_key.rtpdump"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packets []*media.Packet
	for _, d := range capturetest.Decode(t, path, b) {
		p := capturetest.Parse(d)
		if p == nil {
			t.Fatalf("%s holds what is no RTP packet", path)
		}
		packets = append(packets, p)
	}
	return packets
}

// layersSent gives the layer frames in packets as they were sent, picture by
// picture.
func layersSent(t testing.TB, packets []*media.Packet) (pictures [][][]byte) {
	t.Helper()
	var ts uint32
	for _, p := range packets {
		if len(p.Payload) == 0 {
			continue
		}
		var d vp9Descriptor
		size, ok := parseVP9Descriptor(p.Payload, &d)
		if !ok {
			t.Fatalf("packet %d is malformed", p.SequenceNumber)
		}
		if pictures == nil || p.Timestamp != ts {
			pictures = append(pictures, nil)
		}
		ts = p.Timestamp
		last := &pictures[len(pictures)-1]
		if d.begin {
			*last = append(*last, nil)
		}
		n := len(*last) - 1
		(*last)[n] = append((*last)[n], p.Payload[size:]...)
	}
	return pictures
}

func TestOnlyTheTopLayerIsShown(t *testing.T) {
	packets := chromiumLayers(t)
	sent := layersSent(t, packets)
	padding := 0
	for _, p := range packets {
		if len(p.Payload) == 0 {
			padding++
		}
	}
	d := mustNew(t, media.VP9)
	frames := run(t, d, packets)
	if len(frames) != 9 || len(sent) != 9 {
		t.Fatalf("%d frames of %d pictures, want 9: %+v", len(frames), len(sent), d.Stats())
	}
	if s := d.Stats().Packets; padding == 0 || s.Padding != uint64(padding) || s.Discarded() != s.Padding {
		t.Errorf("%d padding packets, %+v", padding, s)
	}
	for i, f := range frames {
		got := splitSuperframe(t, f.Data)
		if len(got) != len(sent[i]) {
			t.Fatalf("picture %d has %d layers, want %d", i, len(got), len(sent[i]))
		}
		if f.Hidden {
			t.Errorf("picture %d is hidden", i)
		}
		top := len(got) - 1
		if !bytes.Equal(got[top], sent[i][top]) {
			t.Errorf("the top layer of picture %d is not as it was sent", i)
		}
		for k, layer := range got[:top] {
			var now, before vp9Header
			if !parseVP9Header(layer, &now) || !parseVP9Header(sent[i][k], &before) {
				t.Fatalf("layer %d of picture %d has no valid header", k, i)
			}
			if now.shown || !before.shown {
				t.Errorf("layer %d of picture %d: shown %v, was %v", k, i, now.shown, before.shown)
			}
			if now.key != before.key || now.refresh != before.refresh || now.width != before.width || now.resilient != before.resilient {
				t.Errorf("layer %d of picture %d: %+v, was %+v", k, i, now, before)
			}
			if grown := len(layer) - len(sent[i][k]); grown < 0 || grown > 1 {
				t.Errorf("layer %d of picture %d grew by %d bytes", k, i, grown)
			}
		}
	}
	if f := frames[0]; !f.Key || f.Width != 320 || f.Height != 180 {
		t.Errorf("first picture: key %v, %dx%d", f.Key, f.Width, f.Height)
	}
	if f := frames[2]; !f.Key || f.Width != 640 || f.Height != 360 {
		t.Errorf("first picture of two layers: key %v, %dx%d", f.Key, f.Width, f.Height)
	}
}

func TestLayersAreLeftAsTheyAreWhereHidingWouldChangeTheNext(t *testing.T) {
	// Two layers of one size, of which the upper one takes motion vectors from
	// the frame before.
	w := new(bitWriter).put(2, 2).put(2, 0).put(1, 0).put(1, 1).put(1, 1).put(1, 0).put(2, 0)
	w.put(8, 1).put(12, 0).put(1, 1).put(1, 0).put(1, 0).put(1, 1).put(64, 0)
	key := vp9KeyData(320, 180, 30)
	f := &feeder{t: t, d: mustNew(t, media.VP9)}
	s := &sender{t: t}
	f.push(s.vp9Packets(vp9Layer{id: 1, layered: true, data: key},
		vp9Layer{id: 1, layered: true, sid: 1, d: true, data: w.b})...)
	if f.finish() != 1 {
		t.Fatalf("%+v", f.d.Stats())
	}
	if got := splitSuperframe(t, f.frames[0].Data); len(got) != 2 || !bytes.Equal(got[0], key) {
		t.Error("the lower layer was changed")
	}
}
