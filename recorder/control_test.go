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

// A stop ends the files within the time for which packets are waited for; the
// session goes on, and ends by its own conditions.
func TestStopEndsTheFiles(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 10*time.Second)
	var answers []answer
	var states []string
	room.ask(2*time.Second, "bob", "stop", "", &answers)
	room.ask(ms(2100), "bob", "stop", "", &answers)
	room.ask(ms(2200), "bob", "pause", "", &answers)
	room.ask(ms(6000), "bob", "status", "", &answers)
	cfg := messageConfig(m)
	cfg.AllowControl = true
	cfg.OnState = func(s string) { states = append(states, s) }
	final := time.Duration(0)
	cfg.OnStatus = func(s Status) {
		if f := m.files["alice.webm"]; f != nil && f.closed && final == 0 {
			final = s.Time
		}
	}
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if got.StoppedBy != "bob" || got.State != StateComplete || !got.EndedAt.After(t0.Add(9*time.Second)) || len(got.Files) != 1 {
		t.Errorf("manifest %+v", got)
	}
	if p := got.Stops; len(p) != 1 || p[0].AtMS != 2000 || *p[0].DurationMS < 7000 || p[0].By != "bob" || len(got.Pauses) != 0 {
		t.Errorf("stops %+v, pauses %+v", p, got.Pauses)
	}
	var said []string
	for _, a := range answers {
		said = append(said, fmt.Sprint(a.InReplyTo, " ", a.State, " ", a.OK))
	}
	if want := []string{"stop stopped true", "stop stopped true", "pause stopped false", "status stopped true"}; !slices.Equal(said, want) {
		t.Errorf("answers %q", said)
	}
	if !slices.Equal(states, []string{StateStopped}) {
		t.Errorf("states %q", states)
	}
	if f := got.Files[0]; f.DurationMS < 1800 || f.DurationMS > 1950 || f.Part != 0 || len(f.Tracks[0].Gaps) != 0 {
		t.Errorf("the file is %+v", f)
	}
	if final < 2*time.Second || final > 7*time.Second {
		t.Errorf("the file is final at %v", final)
	}
}

// A start after a stop begins new files, with a keyframe; also when the old ones
// still wait for packets.
func TestStartAfterStopBeginsNewFiles(t *testing.T) {
	for _, again := range []time.Duration{ms(2500), 7 * time.Second} {
		t.Run(again.String(), func(t *testing.T) {
			m := newMemory()
			room := &script{}
			room.joined(0, "alice")
			v := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "v", Connection: 1, SSRC: 1, Kind: 2})
			a := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "a", Connection: 1, SSRC: 2, Kind: 1})
			for i := range 250 {
				v.frame(ms(120)+ms(40)*time.Duration(i), i%25 == 0)
				v.rtp += 3600
			}
			a.audio(ms(110), ms(10_100))
			v.stop(ms(10_500))
			a.stop(ms(10_500))
			var states []string
			room.ask(2*time.Second, "bob", "stop", "", nil)
			room.say(ms(2300), "bob", "messages", true, "off the record", nil)
			room.ask(again, "carol", "start", "", nil)
			cfg := messageConfig(m)
			cfg.AllowControl = true
			cfg.OnState = func(s string) { states = append(states, s) }
			s, err := run(t, cfg, room)
			if err != nil {
				t.Fatal(err)
			}
			got := s.Manifest()
			if got.StoppedBy != "" || got.State != StateComplete || len(got.Files) != 2 || len(got.Unrecorded) != 0 {
				t.Fatalf("manifest %+v", got)
			}
			if p := got.Stops; len(p) != 1 || *p[0].DurationMS != (again-2*time.Second).Milliseconds() || p[0].ResumedBy != "carol" {
				t.Errorf("stops %+v", p)
			}
			if !slices.Equal(states, []string{StateStopped, StateStarted}) {
				t.Errorf("states %q", states)
			}
			for i, name := range []string{"alice.webm", "alice-2.webm"} {
				f := got.Files[i]
				if f.Path != name || f.Part != 0 || f.Continues != "" || len(f.Tracks) != 2 {
					t.Fatalf("file %d: %+v", i, f)
				}
				for _, w := range readBack(t, m.files[name].data) {
					at := w.at + time.Duration(f.OffsetMS)*time.Millisecond
					if i == 0 && at > ms(2020) || i == 1 && at < again-ms(10) {
						t.Errorf("%s has a frame at %v", name, at)
					}
				}
				for _, tr := range f.Tracks {
					if n := tr.Packets; n.Received != n.Written+n.Late+n.Duplicate+n.Discarded["paused"] {
						t.Errorf("%s: packets %+v", name, n)
					}
					if len(tr.Gaps) > 0 && i == 0 {
						t.Errorf("%s: gaps %+v", name, tr.Gaps)
					}
				}
			}
			if end := got.Files[1].OffsetMS + got.Files[1].DurationMS; end < 9900 {
				t.Errorf("the second ends at %d ms", end)
			}
			for _, e := range linesOf(t, m, "messages.jsonl") {
				if e.Text != nil && *e.Text == "off the record" {
					t.Error("what was said while it was stopped is in the file")
				}
			}
		})
	}
}

