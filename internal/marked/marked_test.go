package marked

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

func testClip(t *testing.T) *synthetic.Clip {
	t.Helper()
	const dir = "../../cmd/roomtape/clips/"
	video, err := os.ReadFile(dir + "alice.ivf")
	if err != nil {
		t.Fatal(err)
	}
	audio, err := os.ReadFile(dir + "alice.ogg")
	if err != nil {
		t.Fatal(err)
	}
	clip, err := synthetic.ReadClip(bytes.NewReader(video), bytes.NewReader(audio))
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

func TestMarksAreReadAndGuardTheFrame(t *testing.T) {
	clip := testClip(t)
	for name, b := range map[string][]byte{
		"video": markVideo(clip.Video[1], 7, 300),
		"audio": markAudio(clip.Audio[1], 7, 300),
	} {
		if conn, n, ok := read(b); !ok || conn != 7 || n != 300 {
			t.Errorf("%s: connection %d, frame %d, %v", name, conn, n, ok)
		}
		for _, i := range []int{0, len(b) / 2, len(b) - 5, len(b) - 1} {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, _, ok := read(bad); ok {
				t.Errorf("%s: a wrong byte %d goes unnoticed", name, i)
			}
		}
		if _, _, ok := read(b[:size-1]); ok {
			t.Errorf("%s: a mark is read in too few bytes", name)
		}
	}
}

func TestSourceGoesToAKeyframeWhenAsked(t *testing.T) {
	clip := testClip(t)
	log, err := NewLog(clip)
	if err != nil {
		t.Fatal(err)
	}
	s := log.Source("alice")("bot")
	for n, want := range []struct{ asked, key bool }{{false, true}, {false, false}, {true, true}, {false, false}} {
		if f := s.Picture(n, want.asked); isKey(f) != want.key {
			t.Errorf("frame %d is a keyframe: %v", n, isKey(f))
		}
	}
	if _, err := NewLog(synthetic.NewClip(media.VP9, 2, 2, time.Second, [][]byte{{0}}, nil)); err == nil {
		t.Error("a clip of VP9 is taken")
	}
}

// session plays frames of alice's at 100 a second, without a network, and keeps
// those of two connections that keep says. The second connection begins when the
// first has sent half of what it sends.
type session struct {
	t   *testing.T
	log *Log
	// sent by connection, video only
	frames [2][][]byte
}

const perConn = 400

func newSession(t *testing.T) *session {
	log, err := NewLog(testClip(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, log: log}
	for i := range s.frames {
		source := log.Source("alice")("bot").(*conn)
		for n := range perConn {
			s.frames[i] = append(s.frames[i], source.Picture(n, false))
			source.sent[0][n].at = time.Duration(i*perConn/2+n) * 10 * time.Millisecond
		}
	}
	return s
}

// check writes a file of each connection with the frames that keep names, and
// checks them as those of a participant.
func (s *session) check(participant string, keep func(conn, n int) (times int)) *Result {
	s.t.Helper()
	dir := s.t.TempDir()
	var m recorder.Manifest
	for i := range s.frames {
		if keep(i, perConn-1) == 0 && keep(i, 0) == 0 {
			continue // no file is made for nothing
		}
		name := string(rune('a'+i)) + ".webm"
		m.Files = append(m.Files, recorder.FileEntry{Path: name, Participant: participant})
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			s.t.Fatal(err)
		}
		w, err := webm.NewWriter(f, webm.Config{})
		if err != nil {
			s.t.Fatal(err)
		}
		track, err := w.AddTrack(media.Track{Codec: media.VP8, Width: 480, Height: 270})
		if err != nil {
			s.t.Fatal(err)
		}
		for n, b := range s.frames[i] {
			for range keep(i, n) {
				if err := w.WriteFrame(track, media.Frame{Data: b, Key: isKey(b), Time: time.Duration(n) * 10 * time.Millisecond}); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			s.t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recorder.ManifestName), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	r, err := s.log.Check(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	s := newSession(t)
	all := func(int, int) int { return 1 }
	// Keyframes are every 15 frames.
	for name, c := range map[string]struct {
		who  string
		keep func(conn, n int) int
		want Tally
	}{
		"nothing": {"alice", all, Tally{Recorded: 2 * perConn}},
		// A frame that others refer to: up to the next keyframe none decodes.
		"missing": {"alice", func(conn, n int) int { return b2i(conn != 0 || n != 20) },
			Tally{Recorded: 2*perConn - 1, Missing: 1, Undecodable: 9, Blind: 10 * time.Millisecond}},
		"dropped to the next keyframe": {"alice", func(conn, n int) int { return b2i(conn != 1 || n < 220 || n >= 225) },
			Tally{Recorded: 2*perConn - 5, Missing: 5, Blind: 50 * time.Millisecond}},
		"the start": {"alice", func(conn, n int) int { return b2i(conn != 0 || n >= 30) },
			Tally{Recorded: 2*perConn - 30, Before: 30, Blind: 300 * time.Millisecond}},
		// The second connection's first frame is the first one's 200th; what
		// the first has sent since a second before that may be missing.
		"the end of a connection that is replaced": {"alice", func(conn, n int) int { return b2i(conn != 0 || n <= 100) },
			Tally{Recorded: perConn + 101, After: perConn - 101, Blind: 990 * time.Millisecond}},
		"too much of its end": {"alice", func(conn, n int) int { return b2i(conn != 0 || n < 100) },
			Tally{Recorded: perConn + 100, Missing: 1, After: perConn - 101, Blind: time.Second}},
		"a connection": {"alice", func(conn, _ int) int { return b2i(conn == 0) },
			Tally{Recorded: perConn, Unheard: perConn}}, // they end with one that is not in a file
		"twice": {"alice", func(conn, n int) int { return 1 + b2i(conn == 1 && n == 3) },
			Tally{Recorded: 2 * perConn, Twice: 1}},
		"somebody else's": {"bob", all, Tally{Strange: 2 * perConn, Unheard: 2 * perConn}},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			r := s.check(c.who, c.keep)
			c.want.Sent = 2 * perConn
			r.Video.Late = 0
			if r.Video != c.want {
				t.Errorf("%+v\nwant %+v\n%s", r.Video, c.want, strings.Join(r.Details, "\n"))
			}
			faults := c.want.Missing+c.want.Undecodable+c.want.Twice+c.want.Strange > 0
			if (r.Video.Faults() != "") != faults || faults != (len(r.Details) > 0) {
				t.Errorf("faults %q, details %q", r.Video.Faults(), r.Details)
			}
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestSkewIsAPicturesDistanceFromItsSound(t *testing.T) {
	log, err := NewLog(testClip(t))
	if err != nil {
		t.Fatal(err)
	}
	source := log.Source("alice")("bot")
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "a.webm"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := webm.NewWriter(f, webm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	video, err := w.AddTrack(media.Track{Codec: media.VP8, Width: 480, Height: 270})
	if err != nil {
		t.Fatal(err)
	}
	audio, err := w.AddTrack(media.Track{Codec: media.Opus, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	write := func(track int, frame media.Frame) {
		if err := w.WriteFrame(track, frame); err != nil {
			t.Fatal(err)
		}
	}
	// Sound in its place, from 1 s on; of three pictures, which are 33.3 ms
	// long each, the last is 10 ms late.
	for n := range 6 {
		write(audio, media.Frame{Data: source.Sound(n), Key: true, Time: time.Second + time.Duration(n)*20*time.Millisecond})
		for i, at := range []time.Duration{0, time.Second / 30, time.Second/15 + 10*time.Millisecond} {
			if at/(20*time.Millisecond) == time.Duration(n) {
				b := source.Picture(i, false)
				write(video, media.Frame{Data: b, Key: isKey(b), Time: time.Second + at})
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := json.Marshal(recorder.Manifest{Files: []recorder.FileEntry{{Path: "a.webm", Participant: "alice"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recorder.ManifestName), m, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := log.Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	near := func(got, want time.Duration) bool { return (got - want).Abs() <= time.Millisecond }
	if len(r.Skews) != 3 || !near(r.Skew(1), 10*time.Millisecond) || !near(r.Skew(0.5), 0) {
		t.Errorf("skews %v", r.Skews)
	}
}
