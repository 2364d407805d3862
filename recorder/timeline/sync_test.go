package timeline

import (
	"testing"
	"time"
)

const sec = time.Second

func at(from, to time.Duration) span { return span{from, to} }

// limits are what figures may be at most; zero is not checked.
type limits struct{ median, p95, max, drift, step, first, true95, trueMax time.Duration }

func (l limits) check(t *testing.T, f figures) {
	t.Helper()
	for _, c := range []struct {
		what      string
		got, most time.Duration
	}{
		{"median", f.median.Abs(), l.median}, {"95 %", f.p95, l.p95}, {"largest", f.max, l.max},
		{"drift per minute", f.drift, l.drift}, {"step", f.step, l.step}, {"first second", f.first, l.first},
		{"95 % of the truth", f.true95, l.true95}, {"largest of the truth", f.trueMax, l.trueMax},
	} {
		if c.most > 0 && c.got > c.most {
			t.Errorf("%s: %v, want at most %v", c.what, c.got, c.most)
		}
	}
}

// TestSync plays calls and measures how far sound and picture that were made in
// the same instant are apart in the recording.
func TestSync(t *testing.T) {
	usual := limits{p95: 10 * ms, max: 20 * ms, true95: 11 * ms, trueMax: 20 * ms}
	pauses := []span{at(5*sec, 9*sec), at(20*sec, 20*sec+500*ms), at(30*sec, 50*sec)}
	stalls := []span{at(5*sec, 7*sec), at(20*sec, 20*sec+400*ms), at(30*sec, 31*sec)}
	for _, c := range []struct {
		name string
		edit func(*scene)
		want limits
	}{
		{"a browser nearby, without a step at the first report", func(s *scene) { *s = loopback(0) },
			limits{median: 25 * ms, p95: 5 * ms, max: 8 * ms, drift: 5 * ms, step: 5 * ms}},
		{"a browser nearby with a slow encoder", func(s *scene) { *s = loopback(0); s.encode = 60 * ms }, limits{p95: 10 * ms, max: 20 * ms, true95: 10 * ms}},
		{"a browser nearby, reports ±8 ms", func(s *scene) { *s = loopback(0); s.reportNoise = 8 * ms }, usual},
		{"a browser far away", func(s *scene) {}, usual},
		{"capture times", func(s *scene) { s.captureTimes = true }, limits{median: ms, p95: ms, max: ms, first: 2 * ms}},
		{"capture times, audio +500 ppm", func(s *scene) { s.captureTimes, s.audioSkew = true, 500 }, limits{median: 3 * ms, p95: 5 * ms, max: 5 * ms}},
		{"reports ±10 ms", func(s *scene) { s.reportNoise = 10 * ms }, limits{median: 25 * ms, p95: 15 * ms, max: 20 * ms}},
		{"encoder up to 120 ms", func(s *scene) { s.encode = 120 * ms }, limits{median: 25 * ms, p95: 12 * ms}},
		{"jitter up to 100 ms", func(s *scene) { s.jitter = 50 * ms }, limits{median: 25 * ms, p95: 20 * ms}},
		{"audio clock +500 ppm", func(s *scene) { s.audioSkew = 500 }, usual},
		{"audio clock -500 ppm", func(s *scene) { s.audioSkew = -500 }, usual},
		{"audio -500, video +500 ppm", func(s *scene) { s.audioSkew, s.videoSkew = -500, 500 }, limits{median: 25 * ms, p95: 12 * ms, max: 20 * ms}},
		{"wall and video +500, audio -500 ppm, 10 min", func(s *scene) {
			s.wallSkew, s.videoSkew, s.audioSkew, s.length = 500, 500, -500, 600*sec
		}, limits{median: 25 * ms, p95: 12 * ms, max: 25 * ms}},
		{"no reports at all", func(s *scene) { s.videoReports, s.audioReports = 0, 0 }, usual},
		{"no reports, audio -500, video +500 ppm", func(s *scene) {
			s.videoReports, s.audioReports, s.videoSkew, s.audioSkew = 0, 0, 500, -500
		}, usual},
		{"no audio reports", func(s *scene) { s.audioReports = 0 }, usual},
		{"timestamps stand still", func(s *scene) { s.pauses = pauses }, usual},
		{"timestamps stand still, no reports meanwhile", func(s *scene) { s.pauses, s.silentPause = pauses, true }, usual},
		{"timestamps stand still, no reports ever", func(s *scene) { s.pauses, s.videoReports, s.audioReports = pauses, 0, 0 }, usual},
		{"timestamps stand still, capture times", func(s *scene) { s.pauses, s.captureTimes = pauses, true }, limits{median: ms, p95: ms, max: ms}},
		{"timestamps stand still, frames of 60 ms", func(s *scene) { s.pauses, s.audioFrame = pauses, 60*ms }, usual},
		{"timestamps stand still before the first audio report", func(s *scene) { s.pauses = []span{at(sec, 3*sec)} }, usual},
		{"timestamps stand still for 60 s", func(s *scene) { s.pauses, s.length = []span{at(15*sec, 75*sec)}, 120*sec }, usual},
		{"timestamps stand still while the camera is off", func(s *scene) {
			s.pauses, s.cameraOff = []span{at(5*sec, 15*sec)}, []span{at(5*sec, 15*sec)}
		}, usual},
		{"network stalls, then bursts", func(s *scene) { s.stalls = stalls }, usual},
		{"network stalls, drains at 3 times the rate", func(s *scene) { s.stalls, s.drain = stalls, 3 }, usual},
		{"network stalls, drains at 1.2 times the rate", func(s *scene) { s.stalls, s.drain = stalls, 1.2 }, usual},
		{"network stalls before the first report", func(s *scene) { s.stalls = []span{at(sec, 3*sec)} }, usual},
		{"a stall and a pause", func(s *scene) { s.stalls, s.pauses = []span{at(10*sec, 11*sec)}, []span{at(20*sec, 21*sec)} }, usual},
		{"discontinuous transmission", func(s *scene) { s.dtx = []span{at(5*sec, 9*sec), at(20*sec, 50*sec)} }, usual},
		{"camera off and on", func(s *scene) { s.cameraOff = []span{at(5*sec, 9*sec), at(20*sec, 40*sec)} },
			// The time before the first audio report is a larger share.
			limits{median: 25 * ms, p95: 12 * ms, max: 20 * ms}},
		{"5 % of the frames recovered", func(s *scene) { s.recovered = 0.05 }, usual},
		{"20 % of the frames recovered", func(s *scene) { s.recovered = 0.2 }, usual},
		{"the path gets longer by 150 ms, and shorter", func(s *scene) { s.delays = []detour{{at(10*sec, 40*sec), 150 * ms}} }, usual},
		{"the path is longer at first", func(s *scene) { s.delays = []detour{{at(0, 3*sec), 200 * ms}} }, usual},
		{"the wall clock steps", func(s *scene) {
			s.steps = []step{{10 * sec, time.Hour}, {20 * sec, -20 * 365 * 24 * time.Hour}, {30 * sec, 400 * ms}, {40 * sec, -2 * sec}}
		}, usual},
		{"the wall clock steps by little", func(s *scene) {
			s.steps = []step{{10 * sec, 30 * ms}, {20 * sec, -40 * ms}, {30 * sec, 80 * ms}, {40 * sec, -150 * ms}}
		}, limits{trueMax: 50 * ms}},
		{"the wall clock is set back by hours, and steps each second", func(s *scene) {
			s.steps = []step{{10 * sec, -5 * time.Hour}}
			for at := 20 * sec; at < 30*sec; at += sec {
				s.steps = append(s.steps, step{at, time.Minute})
			}
		}, usual},
		{"the wall clock runs at another rate than the media", func(s *scene) { s.wallSkew = 1000 }, limits{p95: 10 * ms, max: 20 * ms, true95: 15 * ms, trueMax: 20 * ms}},
		{"the wall clock says 1900", func(s *scene) { s.wallOffset = sec }, usual},
		{"no reports, and a queue of 3 s for 40 s", func(s *scene) {
			s.videoReports, s.audioReports, s.delays = 0, 0, []detour{{at(10*sec, 50*sec), 3 * sec}}
		}, limits{median: 25 * ms, p95: 10 * ms}},
		{"a queue of 3 s for 40 s", func(s *scene) { s.delays = []detour{{at(10*sec, 50*sec), 3 * sec}} }, usual},
		{"a third of the reports is garbage", func(s *scene) { s.garbage = 0.3 }, usual},
		{"senders restart", func(s *scene) { s.restarts = []time.Duration{10 * sec, 30 * sec} }, usual},
		{"video starts after 30 s", func(s *scene) { s.videoStart = 30 * sec }, usual},
		{"audio starts after 30 s", func(s *scene) { s.audioStart = 30 * sec }, usual},
		{"audio starts after 5 min", func(s *scene) { s.audioStart, s.length = 300*sec, 360*sec }, usual},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := chromium(0)
			c.edit(&s)
			c.want.check(t, play(t, 10, s))
		})
	}
}