// Stops and starts in quick succession, among rotations and pauses: no frame of the
// time between is in a file, and every packet is accounted for.
func TestStopsAmongRotations(t *testing.T) {
	for step := ms(70); step < ms(900); step += ms(70) {
		m := newMemory()
		room := &script{}
		room.joined(0, "alice")
		v := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "v", Connection: 1, SSRC: 1, Kind: 2})
		a := room.start(ms(100), &signaling.Track{Participant: "alice", Stream: "c", ID: "a", Connection: 1, SSRC: 2, Kind: 1})
		for i := range 250 {
			v.frame(ms(120)+ms(40)*time.Duration(i), i%10 == 0)
			v.rtp += 3600
		}
		a.audio(ms(110), ms(10_100))
		at := ms(1000)
		for n := range 8 {
			room.ask(at, "bob", []string{"stop", "start", "pause", "stop", "start", "pause", "resume", "start"}[n], "", nil)
			at += step
		}
		v.stop(ms(10_500))
		a.stop(ms(10_500))
		room.left(ms(10_600), "alice")
		cfg := messageConfig(m)
		cfg.AllowControl = true
		cfg.RotateEvery = time.Second
		s, err := run(t, cfg, room)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Manifest()
		if len(got.Stops) != 2 || len(got.Pauses) != 2 || got.StoppedBy != "" {
			t.Errorf("%v: stops %+v, pauses %+v", step, got.Stops, got.Pauses)
		}
		var received, counted int64
		for _, u := range got.Unrecorded {
			received += u.Packets.Received
			counted += u.Packets.Discarded["paused"]
		}
		for _, f := range got.Files {
			for _, w := range readBack(t, m.files[f.Path].data) {
				at := w.at + time.Duration(f.OffsetMS)*time.Millisecond
				for _, p := range slices.Concat(got.Stops, got.Pauses) {
					if from := time.Duration(p.AtMS) * time.Millisecond; at > from+ms(20) && at < from+time.Duration(*p.DurationMS)*time.Millisecond-ms(20) {
						t.Errorf("%v: %s has a frame at %v", step, f.Path, at)
					}
				}
			}
			for _, tr := range f.Tracks {
				n := tr.Packets
				received += n.Received
				counted += n.Written + n.Late + n.Duplicate
				for _, d := range n.Discarded {
					counted += d
				}
			}
		}
		if received != counted || received == 0 {
			t.Errorf("%v: %d packets received, %d accounted for", step, received, counted)
		}
		if last := got.Files[len(got.Files)-1]; last.OffsetMS+last.DurationMS < 9900 {
			t.Errorf("%v: the last file ends at %d ms", step, last.OffsetMS+last.DurationMS)
		}
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
