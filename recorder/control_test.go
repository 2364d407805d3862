package recorder

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

func TestStatusIsAnswered(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 2*time.Second)
	var answers []answer
	room.ask(ms(500), "alice", "status", "", &answers)
	for _, action := range []string{"pause", "stop", "mark", "start", "explode"} {
		room.ask(ms(600), "alice", action, "x", &answers)
	}
	room.say(ms(700), "alice", "messages", true, `{"type":"recording","state":"started"}`, &answers)
	room.say(ms(700), "alice", "messages", true, `{"type":"chat","action":"stop","x":"recording"}`, &answers)
	s, err := run(t, messageConfig(m), room)
	if err != nil {
		t.Fatal(err)
	}
	no := func(action, why string) answer {
		return answer{"recording", StateStarted, "rec", action, false, why, 600, false}
	}
	want := []answer{
		{"recording", StateStarted, "rec", "status", true, "", 500, false},
		no("pause", "not allowed"), no("stop", "not allowed"), no("mark", "not allowed"), no("start", "not allowed"),
		no("explode", "unknown action"),
	}
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	got := s.Manifest()
	if got.Marks != nil || got.Pauses != nil || got.StoppedBy != "" || got.Files[0].Tracks[0].Frames.Written != 50 {
		t.Errorf("it was obeyed: %+v", got)
	}
}

// Requests that come too fast are not answered.
func TestRequestsAreLimited(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 5*time.Second)
	var answers []answer
	for i := range 1000 {
		room.ask(ms(1000+i), "alice", "status", "", &answers)
	}
	room.ask(ms(1500), "bob", "status", "", &answers)
	room.ask(ms(5000), "alice", "status", "", &answers)
	if _, err := run(t, messageConfig(m), room); err != nil {
		t.Fatal(err)
	}
	if n := len(answers); n < requestBurst || n > requestBurst+requestRate+4 || answers[n-1].ElapsedMS != 5000 {
		t.Errorf("%d answers, the last at %d ms", n, answers[n-1].ElapsedMS)
	}
}

// A pause leaves out what was captured in it and nothing else; the picture comes
// back with a keyframe, which is asked for.
func TestPauseLeavesAnHonestGap(t *testing.T) {
	m := newMemory()
	room := &script{}
	room.joined(0, "alice")
	f := &feedback{room: room, nacks: map[uint16]int{}}
	v := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "v", Connection: 1, SSRC: 1, Kind: 2, Feedback: f})
	a := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "a", Connection: 1, SSRC: 2, Kind: 1})
	for at := ms(120); at < 10*time.Second; at += ms(40) {
		v.frame(at, at == ms(120) || at == ms(120)+ms(40)*160) // 6.52 s
		v.rtp += 3600
	}
	a.audio(ms(110), 10*time.Second)
	var answers []answer
	var states []string
	room.ask(3*time.Second, "alice", "pause", "", &answers)
	room.ask(4*time.Second, "bob", "status", "", &answers)
	room.say(4*time.Second, "bob", "messages", true, "off the record", nil)
	room.ask(6*time.Second, "bob", "resume", "", &answers)
	cfg := messageConfig(m)
	cfg.AllowControl = true
	cfg.OnState = func(s string) { states = append(states, s) }
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, a := range answers {
		said = append(said, fmt.Sprint(a.InReplyTo, " ", a.State, " ", a.OK))
	}
	if want := []string{"pause paused true", "status paused true", "resume started true"}; !slices.Equal(said, want) {
		t.Errorf("answers %q", said)
	}
	if !slices.Equal(states, []string{StatePaused, StateStarted}) {
		t.Errorf("states %q", states)
	}
	got := s.Manifest()
	three := int64(3000)
	if diff := cmp.Diff([]PauseEntry{{3000, &three, "alice", "bob"}}, got.Pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	if len(got.Files) != 1 {
		t.Fatalf("%d files", len(got.Files))
	}
	offset := got.Files[0].OffsetMS
	for _, tr := range got.Files[0].Tracks {
		if len(tr.Gaps) != 1 || tr.Gaps[0].Reason != GapPaused || tr.Packets.Discarded["paused"] == 0 {
			t.Errorf("%s: gaps %+v, packets %+v", tr.Kind, tr.Gaps, tr.Packets)
			continue
		}
		g := tr.Gaps[0]
		end := int64(6000)
		if tr.Kind == "video" {
			end = 6520
		}
		if from, to := g.AtMS+offset, g.AtMS+offset+g.DurationMS; from < 2960 || from > 3060 || to < end-25 || to > end+25 {
			t.Errorf("%s: a gap from %d to %d ms", tr.Kind, from, to)
		}
	}
	keys := map[int]bool{}
	for _, w := range readBack(t, m.files["alice.webm"].data) {
		at := w.at.Milliseconds() + offset
		if at > 3020 && at < 5990 {
			t.Errorf("track %d has a frame at %d ms", w.track, at)
		}
		if at >= 5990 && !keys[w.track] {
			keys[w.track] = true
			if !w.key {
				t.Errorf("track %d comes back at %d ms without a keyframe", w.track, at)
			}
		}
	}
	if len(keys) != 2 {
		t.Errorf("came back: %v", keys)
	}
	if !slices.ContainsFunc(f.keyframes, func(at time.Duration) bool { return at >= 6*time.Second && at < 6*time.Second+ms(50) }) {
		t.Errorf("keyframes were asked for at %v", f.keyframes)
	}
	for _, e := range linesOf(t, m, "messages.jsonl") {
		if e.Text != nil && *e.Text == "off the record" {
			t.Error("what was said in the pause is in the file")
		}
	}
	if got.Messages.Dropped[dropPaused] == 0 {
		t.Errorf("messages %+v", got.Messages)
	}
}

