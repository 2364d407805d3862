package recorder

import (
	"fmt"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// steps gives a manifest's quality list in short.
func steps(m Manifest) (list []string) {
	for _, e := range m.Quality {
		list = append(list, fmt.Sprintf("%s %s %v at %d", e.Kind, e.Event, e.Reasons, e.AtMS))
	}
	return list
}

func judged(t *testing.T, room *script) Manifest {
	t.Helper()
	m := newMemory()
	if _, err := run(t, config(m), room); err != nil {
		t.Fatal(err)
	}
	return manifestOf(t, m)
}

// lecture is of a participant who only speaks, with whom packets are lost as drop says.
func lecture(length time.Duration, drop func(at time.Duration) bool) *script {
	room, v, a := call("alice", 0)
	v.stop(ms(101))
	var at time.Duration
	a.drop = func(uint16) bool { return drop(at) }
	for at = ms(120); at < length; at += ms(20) {
		a.opus(at)
		a.rtp += 960
	}
	return room
}

func TestLossIsPoorUntilFiveSecondsAreCalm(t *testing.T) {
	n := 0
	room := lecture(30*time.Second, func(at time.Duration) bool {
		n++
		return at > 10*time.Second && at < 14*time.Second && n%10 == 0
	})
	got := judged(t, room)
	if len(got.Quality) != 2 {
		t.Fatalf("%v", steps(got))
	}
	poor, recovered := got.Quality[0], got.Quality[1]
	// A packet that nobody sends again has a second to come.
	if poor.Event != QualityPoor || poor.AtMS != 12000 || poor.Reasons[0] != PoorLoss || poor.Loss < 0.02 || poor.Kind != "audio" {
		t.Errorf("%+v", poor)
	}
	// The last loss is known at 15 s and leaves the window at 20 s.
	if recovered.Event != QualityRecovered || recovered.AtMS < 24000 || recovered.AtMS > 25000 ||
		recovered.PoorMS != recovered.AtMS-poor.AtMS || recovered.Loss != 0 {
		t.Errorf("%+v", recovered)
	}
}

// What is between the thresholds neither makes a track poor nor lets it recover,
// so that quality does not flap.
func TestLossBetweenTheThresholdsChangesNothing(t *testing.T) {
	n := 0
	one := func(every int) func(time.Duration) bool {
		return func(time.Duration) bool { n++; return n%every == 0 }
	}
	if got := judged(t, lecture(30*time.Second, one(100))); len(got.Quality) != 0 { // 1 %
		t.Errorf("%v", steps(got))
	}
	n = 0
	got := judged(t, lecture(40*time.Second, func(at time.Duration) bool {
		n++
		return at < 8*time.Second && n%10 == 0 || at >= 8*time.Second && n%100 == 0
	}))
	if len(got.Quality) != 1 || got.Quality[0].Event != QualityPoor {
		t.Errorf("%v", steps(got))
	}
}

// frozen is a call of which one packet is lost, four seconds before the next keyframe.
func frozen() *script {
	room, v, _ := call("alice", 0)
	v.video(ms(120), ms(4000))
	v.packet(ms(4010), false, vp8Payload(v.pic, true, false, 0, 0, 100)) // its end never comes
	v.seq++
	v.pic++
	v.rtp += 3600
	for at := ms(4050); at < ms(8000); at += ms(40) { // refers to what is lost
		v.frame(at, false)
		v.rtp += 3600
	}
	v.video(ms(8000), ms(20000))
	return room
}

func TestPictureThatWaitsForAKeyframeIsFrozen(t *testing.T) {
	got := steps(judged(t, frozen()))
	want := []string{"video poor [freeze] at 6000", "video recovered [freeze] at 14000"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPauseIsNotPoor(t *testing.T) {
	room, v, a := call("alice", 0)
	for _, s := range []*sender{v, a} {
		from := []time.Duration{ms(120), ms(15000), ms(50000)}
		for i, to := range []time.Duration{ms(12000), ms(18000), ms(55000)} {
			if i > 0 {
				s.rtp += uint32((from[i] - []time.Duration{ms(12000), ms(18000)}[i-1]).Seconds() * float64(clockRate(s.in.Kind)))
			}
			if s == v {
				s.video(from[i], to)
			} else {
				s.audio(from[i], to)
			}
		}
	}
	if got := steps(judged(t, room)); got != nil {
		t.Errorf("%v", got)
	}
}

// squeezed is a picture that falls to a tenth of its bitrate from 15 s to 40 s.
func squeezed(smaller bool) *script {
	room, v, _ := call("alice", 0)
	v.size = 2400
	v.video(ms(120), ms(15000))
	v.size = 200
	if smaller {
		v.width, v.height = 320, 240
	}
	v.video(ms(15010), ms(40000))
	v.size, v.width, v.height = 2400, 640, 480
	v.video(ms(40010), ms(60000))
	return room
}

func TestBitrateThatCollapsesWithThePictureIsPoor(t *testing.T) {
	got := steps(judged(t, squeezed(true)))
	want := []string{"video poor [bitrate] at 18000", "video recovered [bitrate] at 45000"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := steps(judged(t, squeezed(false))); got != nil {
		t.Errorf("a still picture: %v", got)
	}
}

func TestFreezesAreThoseOfWebRTCStats(t *testing.T) {
	var s trackStats
	at := time.Duration(0)
	for range 40 {
		s.show(at)
		at += ms(40)
	}
	at += ms(149) - ms(40) + ms(40) // 189 ms after the last one: less than 40 + 150
	s.show(at)
	if s.freezes.n != 0 {
		t.Fatalf("%+v", s.freezes)
	}
	at += ms(200)
	s.show(at)
	s.show(at + 6*time.Second)
	if s.freezes.n != 1 || s.freezes.time != ms(200) || s.pause.n != 1 || s.pause.time != 6*time.Second {
		t.Errorf("%+v %+v", s.freezes, s.pause)
	}
}

// observing is a sender whose connection measures.
type observing struct {
	feedback
	says signaling.Observation
}

func (o *observing) Observe() signaling.Observation { return o.says }

// What has ended still counts, and no total ever falls.
func TestTotalsNeverFall(t *testing.T) {
	room, v, a := call("alice", 5*time.Second)
	from := &observing{feedback{room: room, nacks: map[uint16]int{}}, signaling.Observation{
		PacketsLost: 7, Jitter: ms(3), PLIs: 2, RoundTrip: ms(31), ICEState: "connected", LocalCandidate: "host", RemoteCandidate: "relay", Protocol: "udp",
	}}
	v.in.Feedback = from
	v.stop(ms(5100))
	a.stop(ms(5100))
	room.left(ms(5100), "alice")
	room.joined(ms(9000), "bob")
	var list []Status
	cfg := config(newMemory())
	cfg.OnStatus = func(s Status) {
		list = append(list, s)
		if len(list) == 3 {
			from.says.PacketsLost = 5 // duplicates
		}
	}
	if _, err := run(t, cfg, room); err != nil {
		t.Fatal(err)
	}
	var before Totals
	for _, s := range list {
		if n := s.Video; n.Packets < before.Packets || n.Lost < before.Lost || n.Frames < before.Frames || n.PLIs < before.PLIs {
			t.Errorf("at %v %+v after %+v", s.Time, n, before)
		}
		before = s.Video
	}
	if want := (Totals{Packets: 250, Bytes: before.Bytes, Lost: 7, Frames: 125, KeyFrames: 1, Waited: before.Waited, PLIs: 2}); before != want {
		t.Errorf("in the end %+v, want %+v", before, want)
	}
	c := list[2].Participants[0].Connections
	if len(c) != 1 || c[0].RoundTrip != ms(31) || c[0].RemoteCandidate != "relay" || c[0].ICEState != "connected" {
		t.Errorf("%+v", c)
	}
}
