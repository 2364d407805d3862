package peer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
)

// narrowLink has packets go through a link of so many bit/s, 0 being without bounds, and their
// feedback come back.
type narrowLink struct {
	t        *testing.T
	p        path
	now      time.Time
	began    time.Time
	number   uint16
	rate     float64 // bit/s
	queue    time.Duration
	free     time.Time
	recorder *twcc.Recorder
	reported time.Time
}

func newNarrowLink(t *testing.T, rate float64) *narrowLink {
	now := time.Unix(1_000_000, 0)
	return &narrowLink{t: t, now: now, began: now, reported: now, number: 65000, rate: rate, queue: 300 * time.Millisecond, recorder: twcc.NewRecorder(1)}
}

// send sends so many bit/s in packets of 1000 bytes for a while, in bursts.
func (w *narrowLink) send(bitrate float64, d, every time.Duration) {
	owed := 0.0
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(every) {
		owed += bitrate * every.Seconds() / 8
		for ; owed > 0; owed -= 1000 {
			w.packet(0)
		}
		if w.now.Sub(w.reported) >= 100*time.Millisecond {
			w.report()
		}
	}
}

func (w *narrowLink) packet(cluster uint8) {
	w.p.sent(w.number, 1000-wireHeaders, w.now, cluster)
	number := w.number
	w.number++
	if w.free.Before(w.now) {
		w.free = w.now
	}
	if w.free.Sub(w.now) > w.queue {
		return
	}
	if w.rate > 0 {
		w.free = w.free.Add(time.Duration(8000 / w.rate * float64(time.Second)))
	}
	w.recorder.Record(1, number, w.free.Add(20*time.Millisecond).Sub(w.began).Microseconds())
}

func (w *narrowLink) report() {
	w.reported = w.now
	for _, p := range w.recorder.BuildFeedbackPacket() {
		b, err := p.Marshal()
		if err != nil {
			w.t.Fatal(err)
		}
		var f rtcp.TransportLayerCC
		if err := f.Unmarshal(b); err != nil {
			w.t.Fatal(err)
		}
		w.p.feedback(&f, w.now)
	}
}

// TestPathMeasuresWhatArrives sends more packets between two reports than pion's
// estimator remembers.
func TestPathMeasuresWhatArrives(t *testing.T) {
	for name, c := range map[string]struct{ rate, sent, want, standing float64 }{
		"little":       {0, 100_000, 100_000, 0},
		"much":         {0, 60_000_000, 60_000_000, 0},
		"that fits":    {50_000_000, 40_000_000, 40_000_000, 0},
		"too much":     {20_000_000, 40_000_000, 20_000_000, 0.3},
		"a little too": {300_000, 330_000, 300_000, 0.17},
	} {
		w := newNarrowLink(t, c.rate)
		w.send(c.sent, 2*time.Second, 10*time.Millisecond)
		if got := float64(w.p.rate()); got < 0.85*c.want || got > 1.1*c.want {
			t.Errorf("%s: %.0f bit/s arrive, want %.0f", name, got, c.want)
		}
		if got := w.p.standing.Seconds(); got < 0.7*c.standing || got > 1.3*c.standing+0.01 {
			t.Errorf("%s: a queue of %.3f s, want %.3f", name, got, c.standing)
		}
		if share, _ := w.p.loss(); (share > 0.1) != (name == "too much") {
			t.Errorf("%s: %.2f are lost", name, share)
		}
	}
}

// TestBurstIsNoQueue has a keyframe wait before a link that has room for it.
func TestBurstIsNoQueue(t *testing.T) {
	w := newNarrowLink(t, 3_000_000)
	full := func() bool { return w.p.standing > overuse && !w.p.draining }
	w.send(2_000_000, 2*time.Second, 40*time.Millisecond)
	for range 40 {
		w.packet(0)
	}
	for range 100 {
		w.send(2_000_000, 10*time.Millisecond, 10*time.Millisecond)
		if full() {
			t.Fatalf("a keyframe is taken for a queue of %v", w.p.standing)
		}
	}
	w.send(3_300_000, time.Second, 40*time.Millisecond)
	if !full() {
		t.Errorf("what grows without an end is no queue: %v", w.p.standing)
	}
}

