package timeline

import (
	"math/big"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

const ms = time.Millisecond

// popAll pops until nothing more comes, waiting for what is held.
func popAll(t *Track, now time.Duration) []Placed {
	var out []Placed
	for {
		p, ok := t.Pop(now)
		if ok {
			out = append(out, p)
			continue
		}
		d, ok := t.Deadline()
		if !ok {
			return out
		}
		now = max(now, d)
	}
}

func TestFramesKeepTheSendersExactSpacing(t *testing.T) {
	tr := New(Config{}).NewTrack(media.Video, 90000)
	ts := uint32(1<<32 - 9000)
	var got []time.Duration
	for i := range 3001 {
		at := time.Second + time.Duration(i)*time.Second/30
		tr.Push(depacket.Frame{Timestamp: ts + uint32(i)*3000}, at)
		for _, p := range popAll(tr, at) {
			got = append(got, p.Time)
		}
	}
	if len(got) != 3001 {
		t.Fatalf("got %d frames, want 3001", len(got))
	}
	for i, at := range got {
		if want := time.Second + time.Duration(i)*time.Second/30; at < want-1 || at > want+1 {
			t.Fatalf("frame %d is at %v, want %v", i, at, want)
		}
	}
}

func TestReportsMoveATrackWithoutAStep(t *testing.T) {
	c := New(Config{})
	a, v := c.NewTrack(media.Audio, 48000), c.NewTrack(media.Video, 90000)
	var prev Placed
	var last time.Duration
	for i := range 500 {
		at := time.Second + time.Duration(i)*20*ms
		a.Push(depacket.Frame{Timestamp: uint32(i) * 960}, at)
		v.Push(depacket.Frame{Timestamp: uint32(i) * 1800}, at+60*ms) // 60 ms to encode
		popAll(a, at)
		for _, p := range popAll(v, at+60*ms) {
			if prev.Time != 0 && (p.Time-prev.Time < 18*ms || p.Time-prev.Time > 22*ms) {
				t.Fatalf("frame %d is %v after the one before", i, p.Time-prev.Time)
			}
			prev, last = p, p.Time
		}
		if i%50 == 25 {
			ntp := uint64(i*20)<<32/1000 + 1<<60
			v.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(i) * 1800}, at)
			a.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(i) * 960}, at)
		}
	}
	if want := time.Second + 499*20*ms; last < want-ms || last > want+ms {
		t.Errorf("the last frame is at %v, want %v", last, want)
	}
}

// player pushes frames on a straight line and remembers where they went.
type player struct {
	t     *testing.T
	tr    *Track
	times []time.Duration
	last  Placed
}

func (p *player) push(timestamp uint32, at time.Duration, restarted bool) {
	p.t.Helper()
	p.tr.Push(depacket.Frame{Timestamp: timestamp, Restarted: restarted}, at)
	p.pop(at)
}

func (p *player) pop(now time.Duration) {
	p.t.Helper()
	for {
		f, ok := p.tr.Pop(now)
		if !ok {
			return
		}
		if n := len(p.times); n > 0 && f.Time < p.times[n-1]+ms {
			p.t.Fatalf("time goes from %v to %v", p.times[n-1], f.Time)
		}
		p.times = append(p.times, f.Time)
		p.last = f
		if f.Paused != 0 {
			p.t.Logf("paused %v before %v", f.Paused, f.Time)
		}
	}
}

func audio(t *testing.T) *player {
	return &player{t: t, tr: New(Config{}).NewTrack(media.Audio, 48000)}
}

// speak pushes n frames of 20 ms from the timestamp and time given, and returns
// those after.
func (p *player) speak(n int, timestamp uint32, at time.Duration) (uint32, time.Duration) {
	p.t.Helper()
	for range n {
		p.push(timestamp, at, false)
		timestamp, at = timestamp+960, at+20*ms
	}
	return timestamp, at
}

func (p *player) near(what string, got, want time.Duration) {
	p.t.Helper()
	if d := got - want; d < -5*ms || d > 5*ms {
		p.t.Errorf("%s is at %v, want %v", what, got, want)
	}
}

func TestAPauseOfStandingTimestampsStaysAsAGap(t *testing.T) {
	p := audio(t)
	ts, at := p.speak(100, 12345, sec)
	before := len(p.times)
	ts, at = p.speak(100, ts, at+4*sec)
	p.near("the first frame after the pause", p.times[before], sec+2*sec+4*sec)
	p.near("the last frame", p.times[len(p.times)-1], at-20*ms)
	if s := p.tr.Stats(); s.Pauses != 1 || s.Jumps != 0 {
		t.Errorf("stats are %+v, want one pause", s)
	}
	_ = ts
}

