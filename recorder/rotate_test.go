package recorder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/signaling"
)

// placed is a frame of a recording at its place in the session.
type placed struct {
	at   time.Duration
	key  bool
	data string
}

// filesOf gives the frames of each file by kind, on the session's clock.
func filesOf(tb testing.TB, m *memory, man Manifest) []map[string][]placed {
	tb.Helper()
	var files []map[string][]placed
	for _, f := range man.Files {
		kinds := map[int]string{}
		for _, tr := range f.Tracks {
			kinds[tr.Number] = tr.Kind
		}
		got := map[string][]placed{}
		for _, w := range readBack(tb, m.files[f.Path].data) {
			k := kinds[w.track]
			got[k] = append(got[k], placed{ms(int(f.OffsetMS)) + w.at, w.key, w.data})
		}
		files = append(files, got)
	}
	return files
}

// checkRotated checks that the files hold the frames of the one file want, none
// lost and none doubled, each at its time, and that each plays on its own.
func checkRotated(tb testing.TB, want map[string][]placed, files []map[string][]placed) {
	tb.Helper()
	for _, kind := range []string{"video", "audio"} {
		var all []placed
		for i, f := range files {
			if v := f[kind]; kind == "video" && len(v) > 0 && !v[0].key {
				tb.Errorf("file %d does not begin with a keyframe", i+1)
			}
			all = append(all, f[kind]...)
		}
		if len(all) != len(want[kind]) {
			tb.Errorf("%s: %d frames in the files, %d without rotation", kind, len(all), len(want[kind]))
			continue
		}
		for i, w := range want[kind] {
			if d := all[i].at - w.at; all[i].data != w.data || d < -ms(1) || d > ms(1) {
				tb.Errorf("%s: frame %d is another, or %v late", kind, i, d)
				break
			}
		}
	}
}

// rotated records the same script without and with a change of cfg, and gives
// the manifest of the second.
func rotated(t *testing.T, room func() signaling.Room, change func(*Config)) (Manifest, []map[string][]placed) {
	t.Helper()
	whole := newMemory()
	s, err := run(t, config(whole), room())
	if err != nil {
		t.Fatal(err)
	}
	one := filesOf(t, whole, s.Manifest())
	if len(one) != 1 {
		t.Fatalf("%d files without rotation", len(one))
	}
	parts := newMemory()
	cfg := config(parts)
	change(&cfg)
	s, err = run(t, cfg, room())
	if err != nil {
		t.Fatal(err)
	}
	m := s.Manifest()
	files := filesOf(t, parts, m)
	checkRotated(t, one[0], files)
	before := ""
	for i, f := range m.Files {
		if f.Part != i+1 || f.Continues != before {
			t.Errorf("%s is part %d and continues %q, want %d and %q", f.Path, f.Part, f.Continues, i+1, before)
		}
		before = f.Path
	}
	return m, files
}

func TestRotationLosesNothing(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			change := func(c *Config) { c.RotateEvery = 3 * time.Second }
			if seed%2 == 1 {
				change = func(c *Config) { c.RotateSize = 60_000 }
			}
			m, _ := rotated(t, func() signaling.Room { return impaired(seed) }, change)
			if len(m.Files) < 2 {
				t.Errorf("%d files", len(m.Files))
			}
		})
	}
}

// Sound is cut where the picture is, though it comes sooner or later than that.
func TestSoundIsCutWithThePicture(t *testing.T) {
	for _, late := range []int{-100, 0, 150} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			room := func() signaling.Room {
				r := &script{}
				v := r.start(0, videoTrack(nil))
				a := r.start(0, audioTrack())
				for at := ms(0); at < ms(20_000); at += ms(20) {
					a.opus(at + ms(150))
					a.rtp += 960
					if at%ms(40) == 0 {
						v.frame(at+ms(150+late), at%ms(2000) == 0)
						v.rtp += 3600
					}
					if at%ms(500) == 0 { // which place sound and picture together
						for _, s := range []*sender{v, a} {
							r.add(signaling.Event{Kind: signaling.Reported, Time: t0.Add(at + ms(350)), Track: s.in,
								Report: signaling.SenderReport{NTP: uint64(at/ms(500)+100) << 31, RTP: s.rtp}})
						}
					}
				}
				return r
			}
			_, files := rotated(t, room, func(c *Config) { c.RotateEvery = 4 * time.Second })
			if len(files) != 5 {
				t.Fatalf("%d files", len(files))
			}
			for i := 1; i < len(files); i++ {
				cut, last := files[i]["video"][0].at, files[i-1]["audio"]
				if end := last[len(last)-1].at; end >= cut+ms(1) {
					t.Errorf("file %d has sound at %v, and the picture of the next begins at %v", i, end, cut)
				}
				if begin := files[i]["audio"][0].at; begin < cut-ms(1) {
					t.Errorf("file %d has sound at %v before its picture at %v", i+1, begin, cut)
				}
			}
		})
	}
}

