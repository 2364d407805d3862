//go:build integration

package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

// callScript is what a person does in a call, each thing half a second away from
// the flash and the beep of a full second.
const callScript = `(async () => {
	const {Pattern} = await import('/page/pattern.js');
	const wall = () => performance.timeOrigin + performance.now();
	const pc = roomtape.peers.find((p) => p.connection).connection;
	const sender = pc.getSenders().find((s) => s.track?.kind === 'video');
	const camera = sender.track;
	const start = Math.ceil(wall() / 1000) * 1000 + 500;
	const did = {};
	const at = async (second, name, act) => {
		await new Promise((resolve) => setTimeout(resolve, start + second * 1000 - wall()));
		await act();
		did[name] = wall();
	};
	let screen;
	await at(0, 'begin', () => {});
	await at(2, 'mute', () => roomtape.mute());
	await at(3, 'unmute', () => roomtape.mute(false));
	await at(5, 'silent', () => roomtape.setAudioTrack(null));
	await at(7, 'audible', () => roomtape.setAudioTrack());
	await at(9, 'hide', () => roomtape.hide());
	await at(10, 'show', () => roomtape.hide(false));
	await at(12, 'off', () => sender.replaceTrack(null));
	await at(14, 'on', () => sender.replaceTrack(camera));
	await at(16, 'share', () => {
		screen = new Pattern({width: 1280, height: 720, fps: 15, label: 'screen', sound: false});
		screen.stream.getVideoTracks()[0].contentHint = 'detail'; // or it would be scaled down
		roomtape.share(screen.stream);
	});
	await at(19, 'unshare', () => roomtape.unshare());
	await at(21, 'end', () => screen.stop());
	return {did, camera: roomtape.flashes, screen: screen.flashes};
})()`

// call is what the script gives: when what was done, and what has flashed, by the
// wall clock in milliseconds since 1970. A beep is of the camera's flash.
type call struct {
	Did            map[string]float64
	Camera, Screen []struct{ Wall float64 }
}

func (c *call) did(name string) time.Time { return wallTime(c.Did[name]) }

func wallTime(ms float64) time.Time { return time.UnixMicro(int64(ms * 1000)) }

// TestChromiumOverALossyNetwork records a real browser with each codec through a
// relay that loses a twentieth of the packets in both directions, while it mutes,
// switches its camera off and on, and shares a screen: all that can be had is in
// the file, at its time.
func TestChromiumOverALossyNetwork(t *testing.T) {
	b := browser.Start(t)
	var all beepsAndFlashes
	for _, codec := range []string{"vp8", "vp9", "av1", "h264"} {
		t.Run(codec, func(t *testing.T) { callOverALossyNetwork(t, b, codec, &all) })
	}
	for what, offsets := range map[string][]time.Duration{"but for how late the browser was": all.ours, "where the browser played in time": all.timely} {
		if len(offsets) < 20 {
			t.Logf("only %d flashes and beeps, %s", len(offsets), what)
			continue
		}
		s := judge(make([]time.Duration, len(offsets)), offsets)
		t.Logf("%d flashes and beeps, %s: 95 %% within %v of the median, worst %v", len(offsets), what, s.within95, s.worst)
		if s.within95 > 8*time.Millisecond {
			t.Errorf("beep after flash, %s: 95 %% within %v of the median; want 8 ms", what, s.within95)
		}
	}
}

// beepsAndFlashes are how much later beeps come than their flashes in all files,
// each less the median of its file: without what the browser itself was late,
// and as they are where it was in time.
type beepsAndFlashes struct{ ours, timely []time.Duration }

// add takes those of a file, and gives how they spread.
func (*beepsAndFlashes) add(to *[]time.Duration, at, offset []time.Duration) spread {
	s := judge(at, offset)
	for _, o := range offset {
		*to = append(*to, o-s.median)
	}
	return s
}

