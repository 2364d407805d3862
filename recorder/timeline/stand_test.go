package timeline

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
)

// thaw gives when what should be sent at the time is.
func (m *simulation) thaw(k *simTrack, sent time.Duration) time.Duration {
	p, ok := in(m.frozen, sent)
	if !ok {
		return sent
	}
	if step := k.step(m.scene); k.woken != p.to {
		k.woken = p.to
		if m.reportAt >= 0 && !m.ahead {
			length := (p.to - sent) / step * m.burst
			k.nextReport = p.to + time.Duration(m.reportAt*float64(length))
		}
		return p.to
	}
	return max(p.to, k.lastSent+m.burst)
}

// standing gives some times that long, one of them before the first report.
func standing(long time.Duration) []span {
	var out []span
	for _, from := range []time.Duration{300 * ms, 8 * sec, 23100 * ms, 40300 * ms} {
		out = append(out, span{from, from + long})
	}
	return out
}

// TestSyncWhenTheSenderStandsStill: a machine that has no time for the sender
// stops it for a while. It then sends all at once what it should have sent, and
// a report among that says that a frame which is sent late is of now.
func TestSyncWhenTheSenderStandsStill(t *testing.T) {
	exact := limits{true95: 10 * ms, trueMax: 20 * ms}
	for _, c := range []struct {
		name string
		edit func(s *scene)
		want limits
	}{
		{"a program", func(s *scene) {}, exact},
		{"a program, slow to catch up", func(s *scene) { s.burst = 4 * ms }, exact},
		{"a program that reports when it is time to, but of now", func(s *scene) { s.ahead = true }, exact},
		{"a program, 3 % loss", func(s *scene) { s.loss = 0.03 }, exact},
		{"a program, 3 % loss, jitter 20 ms", func(s *scene) { s.loss, s.spread = 0.03, 20*ms }, exact},
		{"a program, 3 % loss, audio sent again late", func(s *scene) { s.loss, s.recovered = 0.03, 0.03 }, exact},
		{"a browser", func(s *scene) {
			b := chromium(0)
			b.frozen, b.burst, b.reportAt = s.frozen, s.burst, s.reportAt
			*s = b
		}, limits{true95: 22 * ms, trueMax: 25 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, long := range []time.Duration{200 * ms, 400 * ms, 800 * ms, 1700 * ms, 3 * sec} {
				for _, reportAt := range []float64{-1, 0, 0.1, 0.5, 1.1} {
					s := network(0)
					s.frozen, s.reportAt, s.burst = standing(long), reportAt, ms/2
					c.edit(&s)
					t.Run(fmt.Sprintf("%v, report at %v", long, reportAt), func(t *testing.T) {
						c.want.check(t, play(t, 4, s))
					})
				}
			}
		})
	}
}

// TestSyncHoweverOftenTheSenderStandsStill is a machine that is busy all the time.
func TestSyncHoweverOftenTheSenderStandsStill(t *testing.T) {
	seeds := uint64(300)
	if underRace {
		seeds = 30
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 99))
		upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
		s := network(0.03)
		s.seed, s.length, s.network, s.trip, s.spread = seed, 40*sec, 20*ms, 40*ms, upTo(20*ms)
		s.burst = []time.Duration{ms / 10, ms / 2, 2 * ms}[r.IntN(3)]
		s.reportAt = []float64{-1, -1, 0.05, 0.5, 0.8}[r.IntN(5)]
		for at := upTo(3 * sec); at < 38*sec; {
			long := 30*ms + upTo(300*ms)
			if r.IntN(3) == 0 {
				long = 200*ms + upTo(2500*ms)
			}
			s.frozen = append(s.frozen, span{at, at + long})
			at += long + 20*ms + upTo(6*sec)
		}
		m := newSimulation(t, s)
		m.run()
		if f := measure(m.skew); f.trueMax > 25*ms {
			t.Errorf("seed %d: off by %v at %v", seed, f.trueMax, f.maxAt)
		}
	}
}

// TestSyncFromABurst: when the machine that records has no time as a connection
// begins, all that was sent so far comes at once, the later the less late.
func TestSyncFromABurst(t *testing.T) {
	for _, c := range []struct {
		drain float64
		want  limits
	}{
		{0, limits{true95: 10 * ms, trueMax: 20 * ms}},
		{20, limits{true95: 10 * ms, trueMax: 20 * ms}},
		{5, limits{true95: 25 * ms, trueMax: 60 * ms}},
	} {
		for long := 300 * ms; long < 3*sec; long += 460 * ms {
			t.Run(fmt.Sprintf("after %v, %v times as fast", long, c.drain), func(t *testing.T) {
				s := network(0.03)
				s.network, s.trip, s.ahead, s.drain = 20*ms, 40*ms, true, c.drain
				s.stalls = []span{{0, long}}
				c.want.check(t, play(t, 6, s))
			})
		}
	}
}

// TestLastSoundsBeforeSilenceStayInTheirPlace: the last packets before a pause
// may be lost, and come when they are asked for, with nothing after them. That is
// not the end of the pause.
func TestLastSoundsBeforeSilenceStayInTheirPlace(t *testing.T) {
	for n := 1; n <= 3; n++ {
		c := New(Config{})
		p := &player{t: t, tr: c.NewTrack(media.Audio, 48000)}
		v := c.NewTrack(media.Video, 90000)
		ts, at := p.speak(100, 5000, sec)
		for end := at + 2*sec; at < end; at += 40 * ms {
			v.Push(depacket.Frame{Timestamp: uint32(at/ms) * 90}, at)
			popAll(v, at)
		}
		at -= 1640 * ms // 360 ms after the last sound
		for range n {
			p.tr.Seen(ts, at)
			p.push(ts, at, false)
			ts += 960
		}
		p.pop(at + 3*sec)
		p.near("the last sound", p.last.Time, 3*sec+time.Duration(n-1)*20*ms)
	}
}