// Live ticks change no byte of rotated files.
func TestRotatedLiveEqualsReplay(t *testing.T) {
	for seed := range uint64(4) {
		var first *memory
		for i := range 2 {
			var room signaling.Room = untimed{impaired(seed)}
			if i == 0 {
				room = &liveRoom{script: *impaired(seed), rand: rand.New(rand.NewPCG(seed, 2))}
			}
			m := newMemory()
			cfg := config(m)
			cfg.Start, cfg.RotateEvery, cfg.RotateSize = t0.Add(-ms(30)), 2*time.Second, 70_000
			if _, err := run(t, cfg, room); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = m
				continue
			}
			if len(m.order) < 6 || !slices.Equal(first.order, m.order) {
				t.Fatalf("%v live, %v in the replay", first.order, m.order)
			}
			for _, name := range m.order {
				if !bytes.Equal(first.files[name].data, m.files[name].data) {
					t.Errorf("%s differs", name)
				}
			}
		}
	}
}

// studio is a room whose sender gives a keyframe only when it is asked: it makes
// frames as time goes on.
type studio struct {
	script
	feedback
	v, a *sender
	// made is up to when there are frames.
	made time.Duration
	// shoot tells whether the camera gives a frame at a time, and whether it
	// answers.
	shoot func(at time.Duration) (frame, answers bool)
}

func newStudio(d time.Duration, shoot func(time.Duration) (bool, bool)) *studio {
	r := &studio{shoot: shoot}
	r.feedback = feedback{room: &r.script, nacks: map[uint16]int{}}
	r.v = r.script.start(0, videoTrack(&r.feedback))
	r.a = r.script.start(0, audioTrack())
	answered := 0
	r.before = func(now time.Time) {
		for ; r.made <= now.Sub(t0)+ms(100) && r.made < d; r.made += ms(20) {
			r.a.opus(r.made)
			r.a.rtp += 960
			if r.made%ms(40) != 0 {
				continue
			}
			if frame, answers := shoot(r.made); frame {
				key := answers && len(r.keyframes) > answered || r.made == 0
				if key {
					answered = len(r.keyframes)
				}
				r.v.frame(r.made+ms(2), key)
			}
			r.v.rtp += 3600
		}
	}
	r.before(t0)
	r.script.end = t0.Add(d)
	return r
}

func TestKeyframeIsAskedForInTime(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	cfg.RotateEvery = 10 * time.Second
	r := newStudio(65*time.Second, func(time.Duration) (bool, bool) { return true, true })
	s, err := run(t, cfg, &r.script)
	if err != nil {
		t.Fatal(err)
	}
	man := s.Manifest()
	files := filesOf(t, m, man)
	if len(files) != 7 {
		t.Fatalf("%d files of 65 s", len(files))
	}
	frames := 0
	for i, f := range files {
		if v := f["video"]; len(v) == 0 || !v[0].key || v[0].at > ms(10_000*i+10) || v[0].at < ms(10_000*i-500) {
			t.Errorf("file %d begins at %v, with a keyframe: %t", i+1, v[0].at, v[0].key)
		}
		frames += len(f["video"])
	}
	if frames != 65*25 {
		t.Errorf("%d frames, want %d", frames, 65*25)
	}
	if n := len(r.keyframes); n > 14 {
		t.Errorf("%d keyframes asked for, for 7 files", n)
	}
}

func TestFileGoesOnUntilTheKeyframe(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	cfg.RotateEvery = 10 * time.Second
	r := newStudio(29*time.Second, func(at time.Duration) (bool, bool) { return true, at > 14*time.Second })
	s, err := run(t, cfg, &r.script)
	if err != nil {
		t.Fatal(err)
	}
	var at []time.Duration
	for _, f := range filesOf(t, m, s.Manifest()) {
		at = append(at, f["video"][0].at.Round(time.Second), f["audio"][0].at.Round(time.Second))
	}
	if diff := cmp.Diff([]time.Duration{0, 0, 14 * time.Second, 14 * time.Second, 20 * time.Second, 20 * time.Second}, at); diff != "" {
		t.Errorf("files begin (-want +got):\n%s", diff)
	}
	if n := len(r.keyframes); n < 5 || n > 25 {
		t.Errorf("%d keyframes asked for", n)
	}
}

func TestSoundGoesOnWithoutAPictureThatHasNoKeyframe(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	cfg.RotateEvery = 10 * time.Second
	r := newStudio(70*time.Second, func(at time.Duration) (bool, bool) { return true, at > 55*time.Second })
	s, err := run(t, cfg, &r.script)
	if err != nil {
		t.Fatal(err)
	}
	files := filesOf(t, m, s.Manifest())
	var video, audio int
	for i, f := range files {
		video, audio = video+len(f["video"]), audio+len(f["audio"])
		if v := f["video"]; len(v) > 0 && !v[0].key {
			t.Errorf("file %d does not begin with a keyframe", i+1)
		}
	}
	if video != 70*25 || audio != 70*50 {
		t.Errorf("%d pictures and %d packets of sound, want %d and %d", video, audio, 70*25, 70*50)
	}
	v, a := files[0]["video"], files[0]["audio"]
	if end := a[len(a)-1].at; end < 40*time.Second-ms(100) || end > 40*time.Second {
		t.Errorf("the sound of the first file ends at %v, want 30 s after it was due", end)
	}
	if end := v[len(v)-1].at; end < 54*time.Second || end > 56*time.Second {
		t.Errorf("the picture of the first file ends at %v, want 55 s", end)
	}
}