func callOverALossyNetwork(t *testing.T, b *browser.Browser, codec string, all *beepsAndFlashes) {
	dir := t.TempDir()
	network := lossy.Odds{Loss: 0.05, Delay: 20 * time.Millisecond}
	room, relay := openLossyRoom(t, 1, network)
	alice := page(t, b, room, "alice")
	defer alice.Close()
	var has bool
	alice.Eval(`RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === 'video/`+codec+`')`, &has)
	if !has {
		t.Skipf("this browser sends no %s", codec)
	}
	alice.Wait(`roomtape.flashes.length >= 2`)
	record := start(t, "record", "--out", dir, "--session", "s", "--codecs", codec, "--dump-rtp", room)
	alice.Wait(`roomtape.recorders.length === 1`)
	waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, dir)) > 0 })
	var c call
	alice.Eval(callScript, &c)
	sent := relay.Counts("alice", "*")
	network.Loss = 0 // what was lost last is sent again
	relay.Set("*", "*", network)
	after(t, time.Second)
	record.stop(t)
	m := readManifest(t, filepath.Join(dir, "s"))
	if m.State != recorder.StateComplete || len(m.Files) != 1 {
		t.Fatalf("the manifest: %+v", m)
	}
	f := m.Files[0]
	path := filepath.Join(dir, "s", f.Path)
	whole(t, path)
	silent(t, "ffprobe", "-v", "warning", path)
	silent(t, "ffmpeg", "-v", "warning", "-xerror", "-i", path, "-f", "null", "-")

	t.Logf("from the browser: %v", sent)
	if lost := float64(sent.Lost) / float64(sent.Packets); lost < 0.03 || lost > 0.07 {
		t.Errorf("the relay should lose a twentieth")
	}
	zero := m.StartedAt.Add(time.Duration(f.OffsetMS) * time.Millisecond)
	for _, track := range f.Tracks {
		t.Logf("%s: packets %+v, frames %+v, sizes %v, gaps %v", track.Kind, track.Packets, track.Frames, track.Sizes, track.Gaps)
		if track.Packets.Recovered == 0 || track.Packets.Late > 0 {
			t.Errorf("%s: packets %+v", track.Kind, track.Packets)
		}
		if track.Kind == "video" {
			lostPictures(t, track, &c, zero)
			sizesOf(t, track, &c, zero)
		} else if track.Packets.Lost*50 > track.Packets.Received {
			// Sound is not sent again, but each packet repeats the one before.
			t.Errorf("%d packets of sound lost", track.Packets.Lost)
		}
	}
	said := readClaims(t, filepath.Join(dir, "s", m.Dump))
	pauses(t, path, said, &c, zero)
	inSync(t, path, said, &c, zero, all)
}

// lostPictures fails the test when anything is lost that could be had. A browser
// that goes over to a screen, or back, makes a new stream that goes on where the
// old one ends, and forgets the packets of that, sent or not.
func lostPictures(t *testing.T, track recorder.TrackEntry, c *call, zero time.Time) {
	t.Helper()
	for _, g := range track.Gaps {
		if g.Reason != recorder.GapLoss {
			continue
		}
		ends := zero.Add(time.Duration(g.AtMS+g.DurationMS) * time.Millisecond)
		forgotten := slices.ContainsFunc([]string{"share", "unshare"}, func(name string) bool {
			since := ends.Sub(c.did(name))
			return since > 0 && since < time.Second
		})
		if !forgotten || g.DurationMS > 1000 {
			t.Errorf("%d packets and %d frames are missing for %d ms until %v", g.Packets, g.Frames, g.DurationMS, ends.Sub(c.did("begin")))
		}
		track.Packets.Lost -= g.Packets
		track.Frames.Dropped -= g.Frames
	}
	if track.Packets.Lost > 0 || track.Frames.Dropped > 1 { // the last may have been on its way
		t.Errorf("video: %+v, %+v", track.Packets, track.Frames)
	}
}

// sizesOf fails the test unless the screen has its size while it is shared. How
// large the camera's picture is, is up to what the browser thinks of the network.
func sizesOf(t *testing.T, track recorder.TrackEntry, c *call, zero time.Time) {
	t.Helper()
	shared := false
	for _, s := range track.Sizes {
		at := zero.Add(time.Duration(s.AtMS) * time.Millisecond)
		screen := s.Width == 1280 && s.Height == 720
		shared = shared || screen
		switch {
		case screen && at.After(c.did("share").Add(-200*time.Millisecond)) && at.Before(c.did("unshare")):
		case !screen && s.Width <= 640 && s.Width*9 == s.Height*16 && (at.Before(c.did("share")) || at.After(c.did("unshare").Add(-200*time.Millisecond))):
		default:
			t.Errorf("%dx%d at %v", s.Width, s.Height, at.Sub(c.did("begin")))
		}
	}
	if last := track.Sizes[len(track.Sizes)-1]; !shared || last.Width > 640 {
		t.Errorf("sizes %v", track.Sizes)
	}
}

// pauses fails the test unless each track pauses when and for as long as it was
// taken away, and at no other time, but where a busy browser has sent nothing.
func pauses(t *testing.T, path string, said map[media.Kind]*claims, c *call, zero time.Time) {
	t.Helper()
	for kind, names := range map[media.Kind][2]string{media.Audio: {"silent", "audible"}, media.Video: {"off", "on"}} {
		from, to := c.did(names[0]), c.did(names[1])
		found := false
		times := blockTimes(t, path, kind)
		for i := 1; i < len(times); i++ {
			d := times[i] - times[i-1]
			if d < time.Second {
				continue
			}
			begins, ends := zero.Add(times[i-1]), zero.Add(times[i])
			asked := begins.Before(from.Add(250*time.Millisecond)) && ends.After(to.Add(-250*time.Millisecond))
			found = found || asked
			sent := said[kind].captured(begins.Add(100*time.Millisecond), ends.Add(-100*time.Millisecond))
			t.Logf("%s pauses for %v at %v; asked for: %v, for %v", kind, d, begins.Sub(c.did("begin")), asked, to.Sub(from))
			if sent > 0 {
				t.Errorf("%s: %d frames were sent in a pause of %v at %v", kind, sent, d, begins.Sub(c.did("begin")))
			}
		}
		if !found {
			t.Errorf("%s does not pause", kind)
		}
	}
}

