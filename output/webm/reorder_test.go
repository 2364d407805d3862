package webm

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/muxertest"
)

// TestReorderedPicturesHaveTheirTimes looks at what a file says of pictures that
// come in decode order: groups of four after each keyframe, 40 ms apart.
func TestReorderedPicturesHaveTheirTimes(t *testing.T) {
	for _, chunk := range []time.Duration{40 * ms, 100 * ms, time.Second, MaxChunk} {
		var file muxertest.File
		w := start(t, &file, Config{Chunk: chunk, UID: "reordered"}, h264)
		var keys []time.Duration
		for gop := range 10 {
			base := time.Duration(gop) * 21
			keys = append(keys, base*40*ms)
			put(t, w, 1, base*40*ms, true, "key")
			for g := base; g < base+20; g += 4 {
				for _, n := range []time.Duration{4, 2, 1, 3} {
					put(t, w, 1, (g+n)*40*ms, false, "picture")
				}
			}
		}
		end(t, w)

		rep := inspect(t, file.Data)
		want := TrackReport{Number: 1, Codec: "H264", Width: 640, Height: 480, Frames: 210, Keyframes: 10, LastMS: 209 * 40, MaxGapMS: 40}
		if len(rep.Tracks) != 1 || rep.Tracks[0] != want || len(rep.Faults) != 0 || !rep.Seekable || rep.DurationMS != 210*40 || rep.Cues != 10 {
			t.Errorf("chunks of %v: %+v", chunk, rep)
		}
		r := NewReader(bytes.NewReader(file.Data))
		var base, last time.Duration
		cluster := int64(-1)
		var found []time.Duration
		for {
			b, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.Cluster != cluster {
				cluster, base = b.Cluster, r.base()
			}
			if b.Time < base || b.Time > base+chunk {
				t.Fatalf("chunks of %v: a block of %v in a cluster of %v", chunk, b.Time, base)
			}
			if b.Key {
				found = append(found, b.Time)
			}
			last = max(last, b.Time)
		}
		if d := r.Tracks()[0].DefaultDuration; d != 40*ms {
			t.Errorf("chunks of %v: DefaultDuration is %v", chunk, d)
		}
		if len(found) != len(keys) {
			t.Errorf("chunks of %v: keyframes at %v", chunk, found)
		}

		// What a crash leaves lasts as long as its pictures.
		cut := file.Data[:file.Ends[len(file.Ends)-1]]
		got, out, err := repaired(t, cut)
		if err != nil || got.Frames != 210 || got.DurationMS != 210*40 {
			t.Errorf("chunks of %v, repaired: %+v, %v", chunk, got, err)
		}
		if rep := inspect(t, out); rep.Tracks[0] != want || len(rep.Faults) != 0 {
			t.Errorf("chunks of %v, repaired: %+v", chunk, rep)
		}
	}
}

// base gives the time of the cluster that is read.
func (r *Reader) base() time.Duration { return time.Duration(r.clusterTime * r.scale) }

// TestFallingTimesOfOthers inspects a file whose times go back for no reason that
// a decoder has, as when two were put together.
func TestFallingTimesOfOthers(t *testing.T) {
	var o media.Order
	var rep TrackReport
	for _, at := range []int{0, 40, 80, 60_000, 60_040, 60_080, 0, 40, 80, 120} {
		rep.count(Block{Time: time.Duration(at) * ms}, &o)
	}
	rep.finish(&o)
	if rep.FirstMS != 0 || rep.LastMS != 120 || rep.MaxGapMS != 59_920 || rep.Frames != 10 {
		t.Errorf("%+v", rep)
	}
}