func TestCameraThatIsOffHoldsNoFile(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers bool
		dropped int64
	}{{"comes back with a keyframe", true, 0}, {"comes back without", false, 50}} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			cfg := config(m)
			cfg.RotateEvery = 10 * time.Second
			r := newStudio(79*time.Second, func(at time.Duration) (bool, bool) {
				return at < 8*time.Second || at >= 55*time.Second, c.answers || at >= 57*time.Second
			})
			closed := time.Duration(0)
			made := r.before
			r.before = func(now time.Time) {
				made(now)
				if f := m.files["a.webm"]; f != nil && f.closed && closed == 0 {
					closed = now.Sub(t0)
				}
			}
			s, err := run(t, cfg, &r.script)
			if err != nil {
				t.Fatal(err)
			}
			if closed < 37*time.Second || closed > 39*time.Second {
				t.Errorf("the first file is final at %v", closed)
			}
			files := filesOf(t, m, s.Manifest())
			if len(files) != 8 {
				t.Fatalf("%d files", len(files))
			}
			var video, audio, dropped, lost int64
			for i, f := range files {
				if n := len(f["audio"]); n < 440 || n > 530 {
					t.Errorf("file %d has %d packets of sound", i+1, n)
				}
				video, audio = video+int64(len(f["video"])), audio+int64(len(f["audio"]))
				for _, tr := range s.Manifest().Files[i].Tracks {
					dropped += tr.Frames.Dropped
					lost += tr.Packets.Lost
				}
				if v := f["video"]; len(v) > 0 && !v[0].key {
					t.Errorf("file %d does not begin with a keyframe", i+1)
				}
			}
			if audio != 79*50 || video+dropped != 32*25 || lost != 0 {
				t.Errorf("%d pictures, %d dropped, %d packets of sound, %d lost", video, dropped, audio, lost)
			}
			if dropped < c.dropped || dropped > c.dropped+10 {
				t.Errorf("%d pictures dropped, want %d", dropped, c.dropped)
			}
		})
	}
}

func TestSoundAloneRotatesAtOnce(t *testing.T) {
	m, files := rotated(t, func() signaling.Room {
		room := &script{}
		a := room.start(0, audioTrack())
		a.audio(ms(10), ms(25_000))
		return room
	}, func(c *Config) { c.RotateEvery = 5 * time.Second })
	if len(files) != 5 {
		t.Fatalf("%d files", len(files))
	}
	for i, f := range m.Files {
		if want := int64(10 + 5000*i); f.OffsetMS != want {
			t.Errorf("file %d begins at %d, want %d", i+1, f.OffsetMS, want)
		}
	}
}

func TestSizeIsKept(t *testing.T) {
	const size = 200_000
	m := newMemory()
	cfg := config(m)
	cfg.RotateSize = size
	r := newStudio(60*time.Second, func(time.Duration) (bool, bool) { return true, true })
	r.v.size = 2000
	s, err := run(t, cfg, &r.script)
	if err != nil {
		t.Fatal(err)
	}
	files := s.Manifest().Files
	for i, f := range files {
		if f.Bytes > size*11/10 || i < len(files)-1 && f.Bytes < size/2 {
			t.Errorf("%s has %d bytes", f.Path, f.Bytes)
		}
	}
	if len(files) < 15 {
		t.Errorf("%d files", len(files))
	}
}

// Two pictures in one file begin the next one each with a keyframe of its own.
func TestEachPictureRotatesAtItsOwnKeyframe(t *testing.T) {
	for _, onChange := range []bool{false, true} {
		m := newMemory()
		cfg := config(m)
		cfg.NewFileOnChange = onChange
		if !onChange {
			cfg.RotateEvery = 4 * time.Second
		}
		room := &script{}
		v := room.start(0, videoTrack(nil))
		in := videoTrack(nil)
		in.ID, in.SSRC = "w", 9
		w := room.start(0, in)
		frames := 0
		for at := ms(10); at < ms(12_000); at += ms(40) {
			n := int(at / ms(40))
			v.width = 640 + 16*(n/75%2)
			v.frame(at, n%75 == 0)
			w.frame(at+ms(3), n%110 == 0)
			v.rtp, w.rtp = v.rtp+3600, w.rtp+3600
			frames += 2
		}
		s, err := run(t, cfg, room)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, f := range s.Manifest().Files {
			seen := map[int]bool{}
			for _, b := range readBack(t, m.files[f.Path].data) {
				if got++; !seen[b.track] && !b.key {
					t.Errorf("%s: track %d does not begin with a keyframe", f.Path, b.track)
				}
				seen[b.track] = true
			}
		}
		if got != frames || len(m.order) < 3 {
			t.Errorf("%d frames of %d in %d files", got, frames, len(m.order))
		}
	}
}
