package plot

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
)

var (
	video = webm.Track{Number: 1, Type: media.Video, Track: media.Track{Codec: media.VP8}}
	audio = webm.Track{Number: 2, Type: media.Audio, Track: media.Track{Codec: media.Opus}}
)

// call makes a recording of a length, with a pause and a change of size.
func call(length time.Duration) *Recording {
	r := &Recording{}
	frame := make([]byte, 2000)
	for at := time.Duration(0); at < length; at += 20 * time.Millisecond {
		cluster := int64(at / time.Second)
		if at < length/4 || at > length/2 {
			r.Add(webm.Block{Track: 2, Time: at, Data: frame[:80], Key: true, Cluster: cluster}, audio)
		}
		key := at%(2*time.Second) == 0
		if key {
			copy(frame, []byte{0x10, 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0})
			if at > length/2 {
				frame[6] = 128
			}
		}
		r.Add(webm.Block{Track: 1, Time: at, Data: frame, Key: key, Cluster: cluster}, video)
	}
	return r
}

func TestPictures(t *testing.T) {
	for _, length := range []time.Duration{20 * time.Millisecond, 7 * time.Second, time.Hour} {
		r := call(length)
		svg := r.SVG("a <b> & c.webm")
		for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(string(svg), "<title id=\"title\">a &lt;b&gt; &amp; c.webm</title>") || strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
			t.Errorf("%v: %.300s", length, svg)
		}
		if len(svg) > 300_000 {
			t.Errorf("%v: an SVG of %d bytes", length, len(svg))
		}
		b, err := r.PNG("a")
		if err != nil {
			t.Fatal(err)
		}
		if img, err := png.Decode(bytes.NewReader(b)); err != nil || img.Bounds().Dx() != pngScale*pictureWidth {
			t.Errorf("%v: %v", length, err)
		}
	}
}

func TestWhatIsCollected(t *testing.T) {
	r := call(time.Hour)
	if len(r.lanes) != 2 || len(r.lanes[0].bins) > maxBins || r.count != 3600 || len(r.chunks) > maxBins {
		t.Fatalf("%d tracks, %d chunks", len(r.lanes), r.count)
	}
	v, a := r.lanes[0], r.lanes[1]
	sum := int32(0)
	for _, b := range v.bins {
		sum += b.count
	}
	if sum != 180_000 || v.keys != 1800 || len(v.gaps) != 0 || len(v.sizes) != 2 || v.sizes[0].width != 320 || v.sizes[1].width != 384 || v.sizes[1].height != 180 {
		t.Errorf("video: %d frames, %d keyframes, %v, %v", sum, v.keys, v.gaps, v.sizes)
	}
	if want := (span{15*time.Minute - 20*time.Millisecond, 30*time.Minute + 20*time.Millisecond}); len(a.gaps) != 1 || a.gaps[0] != want {
		t.Errorf("audio: %v; want %v", a.gaps, want)
	}
}

func TestHostileTimesStayBounded(t *testing.T) {
	r := &Recording{}
	for i, at := range []time.Duration{-time.Hour, 0, 1 << 61, 5, 1<<62 - 1} {
		for n := range 300 {
			r.Add(webm.Block{Track: n, Time: at, Cluster: int64(i)}, webm.Track{Number: n, Type: media.Video})
		}
	}
	if len(r.lanes) != maxLanes || r.hidden != 300-maxLanes {
		t.Errorf("%d tracks, %d hidden", len(r.lanes), r.hidden)
	}
	if b := r.SVG("x"); bytes.Contains(b, []byte("NaN")) || len(b) > 1<<20 {
		t.Errorf("%d bytes", len(b))
	}
}

func TestPictureSize(t *testing.T) {
	// A VP9 keyframe of profile 0 with 640x360, as the demo's has.
	vp9 := []byte{0x82, 0x49, 0x83, 0x42, 0x00, 0x27, 0xF0, 0x16, 0x70}
	for n := range len(vp9) + 1 {
		w, h := pictureSize(media.VP9, vp9[:n])
		if n == len(vp9) && (w != 640 || h != 360) || n < len(vp9)-1 && w != 0 {
			t.Errorf("%d bytes: %dx%d", n, w, h)
		}
	}
	if w, h := pictureSize(media.Opus, vp9); w != 0 || h != 0 {
		t.Error(w, h)
	}
}

func TestAxes(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		time.Nanosecond: time.Millisecond, 700 * time.Millisecond: time.Second, 6 * time.Second: 10 * time.Second,
		31 * time.Second: time.Minute, 50 * time.Minute: time.Hour, 25 * time.Hour: 48 * time.Hour,
	} {
		if got := timeStep(d); got != want {
			t.Errorf("%v: %v; want %v", d, got, want)
		}
	}
	for v, want := range map[float64]float64{0: 1, 3: 5, 0.15: 0.2, 5: 5, 51: 100} {
		if got := niceStep(v); got != want {
			t.Errorf("%v: %v; want %v", v, got, want)
		}
	}
}
