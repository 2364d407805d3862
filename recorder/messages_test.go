package recorder

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/signaling"
)

// say puts a message into the room, and notes what is answered.
func (r *script) say(at time.Duration, id, label string, text bool, data string, answers *[]answer) {
	m := &signaling.Message{Label: label, Text: text, Data: []byte(data), To: "rec"}
	if answers != nil {
		m.Reply = func(b []byte) {
			var a answer
			if err := json.Unmarshal(b, &a); err != nil {
				panic(err)
			}
			*answers = append(*answers, a)
		}
	}
	r.add(signaling.Event{Kind: signaling.MessageArrived, Time: t0.Add(at), Participant: id, Message: m})
}

// ask asks the recorder for something.
func (r *script) ask(at time.Duration, id, action, name string, answers *[]answer) {
	b, err := json.Marshal(request{"recording", action, name})
	if err != nil {
		panic(err)
	}
	r.say(at, id, "messages", true, string(b), answers)
}

func linesOf(tb testing.TB, m *memory, name string) []MessageEntry {
	tb.Helper()
	f := m.files[name]
	if f == nil {
		tb.Fatalf("there is no %s", name)
	}
	var out []MessageEntry
	for line := range bytes.Lines(f.data) {
		var e MessageEntry
		if err := json.Unmarshal(line, &e); err != nil {
			tb.Fatalf("line %q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

func messageConfig(m *memory) Config {
	cfg := config(m)
	cfg.Messages = m
	return cfg
}

func TestMessagesAreKept(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 3*time.Second)
	room.joined(ms(50), "bob\xff")
	room.say(ms(200), "alice", "messages", true, `{"chat":"<hi> & 'bye'"}`, nil)
	room.say(ms(200), "bob\xff", "game", false, "\x00\x01\xff", nil)
	room.say(ms(1234), "alice", strings.Repeat("é", 200), true, "", nil)
	room.say(ms(1300), "alice", "messages", true, "no \xff UTF-8", nil)
	room.say(ms(1400), "alice", "messages", true, strings.Repeat("x", MaxMessage+1), nil)
	s, err := run(t, messageConfig(m), room)
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) *string { return &s }
	data := func(s string) *[]byte { b := []byte(s); return &b }
	want := []MessageEntry{
		{200, "alice", "messages", text(`{"chat":"<hi> & 'bye'"}`), nil},
		{200, "bob\uFFFD", "game", nil, data("\x00\x01\xff")},
		{1234, "alice", strings.Repeat("é", MaxLabel/2), text(""), nil},
		{1300, "alice", "messages", nil, data("no \xff UTF-8")},
	}
	if diff := cmp.Diff(want, linesOf(t, m, "messages.jsonl")); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	got := s.Manifest().Messages
	wantEntry := &MessagesEntry{Path: "messages.jsonl", Count: 4, Bytes: int64(len(m.files["messages.jsonl"].data)), Dropped: map[string]int64{dropTooLarge: 1}}
	if diff := cmp.Diff(wantEntry, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

// What has been said is in the file before a chunk may be lost, though nothing
// else happens.
func TestMessagesAreWrittenInTime(t *testing.T) {
	m := newMemory()
	room := &script{}
	room.joined(0, "alice")
	room.say(ms(100), "alice", "messages", true, "one", nil)
	room.end = t0.Add(5 * time.Second)
	late := false
	room.before = func(now time.Time) {
		if f := m.files["messages.jsonl"]; now.Sub(t0) > ms(1100) && (f == nil || len(f.data) == 0) {
			late = true
		}
	}
	if _, err := run(t, messageConfig(m), room); err == nil {
		t.Error("a session without media has no error")
	}
	if late {
		t.Error("a second later it is not in the file")
	}
}

// A participant who says too much costs their own messages, not others'.
func TestMessagesAreBounded(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 2*time.Second)
	for i := range 5 {
		room.say(ms(1000+i), "alice", "m", false, strings.Repeat("x", MaxMessage), nil)
	}
	room.say(ms(1500), "bob", "m", true, "me too", nil)
	s, err := NewSession(messageConfig(m))
	if err != nil {
		t.Fatal(err)
	}
	room.before = func(now time.Time) {
		if p := s.byID["alice"]; p != nil && now.Sub(t0) < ms(900) {
			p.said = MaxMessageBytes - 2*MaxMessage
		}
	}
	if err := s.Run(t.Context(), room); err != nil {
		t.Fatal(err)
	}
	if got := s.Manifest().Messages; got.Count != 3 || got.Dropped[dropLimit] != 3 {
		t.Errorf("%d messages, dropped %v; want 3 and 3", got.Count, got.Dropped)
	}
	lines := linesOf(t, m, "messages.jsonl")
	if last := lines[len(lines)-1]; last.Participant != "bob" || *last.Text != "me too" {
		t.Errorf("the last is %+v", last)
	}
}

// A disk that takes no messages does not end the recording of media.
func TestMessagesThatCannotBeWritten(t *testing.T) {
	m := newMemory()
	m.broken = "messages.jsonl"
	room, _, _ := call("alice", 3*time.Second)
	for i := range 5 {
		room.say(ms(500*i+300), "alice", "m", true, "x", nil)
	}
	s, err := run(t, messageConfig(m), room)
	if !isStorage(err) {
		t.Errorf("the error is %v", err)
	}
	got := s.Manifest()
	if got.Messages.Error == "" || got.Messages.Dropped[dropStorage] != 5 || got.Messages.Count != 0 {
		t.Errorf("messages: %+v", got.Messages)
	}
	if len(got.Files) != 1 || got.Files[0].Tracks[0].Frames.Written != 75 {
		t.Errorf("files: %+v", got.Files)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"type":"recording","action":"mark","name":"\ud800 x"}`), true, "messages")
	f.Add([]byte("\xff\xfe"), true, "\xff")
	f.Add([]byte(`{"type":"recording","action":"pause"}`), false, "")
	f.Fuzz(func(t *testing.T, data []byte, text bool, label string) {
		m := newMemory()
		room := &script{}
		room.joined(0, "alice")
		room.say(ms(10), "alice", label, text, string(data), nil)
		room.say(ms(20), "alice", label, text, string(data), nil)
		cfg := messageConfig(m)
		cfg.AllowControl = true
		s, _ := run(t, cfg, room) // which has no media
		got := s.Manifest()
		for _, k := range got.Marks {
			if k.Name == "" || len(k.Name) > MaxMarkName || cleanName(k.Name) != k.Name {
				t.Errorf("a mark is named %q", k.Name)
			}
		}
		if c := got.Messages; c == nil || c.Count+c.Dropped[dropPaused]+c.Dropped[dropTooLarge] == 0 {
			t.Errorf("messages %+v", c)
		}
		if m.files["messages.jsonl"] == nil {
			return
		}
		for _, e := range linesOf(t, m, "messages.jsonl") {
			if e.Text != nil && *e.Text != string(data) || e.Base64 != nil && !bytes.Equal(*e.Base64, data) {
				t.Errorf("%q became %+v", data, e)
			}
		}
	})
}

// Of pictures that are reordered, what was left out is not referred to by what is
// in the file: up to the pause, and from a keyframe after it, all are there.
func TestPauseOfReorderedPictures(t *testing.T) {
	for shift := 0; shift < 200; shift += 10 {
		m := newMemory()
		r := &script{}
		v := r.start264(0)
		var order []int
		for i := range 6 { // a keyframe each 25 pictures
			at := ms(200 + 1000*i)
			v.picture(at, 'I', 25*i)
			v.pyramids(at+ms(40), 25*i+1, 6)
			order = append(order, 25*i)
			for g := range 6 {
				for _, k := range []int{3, 1, 0, 2} {
					order = append(order, 25*i+1+4*g+k)
				}
			}
		}
		r.ask(ms(1500+shift), "p", "pause", "", nil)
		r.ask(ms(3400+shift), "p", "resume", "", nil)
		cfg := h264Config(m)
		cfg.AllowControl = true
		s, err := run(t, cfg, r)
		if err != nil {
			t.Fatal(err)
		}
		got := pictures(t, m.files[s.Manifest().Files[0].Path].data)
		n := 0
		for n < len(got) && got[n] == order[n] {
			n++
		}
		back := slices.Index(order, 100) // the keyframe at 4.2 s
		if n < 28 || n > 42 || !slices.Equal(got[n:], order[back:]) {
			t.Errorf("pause at %d ms: %d pictures, then %v", 1500+shift, n, got[n:])
		}
	}
}