// A session that ends in a pause says so.
func TestPauseUntilTheEnd(t *testing.T) {
	m := newMemory()
	room, v, a := call("alice", 6*time.Second)
	v.stop(ms(6500))
	a.stop(ms(6500))
	room.ask(2*time.Second, "alice", "pause", "", nil)
	cfg := messageConfig(m)
	cfg.AllowControl = true
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if p := got.Pauses; len(p) != 1 || p[0].DurationMS == nil || *p[0].DurationMS != 4500 {
		t.Errorf("pauses %+v", p)
	}
	if d := got.Files[0].DurationMS; d < 1850 || d > 1950 {
		t.Errorf("the file is %d ms long", d)
	}
	for _, tr := range got.Files[0].Tracks {
		if len(tr.Gaps) != 1 || tr.Gaps[0].Reason != GapPaused || tr.Gaps[0].DurationMS < 4000 {
			t.Errorf("%s: gaps %+v", tr.Kind, tr.Gaps)
		}
	}
}

func TestStopEndsTheSession(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 10*time.Second)
	var answers []answer
	room.ask(2*time.Second, "bob", "stop", "", &answers)
	cfg := messageConfig(m)
	cfg.AllowControl = true
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if got.StoppedBy != "bob" || got.State != StateComplete || !got.EndedAt.Equal(t0.Add(2*time.Second)) {
		t.Errorf("manifest %+v", got)
	}
	if len(answers) != 1 || answers[0].State != StateStopped || !answers[0].OK {
		t.Errorf("answers %+v", answers)
	}
	if d := got.Files[0].DurationMS; d < 1800 || d > 1950 {
		t.Errorf("the file is %d ms long", d)
	}
}

// A mark becomes a chapter of each file that is open, at the same moment of the
// session, and of no other.
func TestMarksBecomeChapters(t *testing.T) {
	m := newMemory()
	room, v, a := call("alice", 3*time.Second)
	v.stop(ms(3200))
	a.stop(ms(3200))
	room.left(ms(3200), "alice")
	room.joined(ms(900), "bob")
	b := room.start(ms(900), &signaling.Track{Participant: "bob", Stream: "c", ID: "a", Connection: 2, SSRC: 3, Kind: 1})
	b.audio(ms(1000), 9*time.Second)
	room.ask(ms(2000), "bob", "mark", " go\x00al\u202e\n1 ", nil)
	room.ask(ms(8000), "bob", "mark", "", nil)
	cfg := messageConfig(m)
	cfg.AllowControl = true
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if diff := cmp.Diff([]MarkEntry{{2000, "goal 1", "bob"}, {8000, "Mark 2", "bob"}}, got.Marks); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	want := map[string][]webm.Chapter{
		"alice.webm": {{AtMS: 1890, Name: "goal 1"}},
		"bob.webm":   {{AtMS: 1000, Name: "goal 1"}, {AtMS: 7000, Name: "Mark 2"}},
	}
	for name, want := range want {
		data := m.files[name].data
		rep, err := webm.Inspect(bytes.NewReader(data), int64(len(data)))
		if err != nil || len(rep.Faults) > 0 || !rep.Seekable || !rep.Finalized {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
		if diff := cmp.Diff(want, rep.Chapters); diff != "" {
			t.Errorf("chapters of %s (-want +got):\n%s", name, diff)
		}
	}
}

// Marks are on the session's clock in files that follow each other too: each is in
// exactly one.
func TestMarksOfRotatedFiles(t *testing.T) {
	m := newMemory()
	room := &script{}
	room.joined(0, "alice")
	v := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "v", Connection: 1, SSRC: 1, Kind: 2})
	for at := ms(120); at < 10*time.Second; at += ms(40) {
		v.frame(at, (at-ms(120))%(2*time.Second) == 0)
		v.rtp += 3600
	}
	for i := range 19 {
		room.ask(ms(500*i+550), fmt.Sprint("p", i), "mark", fmt.Sprint(i), nil)
	}
	cfg := messageConfig(m)
	cfg.AllowControl, cfg.RotateEvery = true, 2*time.Second
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if len(got.Files) < 4 || len(got.Marks) != 19 {
		t.Fatalf("%d files, %d marks", len(got.Files), len(got.Marks))
	}
	seen := map[string]int64{}
	for _, f := range got.Files {
		rep, err := webm.Inspect(bytes.NewReader(m.files[f.Path].data), int64(len(m.files[f.Path].data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range rep.Chapters {
			if _, twice := seen[c.Name]; twice {
				t.Errorf("mark %s is in two files", c.Name)
			}
			seen[c.Name] = c.AtMS + f.OffsetMS
		}
	}
	for _, k := range got.Marks {
		if at, ok := seen[k.Name]; !ok || at < k.AtMS-1 || at > k.AtMS+1 {
			t.Errorf("mark %s of %d ms is at %d ms, %v", k.Name, k.AtMS, at, ok)
		}
	}
}
