package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

// call makes a room with a participant who sends sound and picture for the
// time.
func call(id string, d time.Duration) (*script, *sender, *sender) {
	r := &script{}
	r.joined(0, id)
	v := r.start(ms(100), &signaling.Track{Participant: id, Stream: "cam", ID: "v", Connection: 1, SSRC: 1, Kind: media.Video})
	a := r.start(ms(100), &signaling.Track{Participant: id, Stream: "cam", ID: "a", Connection: 1, SSRC: 2, Kind: media.Audio})
	v.video(ms(120), ms(120)+d)
	a.audio(ms(110), ms(110)+d)
	return r, v, a
}

func TestCallBecomesOneFile(t *testing.T) {
	m := newMemory()
	room, v, a := call("alice", 3*time.Second)
	v.stop(ms(3200))
	a.stop(ms(3200))
	room.left(ms(3200), "alice")
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if len(got.Files) != 1 {
		t.Fatalf("%d files: %+v", len(got.Files), got)
	}
	got.Files[0].SHA256, got.Files[0].Bytes = "", 0
	left := int64(3200)
	want := Manifest{
		Version: 1, Room: "standup", URL: "ws://localhost/standup", State: StateComplete,
		StartedAt: t0, EndedAt: t0.Add(ms(3200)), Recorder: "roomtape test",
		Files: []FileEntry{{
			Path: "alice.webm", Participant: "alice", Stream: "cam", OffsetMS: 110, DurationMS: 3010,
			Tracks: []TrackEntry{{
				Kind: "video", Codec: "VP8", Number: 1, ClockRate: 90000, Width: 640, Height: 480,
				Packets: PacketCounts{Received: 150, Written: 150},
				Frames:  FrameCounts{Written: 75, Key: 1},
				Gaps:    []Gap{}, Sizes: []Size{{AtMS: 10, Width: 640, Height: 480}},
			}, {
				Kind: "audio", Codec: "Opus", Number: 2, ClockRate: 48000,
				Packets: PacketCounts{Received: 150, Written: 150},
				Frames:  FrameCounts{Written: 150, Key: 150},
				Gaps:    []Gap{}, Sizes: []Size{},
			}},
		}},
		Participants: []ParticipantEntry{{ID: "alice", LeftMS: &left}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	report, err := webm.Inspect(bytes.NewReader(m.files["alice.webm"].data), int64(len(m.files["alice.webm"].data)))
	if err != nil || report.DurationMS != 3010 || len(report.Faults) > 0 || !report.Seekable {
		t.Errorf("inspected: %+v, %v", report, err)
	}
	if diff := cmp.Diff(s.Manifest(), manifestOf(t, m)); diff != "" {
		t.Errorf("the manifest in the store (-want +got):\n%s", diff)
	}
	frames := readBack(t, m.files["alice.webm"].data)
	if len(frames) != 225 {
		t.Errorf("%d frames in the file, want 225", len(frames))
	}
	if !slices.IsSortedFunc(frames, func(a, b written) int { return int(a.at - b.at) }) {
		t.Error("frames are not in the order of time")
	}
}

func TestFilesOfTwoRunsAreIdentical(t *testing.T) {
	var first []byte
	for range 2 {
		m := newMemory()
		room, _, _ := call("alice", 3*time.Second)
		if _, err := run(t, config(m), room); err != nil {
			t.Fatal(err)
		}
		data := m.files["alice.webm"].data
		if first == nil {
			first = data
		} else if !bytes.Equal(first, data) {
			t.Error("two runs give different bytes")
		}
	}
}

func TestRejoinUnderSameIDGetsFileOfItsOwn(t *testing.T) {
	m := newMemory()
	room, v, a := call("alice", time.Second)
	v.stop(ms(1200))
	a.stop(ms(1200))
	room.left(ms(1200), "alice")
	room.joined(ms(2000), "alice")
	v = room.start(ms(2100), &signaling.Track{Participant: "alice", Stream: "cam", Connection: 2, SSRC: 3, Kind: media.Video})
	v.video(ms(2200), ms(3200))
	v.stop(ms(3300))
	room.left(ms(3300), "alice")
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alice.webm", "alice-2.webm"}, m.order); diff != "" {
		t.Error(diff)
	}
	var stays []string
	for _, p := range s.Manifest().Participants {
		stays = append(stays, fmt.Sprintf("%s %d-%d", p.ID, p.JoinedMS, *p.LeftMS))
	}
	if diff := cmp.Diff([]string{"alice 0-1200", "alice 2000-3300"}, stays); diff != "" {
		t.Error(diff)
	}
}

func TestPolicies(t *testing.T) {
	empty := func() *script {
		r := &script{end: t0.Add(time.Hour)}
		r.joined(0, "listener")
		return r
	}
	once := func() *script {
		r, v, a := call("alice", 2*time.Second)
		v.stop(ms(2500))
		a.stop(ms(2500))
		r.left(ms(2600), "alice")
		r.end = t0.Add(time.Hour)
		return r
	}
	for _, c := range []struct {
		name string
		room *script
		set  func(*Config)
		want error
		end  time.Duration // 0: with the room
	}{
		{"no media in time", empty(), func(c *Config) { c.Wait = time.Minute }, ErrNoMedia, time.Minute},
		{"nobody sends, from the start", empty(), func(c *Config) { c.Wait = time.Minute; c.Start = t0.Add(-time.Second) }, ErrNoMedia, 59 * time.Second},
		{"nobody ever there does not count as empty", empty(), func(c *Config) { c.UntilEmpty = time.Second }, ErrNoMedia, 0},
		{"waits for ever", empty(), func(*Config) {}, ErrNoMedia, 0},
		{"empty", once(), func(c *Config) { c.UntilEmpty = time.Minute; c.Wait = time.Second }, nil, time.Minute + ms(2600)},
		{"never empty", once(), func(*Config) {}, nil, 0},
		{"duration", once(), func(c *Config) { c.Duration = ms(1500) }, nil, ms(1500)},
		{"duration without media", empty(), func(c *Config) { c.Duration = ms(1500) }, ErrNoMedia, ms(1500)},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(newMemory())
			c.set(&cfg)
			s, err := run(t, cfg, c.room)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			m := s.Manifest()
			if got := m.EndedAt.Sub(t0); got != c.end && (c.end != 0 || got < time.Hour-manifestRefresh) {
				t.Errorf("ended after %v, want %v", got, c.end)
			}
			if want := map[bool]string{true: StateComplete, false: StateIncomplete}[c.want == nil]; m.State != want {
				t.Errorf("state %q, want %q", m.State, want)
			}
		})
	}
}

func TestLostRoomIsIncomplete(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", time.Second)
	room.ended = fmt.Errorf("%w: gone", signaling.ErrLost)
	s, err := run(t, config(m), room)
	if !errors.Is(err, signaling.ErrLost) {
		t.Errorf("error %v", err)
	}
	got := s.Manifest()
	if got.State != StateIncomplete || got.Reason != err.Error() {
		t.Errorf("state %q for reason %q", got.State, got.Reason)
	}
	if n := len(readBack(t, m.files["alice.webm"].data)); n != 75 {
		t.Errorf("%d frames, want 75", n)
	}
}

func TestEventsFromBeforeTheStartAreNotTakenForLater(t *testing.T) {
	cfg := config(newMemory())
	cfg.Start = t0.Add(time.Second)
	room, _, _ := call("alice", 3*time.Second)
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Manifest(); !m.StartedAt.Equal(t0) || m.Files[0].OffsetMS != 110 {
		t.Errorf("started at %v, offset %d", m.StartedAt, m.Files[0].OffsetMS)
	}
}
