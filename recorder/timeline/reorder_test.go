package timeline

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// firstStamp lets timestamps wrap.
var firstStamp uint32 = 4294960000

// decodeOrder gives the places in presentation of n frames in decode order, in
// groups such as {4, 2, 1, 3} after the first frame.
func decodeOrder(n int, group ...int) (out []int) {
	out = append(out, 0)
	for len(out) < n {
		base := len(out) - 1
		for _, g := range group {
			out = append(out, base+g)
		}
	}
	return out
}

// pushReordered pushes frames with those places, step apart, the first arriving at start
// and each a step after the one before. It gives where they went.
func pushReordered(tr *Track, places []int, step, start time.Duration) (out []Placed) {
	latest := -1
	for i, n := range places {
		at := start + time.Duration(i)*step
		ticks := uint32(time.Duration(n) * step * 90 / time.Millisecond)
		tr.Push(depacket.Frame{Timestamp: firstStamp + ticks, Reorders: true, Reordered: n < latest}, at)
		latest = max(latest, n)
		out = append(out, popSome(tr, at)...)
	}
	return append(out, popAll(tr, start)...)
}

// popSome pops what is decided.
func popSome(tr *Track, now time.Duration) (out []Placed) {
	for p, ok := tr.Pop(now); ok; p, ok = tr.Pop(now) {
		out = append(out, p)
	}
	return out
}

func TestReorderedFramesAreEvenlyApart(t *testing.T) {
	deep := make([]int, 16) // as far as decoders go
	for i := range deep {
		deep[i] = (i + 15) % 16
		deep[i]++
	}
	for name, c := range map[string]struct {
		group       []int
		step, start time.Duration
	}{
		"three B-frames":             {[]int{4, 1, 2, 3}, 40 * ms, 0},
		"a pyramid":                  {[]int{4, 2, 1, 3}, 40 * ms, 0},
		"sixteen":                    {deep, 40 * ms, 0},
		"ten frames a second":        {[]int{4, 2, 1, 3}, 100 * ms, time.Second},
		"while the session goes on":  {[]int{4, 2, 1, 3}, 40 * ms, time.Minute},
		"two references in a row":    {[]int{3, 4, 1, 2}, 40 * ms, 0},
		"a tenth of a second at 120": {[]int{4, 2, 1, 3}, 8 * ms, 0},
	} {
		t.Run(name, func(t *testing.T) {
			places := decodeOrder(400, c.group...)
			tr := New(Config{}).NewTrack(media.Video, 90000)
			got := pushReordered(tr, places, c.step, c.start)
			if len(got) != len(places) {
				t.Fatalf("%d frames of %d", len(got), len(places))
			}
			// A camera that shows late how early its frames come is moved.
			worst := ms / 2
			if c.step == 100*ms {
				worst = 20 * ms
			}
			times := make([]time.Duration, len(places))
			for i, n := range places {
				if n < len(times) {
					times[n] = got[i].Time
				}
			}
			for i := 1; i < len(times)-len(c.group); i++ {
				if d := times[i] - times[i-1] - c.step; d < -worst || d > worst {
					t.Fatalf("frame %d is %v after the one before", i, times[i]-times[i-1])
				}
			}
			if s := tr.Stats(); s.Jumps != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestReorderedFramesStayWithTheSound has reports that say where they belong.
func TestReorderedFramesStayWithTheSound(t *testing.T) {
	c := New(Config{})
	a, v := c.NewTrack(media.Audio, 48000), c.NewTrack(media.Video, 90000)
	const delay = 300 * ms // of the encoder, that sees four frames before the first comes
	places := decodeOrder(1500, 4, 2, 1, 3)
	latest, sent := -1, 0
	var off []time.Duration
	for at := time.Second; at < 40*time.Second; at += 20 * ms {
		captured := at - time.Second
		a.Push(depacket.Frame{Timestamp: uint32(captured * 48 / ms)}, at)
		popSome(a, at)
		for ; sent < len(places) && time.Duration(sent)*40*ms+delay <= captured; sent++ {
			n := places[sent]
			v.Push(depacket.Frame{Timestamp: uint32(n) * 3600, Reorders: true, Reordered: n < latest}, at)
			latest = max(latest, n)
			for _, p := range popSome(v, at) {
				off = append(off, p.Time-time.Second-time.Duration(p.Frame.Timestamp)/90*ms)
			}
		}
		if captured%(5*time.Second) == 0 {
			ntp := uint64(captured/time.Second)<<32 + 1<<60
			a.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(captured * 48 / ms)}, at)
			v.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(captured * 90 / ms)}, at)
		}
	}
	for i, d := range off[len(off)/2:] {
		if d < -5*ms || d > 5*ms {
			t.Fatalf("frame %d is %v from where it belongs", len(off)/2+i, d)
		}
	}
}