// TestLongerWayIsNoQueue has the way become longer for good.
func TestLongerWayIsNoQueue(t *testing.T) {
	w := newNarrowLink(t, 0)
	w.send(500_000, 2*time.Second, 20*time.Millisecond)
	w.began = w.began.Add(-80 * time.Millisecond)
	w.send(500_000, 2*time.Second, 20*time.Millisecond)
	if w.p.standing < 70*time.Millisecond {
		t.Fatalf("a queue of %v", w.p.standing)
	}
	w.send(500_000, rebaseAfter, 20*time.Millisecond)
	if w.p.standing > 5*time.Millisecond {
		t.Errorf("a queue of %v after so long without a change", w.p.standing)
	}
}

func TestProbeTellsTheRate(t *testing.T) {
	for _, c := range []struct{ link, want float64 }{{10_000_000, 4_000_000}, {1_000_000, 1_000_000}} {
		w := newNarrowLink(t, c.link)
		w.send(200_000, time.Second, 40*time.Millisecond)
		id := w.p.probing()
		for range 20 {
			w.packet(id)
			w.now = w.now.Add(2 * time.Millisecond)
		}
		w.send(200_000, 400*time.Millisecond, 40*time.Millisecond)
		sent, arrived, ok := w.p.probed()
		if !ok || sent < 3_800_000 || sent > 4_200_000 || float64(arrived) < 0.9*c.want || float64(arrived) > 1.1*c.want {
			t.Errorf("sent at %d, arrived at %d bit/s (%v), want %.0f", sent, arrived, ok, c.want)
		}
	}
}

// TestFeedbackIsAStrangers gives feedback that makes no sense.
func TestFeedbackIsAStrangers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	w := newNarrowLink(t, 1_000_000)
	for range 20_000 {
		w.send(500_000, 20*time.Millisecond, 20*time.Millisecond)
		f := &rtcp.TransportLayerCC{
			BaseSequenceNumber: uint16(r.Uint32()), PacketStatusCount: uint16(r.Uint32()), ReferenceTime: r.Uint32(),
		}
		for range r.IntN(4) {
			f.PacketChunks = append(f.PacketChunks, &rtcp.RunLengthChunk{PacketStatusSymbol: uint16(r.IntN(4)), RunLength: uint16(r.IntN(1 << 13))})
		}
		for range r.IntN(100) {
			f.RecvDeltas = append(f.RecvDeltas, &rtcp.RecvDelta{Delta: r.Int64N(1<<23) - 1<<22})
		}
		w.p.feedback(f, w.now)
	}
	if n := len(w.p.ring); n > pathMemory || len(w.p.least) > leasts || max(len(w.p.latest), len(w.p.lost), len(w.p.got)) > pathMemory {
		t.Errorf("%d packets and %d delays are remembered, and %d, %d, %d", n, len(w.p.least), len(w.p.latest), len(w.p.lost), len(w.p.got))
	}
}

// TestWhatWasLostBeforeIsNotLostHere has receiver reports tell of gaps that came from the
// publisher, as transport-wide feedback shows.
func TestWhatWasLostBeforeIsNotLostHere(t *testing.T) {
	for name, c := range map[string]struct {
		heard       bool
		least, most float64
	}{"with feedback": {true, 0, 0.01}, "without": {false, 0.4, 0.5}} {
		w := newNarrowLink(t, 0)
		w.send(1_000_000, time.Second, 20*time.Millisecond)
		e := newEstimator(5_000_000, 5_000_000)
		e.path, e.heard = w.p, c.heard
		for i := range 5 {
			e.lost(0.5, w.now.Add(time.Duration(i)*time.Second))
		}
		now := w.now.Add(5 * time.Second)
		if got := e.loss(now); got < c.least || got > c.most || (e.bitrate() < 5_000_000) == c.heard {
			t.Errorf("%s: a loss of %.2f, and %d bit/s", name, got, e.bitrate())
		}
	}
}