// moment is a flash and its beep.
type moment struct {
	flashed, beeped time.Time // as the page says
	flash, beep     time.Duration
}

// moments pairs what flashed and beeped with what does so in the file, where it
// comes within half a second.
func moments(t *testing.T, path string, c *call, zero time.Time) []moment {
	var list []moment
	for _, f := range c.Camera {
		list = append(list, moment{flashed: wallTime(f.Wall), beeped: wallTime(f.Wall)})
	}
	for _, f := range c.Screen {
		for i := range list {
			at := wallTime(f.Wall)
			if at.Sub(list[i].beeped).Abs() < time.Second/2 && at.After(c.did("share")) && at.Before(c.did("unshare")) {
				list[i].flashed = at
			}
		}
	}
	lit, loud := flashes(t, path), beeps(t, path)
	find := func(times []time.Duration, at time.Time) time.Duration {
		i := slices.IndexFunc(times, func(d time.Duration) bool { return (zero.Add(d).Sub(at) - 100*time.Millisecond).Abs() < time.Second/2 })
		if i < 0 {
			return -1
		}
		return times[i]
	}
	for i, m := range list {
		list[i].flash, list[i].beep = find(lit, m.flashed), find(loud, m.beeped)
	}
	return slices.DeleteFunc(list, func(m moment) bool { return m.flash < 0 || m.beep < 0 })
}

// inSync judges flashes and beeps: by when the page made them, where the browser
// itself did not play late by what it said of its clocks; and all frames by what
// it said.
func inSync(t *testing.T, path string, said map[media.Kind]*claims, c *call, zero time.Time, all *beepsAndFlashes) {
	t.Helper()
	frames := map[media.Kind][]claimed{}
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if frames[kind] = claimedFrames(t, f, kind, said[kind], zero); len(frames[kind]) < 50 {
			t.Fatalf("only %d frames of %s are known", len(frames[kind]), kind)
		}
	}
	var at, skew []time.Duration
	for _, a := range frames[media.Audio] {
		at, skew = append(at, a.file), append(skew, a.off(zero)-nearest(frames[media.Video], a.file).off(zero))
	}
	s := judge(at, skew)
	t.Logf("%d audio frames against video, by what the browser said of its clocks: %v", len(at), s)
	if s.median.Abs() > 8*time.Millisecond || s.within95 > 8*time.Millisecond {
		t.Errorf("audio against video, by what the browser said of its clocks: %v; want 8 ms", s)
	}

	phases := []string{"begin", "silent", "off", "share", "unshare", "end"}
	unknown := 0
	for i, name := range phases[:len(phases)-1] {
		var during []time.Duration
		for j := range at {
			if now := zero.Add(at[j]); now.After(c.did(name)) && now.Before(c.did(phases[i+1])) {
				during = append(during, skew[j])
			}
		}
		if len(during) == 0 {
			// In a phase of 3 s the network may take every report.
			if unknown++; unknown > 1 {
				t.Errorf("nothing is known of the sound between %q and %q", name, phases[i+1])
			}
			continue
		}
		slices.Sort(during)
		if step := during[len(during)/2] - s.median; step.Abs() > 8*time.Millisecond {
			t.Errorf("a step of %v at %q", step, name)
		}
	}

	var events, offset, own []time.Duration
	for _, m := range moments(t, path, c, zero) {
		f, b := nearest(frames[media.Video], m.flash), nearest(frames[media.Audio], m.beep)
		flash, beep := zero.Add(m.flash).Sub(m.flashed), zero.Add(m.beep).Sub(m.beeped)
		events, offset = append(events, m.flash), append(offset, beep-flash)
		own = append(own, (beep-b.off(zero))-(flash-f.off(zero)))
	}
	if len(events) < 10 {
		t.Fatalf("%d flashes with a beep", len(events))
	}
	usual := judge(events, own).median
	var timely, kept, ours []time.Duration
	for i := range events {
		ms := func(d time.Duration) float64 { return math.Round(d.Seconds()*10000) / 10 }
		t.Logf("%7.1f s: the beep comes %5.1f ms after the flash, of these the browser's own %5.1f", zero.Add(events[i]).Sub(c.did("begin")).Seconds(), ms(offset[i]), ms(own[i]))
		ours = append(ours, offset[i]-own[i])
		if (own[i] - usual).Abs() < 4*time.Millisecond {
			timely, kept = append(timely, offset[i]), append(kept, events[i])
		}
	}
	s = all.add(&all.ours, events, ours)
	t.Logf("%d flashes and beeps, but for how late the browser was: %v", len(events), s)
	if s.median.Abs() > 8*time.Millisecond || s.worst > 20*time.Millisecond {
		t.Errorf("beep after flash, but for how late the browser was: %v; want 8 ms, and 20 ms at worst", s)
	}
	if len(kept) > 0 {
		t.Logf("%d of them, which it played in time: %v", len(kept), all.add(&all.timely, kept, timely))
	}
}