// network is a sender that says exactly when it sends what, at once, as a program
// that publishes does, behind a path of 100 ms there and back.
func network(loss float64) scene {
	return scene{
		length: time.Minute, wallOffset: 40 * 365 * 24 * time.Hour,
		videoFrame: 40 * ms, audioFrame: 20 * ms, network: 50 * ms, trip: 100 * ms, loss: loss,
		videoReports: time.Second, audioReports: time.Second, exact: true,
		videoStart: 20 * ms, audioStart: 20 * ms,
	}
}

// TestSyncOverABadNetwork: whatever the network does, sound and picture are
// where their sender's timestamps and reports say, from the first frame on.
func TestSyncOverABadNetwork(t *testing.T) {
	for _, c := range []struct {
		name string
		loss float64
		edit func(*scene)
	}{
		{"no loss", 0, func(*scene) {}},
		{"1 %", 0.01, func(*scene) {}},
		{"5 %", 0.05, func(*scene) {}},
		{"10 %", 0.1, func(*scene) {}},
		{"20 %", 0.2, func(*scene) {}},
		{"jitter 50 ms", 0, func(s *scene) { s.spread = 50 * ms }},
		{"5 %, jitter 50 ms", 0.05, func(s *scene) { s.spread = 50 * ms }},
		{"20 %, jitter 50 ms", 0.2, func(s *scene) { s.spread = 50 * ms }},
		{"20 %, jitter 50 ms, audio -500, video +500 ppm", 0.2, func(s *scene) { s.spread, s.audioSkew, s.videoSkew = 50*ms, -500, 500 }},
		{"5 %, all clocks +500 ppm", 0.05, func(s *scene) { s.wallSkew, s.audioSkew, s.videoSkew = 500, 500, 500 }},
		{"5 %, jitter 100 ms", 0.05, func(s *scene) { s.spread = 100 * ms }},
		{"jitter 50 ms that is mostly small", 0, func(s *scene) { s.jitter = 25 * ms }},
		{"10 %, 300 ms there and back", 0.1, func(s *scene) { s.network, s.trip = 150*ms, 300*ms }},
		{"bursts of 200 ms", 0, func(s *scene) {
			for at := 500 * ms; at < time.Minute; at += 3 * sec {
				s.blank = append(s.blank, span{at, at + 200*ms})
			}
		}},
		{"dark for 2 s", 0.01, func(s *scene) { s.blank = []span{{10 * sec, 12 * sec}} }},
		{"dark for 30 s", 0.01, func(s *scene) { s.blank = []span{{10 * sec, 40 * sec}} }},
		{"dark for 2 s soon after the start", 0.01, func(s *scene) { s.blank = []span{{200 * ms, 2200 * ms}} }},
		{"stalls", 0.05, func(s *scene) { s.stalls = []span{{500 * ms, 900 * ms}, {20 * sec, 22 * sec}} }},
		{"no reports", 0.05, func(s *scene) { s.spread, s.videoReports, s.audioReports = 20*ms, 0, 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := network(c.loss)
			c.edit(&s)
			limits{true95: 10 * ms, trueMax: 20 * ms}.check(t, play(t, 20, s))
		})
	}
}

