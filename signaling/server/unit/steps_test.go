package unit

import (
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/server/forward"
)

// TestStepsBetweenLayers sends VP9 of some layers for some seconds, and looks at what
// may be chosen of it.
func TestStepsBetweenLayers(t *testing.T) {
	const all = forward.MaxLayers - 1
	to := func(spatial, temporal int8) forward.Layers {
		return forward.Layers{Spatial: spatial, Temporal: temporal}
	}
	for name, c := range map[string]struct {
		spatial, temporal int
		want              []forward.Layers
		low, medium       int
	}{
		"L1T1": {1, 1, []forward.Layers{forward.All}, 1, 2},
		"L1T3": {1, 3, []forward.Layers{to(all, 0), to(all, 1), forward.All}, 1, 2},
		"L3T1": {3, 1, []forward.Layers{to(0, all), to(1, all), forward.All}, 1, 2},
		"L2T2": {2, 2, []forward.Layers{to(0, 0), to(0, all), forward.All}, 2, 0},
		"L3T3": {3, 3, []forward.Layers{to(0, 0), to(0, 1), to(0, all), to(1, all), forward.All}, 3, 4},
	} {
		e := &encoding{track: &signaling.Track{SSRC: 1}}
		for i := range 400 {
			tid := []int{0, 2, 1, 2}[i%4]
			if c.temporal < 3 {
				tid = i % c.temporal
			}
			for sid := range c.spatial {
				payload := append([]byte{0x20 | 0x10, byte(tid<<5 | sid<<1), 0}, make([]byte, 500<<sid)...)
				e.count(media.VP9, forward.Packet{Arrival: time.Unix(0, 0).Add(time.Duration(i) * 33 * time.Millisecond), Payload: payload})
			}
		}
		var got []forward.Layers
		steps := e.steps()
		for i, s := range steps {
			got = append(got, s.Layers)
			if s.Source != 1 || i > 0 && s.Bitrate <= steps[i-1].Bitrate {
				t.Errorf("%s: step %d is %+v", name, i, s)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		for limit, want := range []int{0, c.low, c.medium} {
			if n := allowed(steps, limit); n != want {
				t.Errorf("%s: of %d sizes are %d steps, want %d", name, limit, n, want)
			}
		}
	}
	// Three encodings are three sizes.
	simulcast := []forward.Encoding{{Source: 1, Layers: forward.All}, {Source: 2, Layers: forward.All}, {Source: 3, Layers: forward.All}}
	if low, medium := allowed(simulcast, 1), allowed(simulcast, 2); low != 1 || medium != 2 {
		t.Errorf("of three encodings low allows %d, medium %d", low, medium)
	}
}