// TestOnlyReorderingMayGoBack has timestamps that fall for other reasons: the
// frames must go on rising, by arrival.
func TestOnlyReorderingMayGoBack(t *testing.T) {
	for name, c := range map[string]struct {
		back                 time.Duration
		reordered, restarted bool
	}{
		"a restart":                  {10 * time.Second, false, true},
		"a restart in a B-frame":     {80 * ms, true, true},
		"a jump":                     {10 * time.Second, false, false},
		"a short jump":               {300 * ms, false, false},
		"further than decoders hold": {900 * ms, true, false},
		"further than files hold":    {20 * time.Second, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(Config{}).NewTrack(media.Video, 90000)
			got := pushReordered(tr, decodeOrder(201, 4, 2, 1, 3), 40*ms, time.Second)
			end := got[len(got)-4].Time
			at := time.Second + 201*40*ms
			stamp := firstStamp + uint32((201*40*ms-c.back)*90/ms)
			var after []Placed
			for i := range 100 {
				tr.Push(depacket.Frame{
					Timestamp: stamp + uint32(i)*3600, Reorders: true,
					Reordered: c.reordered && i == 0, Restarted: c.restarted && i == 0,
				}, at)
				after = append(after, popSome(tr, at)...)
				at += 40 * ms
			}
			after = append(after, popAll(tr, at)...)
			if s := tr.Stats(); s.Jumps != 1 {
				t.Errorf("%+v", s)
			}
			if after[0].Time < end {
				t.Errorf("time falls from %v to %v", end, after[0].Time)
			}
			if !slices.IsSortedFunc(after, func(a, b Placed) int { return int(a.Time - b.Time) }) {
				t.Error("time falls")
			}
			if d := after[99].Time - after[0].Time; d < 3900*ms || d > 4100*ms {
				t.Errorf("99 frames take %v", d)
			}
			if d := at - after[99].Time; d < -300*ms || d > 300*ms {
				t.Errorf("the last one is %v before its arrival", d)
			}
		})
	}
}

// TestReorderedFramesOfLateReports moves a track while it goes on: no frame may
// get before another.
func TestReorderedFramesKeepTheirOrder(t *testing.T) {
	for shift := -2 * time.Second; shift <= 200*ms; shift += 100 * ms {
		t.Run(fmt.Sprint(shift), func(t *testing.T) {
			c := New(Config{})
			tr, other := c.NewTrack(media.Video, 90000), c.NewTrack(media.Audio, 48000)
			_ = other
			places := decodeOrder(800, 4, 2, 1, 3)
			times := map[int]time.Duration{}
			latest := -1
			for i, n := range places {
				at := 3*time.Second + time.Duration(i)*40*ms
				tr.Push(depacket.Frame{Timestamp: uint32(n) * 3600, Packets: n, Reorders: true, Reordered: n < latest}, at)
				latest = max(latest, n)
				if i%100 == 50 {
					tr.Report(signaling.SenderReport{NTP: uint64(at/ms)<<32/1000 + 1<<60, RTP: uint32((at - 3*time.Second - shift) * 90 / ms)}, at)
				}
				for _, p := range popSome(tr, at) {
					times[p.Frame.Packets] = p.Time
				}
			}
			for n := 1; n < 797; n++ {
				if d := times[n] - times[n-1]; d < 20*ms || d > 200*ms && shift < 0 || d > time.Second {
					t.Errorf("frame %d is %v after the one before", n, d)
				}
			}
		})
	}
}