// TestParticipantsShareOneClock: what two people do in the same instant is in the
// same place of their recordings, though their wall clocks are decades apart, by
// as much as their paths take equally long: how long a path takes nobody can tell
// from one end.
func TestParticipantsShareOneClock(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(one, other *scene)
		// apart is by how much the least delays of the paths differ.
		apart, most time.Duration
	}{
		{"programs", func(_, other *scene) { other.videoStart, other.audioStart = 7*sec, 7*sec }, 0, 2 * ms},
		{"programs, 5 % loss, jitter 50 ms", func(one, other *scene) { one.loss, one.spread, other.loss, other.spread = 0.05, 50*ms, 0.05, 20*ms }, 0, 8 * ms},
		{"programs, clocks 1000 ppm apart", func(one, other *scene) {
			one.wallSkew, one.videoSkew, one.audioSkew = 500, 500, 500
			other.wallSkew, other.videoSkew, other.audioSkew = -500, -500, -500
		}, 0, 8 * ms},
		{"programs, one path 80 ms longer", func(_, other *scene) { other.network += 80 * ms }, 80 * ms, 2 * ms},
		{"browsers", func(one, other *scene) { *one, *other = chromium(1), chromium(2) }, 0, 10 * ms},
		{"browsers that say capture times", func(one, other *scene) {
			*one, *other = chromium(1), chromium(2)
			one.captureTimes, other.captureTimes = true, true
		}, 0, 10 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, other := network(0), network(0)
			c.edit(&one, &other)
			one.length, other.length = 3*time.Minute, 3*time.Minute
			other.wallOffset = -7 * 365 * 24 * time.Hour
			a, b := newSimulation(t, one), newSimulation(t, other)
			a.run()
			b.run()
			low, high := b.low-a.high-c.apart, b.high-a.low-c.apart
			t.Logf("the other is placed %v to %v after the one, from the tenth second on", low.Round(ms/10), high.Round(ms/10))
			if max(low.Abs(), high.Abs()) > c.most {
				t.Errorf("want at most %v", c.most)
			}
		})
	}
}

