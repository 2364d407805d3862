package recorder

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// TestChangesKeepTheirPlace: whatever a sender changes, pictures stay where they
// were captured, though they take 60 ms to encode, and sound stays with them.
func TestChangesKeepTheirPlace(t *testing.T) {
	const encode = 60
	for _, c := range []struct {
		name   string
		change func(v, a *sender)
		files  int
		// jumps: the timestamps do not go on, so that only the arrival tells
		// where they belong until the next report.
		jumps bool
	}{
		{"nothing", func(_, _ *sender) {}, 1, false},
		{"codec of the video", func(v, _ *sender) { v.pt = 98 }, 2, false},
		{"payload type of the audio", func(_, a *sender) { a.pt = 109 }, 1, false},
		{"SSRC, and all that comes with one", func(v, a *sender) {
			v.ssrc, v.seq, v.rtp = 77, 1234, 99
			a.ssrc, a.seq, a.rtp = 78, 4321, 1<<31
		}, 1, true},
		{"SSRC only", func(v, a *sender) { v.ssrc, a.ssrc = 77, 78 }, 1, false},
		{"timestamps forward", func(v, a *sender) { v.rtp += 90000 * 5000; a.rtp += 48000 * 5000 }, 1, true},
		{"timestamps back", func(v, a *sender) { v.rtp -= 90000 * 5000; a.rtp -= 48000 * 5000 }, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			room := &script{}
			v := room.start(0, videoTrack(nil))
			in := audioTrack()
			a := room.start(0, in)
			in.Codecs[109] = in.Codecs[111]
			v.in.Codecs[98] = media.VP9
			wall := func(at time.Duration) uint64 {
				return 1<<62 + uint64(at/time.Second)<<32 + uint64(at%time.Second)<<32/uint64(time.Second)
			}
			report := func(s *sender, at time.Duration) {
				room.add(signaling.Event{Kind: signaling.Reported, Time: t0.Add(at), Track: s.in, Report: signaling.SenderReport{NTP: wall(at), RTP: s.rtp}})
			}
			for n := range 500 {
				at := ms(100 + 20*n)
				if n == 250 {
					c.change(v, a)
				}
				if n%50 == 24 {
					report(v, at)
					report(a, at)
				}
				a.opus(at)
				a.rtp += 960
				if n%2 == 1 {
					continue
				}
				if v.pt == 98 {
					v.packet(at+ms(encode), true, vp9Key)
				} else {
					v.frame(at+ms(encode), n%100 == 0 || n == 250)
				}
				v.rtp += 3600
			}
			m := newMemory()
			s, err := run(t, config(m), room)
			if err != nil {
				t.Fatal(err)
			}
			got := s.Manifest()
			if len(got.Files) != c.files {
				t.Fatalf("%d files, want %d", len(got.Files), c.files)
			}
			// Frame n of each kind was captured at 100 ms and n frames; what of
			// the first second is placed by its arrival is not looked at.
			var pictures, sounds int
			var worst time.Duration
			for _, f := range got.Files {
				kinds := map[int]string{}
				for _, tr := range f.Tracks {
					kinds[tr.Number] = tr.Kind
				}
				for _, w := range readBack(t, m.files[f.Path].data) {
					n, step := &sounds, ms(20)
					if kinds[w.track] == "video" {
						n, step = &pictures, ms(40)
					}
					captured := ms(100) + time.Duration(*n)*step
					*n++
					settling := captured < 3*time.Second || c.jumps && captured > 5*time.Second && captured < 8*time.Second
					if !settling {
						worst = max(worst, (w.at + ms(int(f.OffsetMS)) - captured).Abs())
					}
				}
			}
			if pictures != 250 || sounds != 500 {
				t.Errorf("%d pictures and %d sounds, want 250 and 500", pictures, sounds)
			}
			t.Logf("at most %v from where it was captured", worst)
			if worst > ms(3) {
				t.Errorf("want at most 3 ms")
			}
		})
	}
}