func TestABurstIsPlacedAsItsTimestampsSay(t *testing.T) {
	p := audio(t)
	ts, at := p.speak(100, 12345, sec)
	at += 2 * sec
	for range 100 { // what the stall held up comes at once
		p.push(ts, at, false)
		ts, at = ts+960, at+ms/10
	}
	p.speak(100, ts, sec+4*sec)
	for i, got := range p.times {
		p.near("a frame", got, sec+time.Duration(i)*20*ms)
	}
	if s := p.tr.Stats(); s.Pauses != 0 || s.Jumps != 0 {
		t.Errorf("stats are %+v, want no pause and no jump", s)
	}
}

func TestAGapInTheTimestampsIsAGap(t *testing.T) {
	p := audio(t)
	ts, at := p.speak(100, 12345, sec)
	_, at = p.speak(100, ts+48000*60, at+time.Minute)
	p.near("the last frame", p.last.Time, at-20*ms)
	if s := p.tr.Stats(); s.Pauses != 0 || s.Jumps != 0 {
		t.Errorf("stats are %+v, want no pause and no jump", s)
	}
}

func TestJumpsArePlacedByArrival(t *testing.T) {
	for _, c := range []struct {
		name      string
		jump      uint32
		restarted bool
	}{
		{"forward", 48000 * 600, false}, {"backward", 1<<32 - 48000*600, false}, {"far", 1 << 31, false},
		{"restart to the same", 0, true}, {"restart", 123456789, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := audio(t)
			ts, at := p.speak(100, 1<<32-5000, sec)
			ts += c.jump
			p.push(ts, at, c.restarted)
			_, at = p.speak(100, ts+960, at+20*ms)
			p.near("the last frame", p.last.Time, at-20*ms)
			if s := p.tr.Stats(); s.Jumps != 1 || s.Pauses != 0 {
				t.Errorf("stats are %+v, want one jump", s)
			}
			if len(p.times) != 201 {
				t.Errorf("%d frames came back, want 201", len(p.times))
			}
		})
	}
}

func TestACameraOffForTenHoursWraps(t *testing.T) {
	tr := New(Config{}).NewTrack(media.Video, 90000)
	tr.Push(depacket.Frame{Timestamp: 7}, sec)
	popAll(tr, sec)
	at := 10 * time.Hour
	ticks := uint64(7) + uint64((at-sec)/sec)*90000
	tr.Push(depacket.Frame{Timestamp: uint32(ticks)}, at)
	got := popAll(tr, at)
	if len(got) != 1 || got[0].Time != at {
		t.Errorf("got %v, want one frame at %v", got, at)
	}
}

func TestAClockThatStandsStillInADumpLeavesTheTimestamps(t *testing.T) {
	p := audio(t)
	ts := uint32(99)
	for range 500 {
		p.push(ts, sec, false)
		ts += 960
	}
	p.tr.Flush()
	p.pop(sec)
	for i, got := range p.times {
		p.near("a frame", got, sec+time.Duration(i)*20*ms)
	}
}

func TestTheFirstFramesAreNeverBeforeTheSession(t *testing.T) {
	c := New(Config{})
	p := &player{t: t, tr: c.NewTrack(media.Video, 90000)}
	p.tr.Report(signaling.SenderReport{NTP: 1 << 40, RTP: 90000}, ms)
	for i := range 30 {
		p.push(uint32(i)*3000, 200*ms+time.Duration(i)*sec/30, false)
	}
	if p.times[0] != 0 {
		t.Errorf("the first frame is at %v, want 0", p.times[0])
	}
}

func TestAReportBeforeTheFirstFrameIsUsed(t *testing.T) {
	c := New(Config{})
	p := &player{t: t, tr: c.NewTrack(media.Audio, 48000)}
	p.tr.Report(signaling.SenderReport{NTP: 1<<62 + 5<<32, RTP: 48000}, 5*sec)
	p.push(48000*2, 6*sec+100*ms, false) // was captured one second after the report
	p.pop(7 * sec)
	p.near("the frame", p.last.Time, 6*sec)
}