// TestSyncForADay: clocks that are off by all that is allowed leave no drift.
func TestSyncForADay(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("a day takes some seconds")
	}
	for _, ppm := range []int64{500, -500} {
		s := chromium(uint64(ppm))
		s.length = 24 * time.Hour
		s.audioFrame, s.videoFrame = 60*ms, 400*ms
		s.wallSkew, s.videoSkew, s.audioSkew = ppm, ppm, -ppm
		for h := range 23 {
			from := time.Duration(h)*time.Hour + 17*time.Minute
			s.pauses = append(s.pauses, at(from, from+30*sec))
			s.cameraOff = append(s.cameraOff, at(from+5*time.Minute, from+7*time.Minute))
		}
		m := newSimulation(t, s)
		m.run()
		minute := 0
		for m.skew[minute].at < 90*sec {
			minute++
		}
		f := measure(m.skew[minute:])
		f.log(t)
		t.Logf("%d frames, video %v to %v after its capture", m.frames, m.low, m.high)
		limits{median: 25 * ms, p95: 10 * ms, max: 20 * ms, drift: 10 * ms / (24 * 60)}.check(t, f)
		if m.high-m.low > 80*ms {
			t.Errorf("video left the arrival clock: %v to %v after its capture", m.low, m.high)
		}
	}
}