func TestBadReportsMoveNothing(t *testing.T) {
	p := audio(t)
	ts, at := p.speak(50, 5000, sec)
	report := func() signaling.SenderReport {
		return signaling.SenderReport{NTP: 1<<62 + uint64(at/sec)<<32 + uint64(at%sec)<<32/uint64(sec), RTP: ts}
	}
	for i := range 200 {
		r := report()
		switch i % 10 {
		case 1:
			r.NTP = 0
		case 2:
			r.RTP += 48000 * 1000
		case 3:
			r.NTP -= 1 << 50
		case 4:
			r.RTP -= 48000 * 3600
		case 5:
			r = signaling.SenderReport{NTP: 1<<64 - 1, RTP: 1<<32 - 1}
		case 6:
			r = signaling.SenderReport{NTP: 1, RTP: 1}
		}
		p.tr.Report(r, at)
		ts, at = p.speak(50, ts, at)
		p.near("the last frame", p.last.Time, at-20*ms)
	}
}

func TestAWallClockThatStepsMovesNothing(t *testing.T) {
	p := audio(t)
	ts, at := p.speak(50, 5000, sec)
	var wall time.Duration
	for i := range 200 {
		switch i {
		case 50:
			wall = 30 * 365 * 24 * time.Hour
		case 100:
			wall = -7 * time.Minute
		case 150:
			wall += 300 * ms
		}
		d := at + wall
		p.tr.Report(signaling.SenderReport{NTP: 1<<62 + uint64(int64(d/sec))<<32 + uint64(int64(d%sec))<<32/uint64(sec), RTP: ts}, at)
		ts, at = p.speak(50, ts, at)
		p.near("the last frame", p.last.Time, at-20*ms)
	}
	if s := p.tr.Stats(); s.Believed < 190 {
		t.Errorf("stats are %+v, want nearly all reports believed", s)
	}
}

// ntpAt is a sender's wall clock that shows the recorder's time and 2^30 s.
func ntpAt(at time.Duration) uint64 {
	return 1<<62 + uint64(at/sec)<<32 + uint64(at%sec)<<32/uint64(sec)
}

// TestSoundThatASenderCatchesUpWithStaysWhereItIs has a browser too busy to make
// sound for 110 ms: it makes it all at once then, and says that of the time.
func TestSoundThatASenderCatchesUpWithStaysWhereItIs(t *testing.T) {
	p := audio(t)
	ts, at := uint32(5000), sec
	speak := func(captured, arrives time.Duration) {
		p.tr.Push(depacket.Frame{Timestamp: ts, CaptureTime: ntpAt(captured)}, arrives)
		p.pop(arrives)
		ts, at = ts+960, at+20*ms
	}
	for range 150 {
		speak(at, at)
	}
	stalled := at + 110*ms
	for range 6 {
		speak(stalled, stalled+40*ms)
	}
	speak(at, at+30*ms)
	ts, at = p.speak(2, ts, at+10*ms)
	p.speak(200, ts, at-10*ms)
	for i, got := range p.times {
		p.near("a frame", got, sec+time.Duration(i)*20*ms)
	}
}

// TestSoundThatASenderLosesLeavesItsTime is the same with one that never makes
// it, so that its timestamps stand still.
func TestSoundThatASenderLosesLeavesItsTime(t *testing.T) {
	p := audio(t)
	ts, at := uint32(5000), sec
	for i := range 500 {
		if i == 150 {
			at += 110 * ms
		}
		p.tr.Push(depacket.Frame{Timestamp: ts, CaptureTime: ntpAt(at)}, at)
		p.pop(at)
		if i < 150 || i > 400 {
			p.near("a frame", p.last.Time, at)
		}
		ts, at = ts+960, at+20*ms
	}
}

func TestAWrongPauseIsTakenBackByTheNextReport(t *testing.T) {
	p := audio(t)
	report := func(ts uint32, sent, at time.Duration) {
		p.tr.Report(signaling.SenderReport{NTP: 1<<62 + uint64(sent/sec)<<32 + uint64(sent%sec)<<32/uint64(sec), RTP: ts}, at)
	}
	ts, at := p.speak(100, 5000, sec)
	report(ts, at, at)
	ts, at = p.speak(100, ts, at)
	report(ts, at, at)
	ts, at = p.speak(5, ts, at)
	// The path gets 400 ms longer all at once: it looks like a pause.
	ts, at = p.speak(100, ts, at+400*ms)
	if s := p.tr.Stats(); s.Pauses != 1 {
		t.Fatalf("stats are %+v, want one pause", s)
	}
	report(ts, at-400*ms, at)
	ts, at = p.speak(1000, ts, at)
	p.near("the last frame", p.last.Time, at-420*ms)
	_ = ts
}

func TestFlushGivesWhatIsHeld(t *testing.T) {
	p := audio(t)
	p.push(1, sec, false)
	if len(p.times) != 0 {
		t.Fatal("the first frame was not held")
	}
	if d, ok := p.tr.Deadline(); !ok || d > sec+DefaultMaxHold {
		t.Errorf("the deadline is %v, %v", d, ok)
	}
	p.tr.Flush()
	p.pop(sec)
	if len(p.times) != 1 || p.times[0] != sec {
		t.Errorf("got %v, want one frame at 1s", p.times)
	}
	if _, ok := p.tr.Deadline(); ok {
		t.Error("there is a deadline though nothing is held")
	}
}

func TestNTPDifferencesCrossTheEra(t *testing.T) {
	if got := ntpSince(5<<32, 1<<64-5<<32); got != 10*second {
		t.Errorf("got %d, want 10 s", got)
	}
	if got := ntpSince(1<<64-5<<32, 5<<32); got != -10*second {
		t.Errorf("got %d, want -10 s", got)
	}
	if got := ntpSince(1<<31, 1<<32); got != -second/2 {
		t.Errorf("got %d, want -0.5 s", got)
	}
}

func BenchmarkPushPop(b *testing.B) {
	c := New(Config{})
	a, v := c.NewTrack(media.Audio, 48000), c.NewTrack(media.Video, 90000)
	b.ReportAllocs()
	at := sec
	for i := range b.N {
		a.Push(depacket.Frame{Timestamp: uint32(i) * 960}, at)
		for _, ok := a.Pop(at); ok; _, ok = a.Pop(at) {
		}
		v.Push(depacket.Frame{Timestamp: uint32(i) * 1800}, at)
		for _, ok := v.Pop(at); ok; _, ok = v.Pop(at) {
		}
		if i%50 == 0 {
			ntp := uint64(at/sec)<<32 + uint64(at%sec)<<32/uint64(sec)
			a.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(i) * 960}, at)
			v.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(i) * 1800}, at)
		}
		at += 20 * ms
	}
}

// TestPicturesInAnotherOrderThanTheirTimestamps has the timestamps of a dump of a
// video with pictures that are sent after those that they are shown before.
func TestPicturesInAnotherOrderThanTheirTimestamps(t *testing.T) {
	tr := New(Config{}).NewTrack(media.Video, 90000)
	var got []Placed
	n := 0
	for group := range 100 {
		for _, shown := range []int{3, 1, 2} {
			at := time.Second + time.Duration(n)*40*ms
			n++
			tr.Push(depacket.Frame{Timestamp: uint32(3600 * (3*group + shown))}, at)
			got = append(got, popAll(tr, at)...)
		}
	}
	if len(got) != n {
		t.Fatalf("%d frames of %d", len(got), n)
	}
	for i := 1; i < len(got); i++ {
		if step := got[i].Time - got[i-1].Time; step < ms || step > 200*ms {
			t.Fatalf("frame %d comes %v after the one before", i, step)
		}
	}
	if span := got[n-1].Time - got[0].Time; span < 11700*ms || span > 12100*ms {
		t.Errorf("12 s of video take %v", span)
	}
	if s := tr.Stats(); s.Jumps != 0 || s.Pauses != 0 {
		t.Errorf("%+v", s)
	}
}

func TestTicksAreConvertedExactly(t *testing.T) {
	for _, rate := range []int64{1000, 8000, 44100, 48000, 90000} {
		for _, ticks := range []int64{0, 1, 2, 3, 959, 960, 1<<32 + 7, 1<<46 - 1, 1 << 46, 1<<47 + 5} {
			for _, n := range []int64{ticks, -ticks} {
				want := new(big.Int).Mul(big.NewInt(n), big.NewInt(second))
				want.Div(want, big.NewInt(rate)) // rounds down, as rate is positive
				if want.IsInt64() && ticksToNanos(n, rate) != want.Int64() {
					t.Errorf("%d ticks of %d Hz are %d ns, want %v", n, rate, ticksToNanos(n, rate), want)
				}
			}
		}
	}
}
