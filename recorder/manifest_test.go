package recorder

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
)

var update = flag.Bool("update", false, "write the golden files anew")

// lineMuxer writes a line for each frame, so that golden digests do not depend
// on how WebM is written.
type lineMuxer struct {
	w      io.Writer
	tracks int
	chunk  []byte
}

func (m *lineMuxer) AddTrack(media.Track) (int, error) {
	m.tracks++
	return m.tracks, nil
}

func (m *lineMuxer) WriteFrame(track int, f media.Frame) error {
	m.chunk = fmt.Appendf(m.chunk, "%d %t %d\n", track, f.Key, len(f.Data))
	return nil
}

func (m *lineMuxer) Flush() error {
	_, err := m.w.Write(m.chunk)
	m.chunk = m.chunk[:0]
	return err
}

func (m *lineMuxer) Close() error { return m.Flush() }

// TestManifestIsTheGoldenOne keeps names, units and layout of the manifest what
// programs read: a call with a loss, a pause, a new size, a rejoin, a codec that
// is not recorded, and a lost connection at the end.
func TestManifestIsTheGoldenOne(t *testing.T) {
	room, v, a := call("alice", 2*time.Second)
	v.drop = func(seq uint16) bool { return seq%32 == 7 }
	v.width, v.height = 1280, 720
	v.video(ms(2200), ms(4000))
	a.audio(ms(3500), ms(4000))
	v.stop(ms(4100))
	a.stop(ms(4100))
	room.left(ms(4200), "alice")
	room.joined(ms(5000), "../bob\n")
	b := room.start(ms(5000), &signaling.Track{Participant: "../bob\n", Stream: "s", Connection: 2, SSRC: 9, Kind: media.Audio})
	b.pt = 0
	b.audio(ms(5100), ms(5300))
	room.joined(ms(6000), "alice")
	a = room.start(ms(6000), &signaling.Track{Participant: "alice", Stream: "cam", ID: "a", Connection: 3, SSRC: 10, Kind: media.Audio})
	a.audio(ms(6100), ms(7000))
	room.ended = signaling.ErrLost
	m := newMemory()
	cfg := config(m)
	cfg.NewMuxer = func(w io.Writer, _ MuxerOptions) (output.Muxer, error) { return &lineMuxer{w: w}, nil }
	_, _ = run(t, cfg, room)
	got := string(m.other[ManifestName])
	golden := filepath.Join("testdata", "manifest.json")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("manifest (-want +got; -update writes it anew):\n%s", diff)
	}
}

// TestManifestIsTrueAllTheTime reads the manifest after each event as a crash
// would leave it.
func TestManifestIsTrueAllTheTime(t *testing.T) {
	room, v, a := call("alice", 20*time.Second)
	v.stop(ms(20300))
	a.stop(ms(20300))
	room.left(ms(20300), "alice")
	room.joined(ms(30000), "bob")
	m := newMemory()
	writes, last := 0, ""
	room.before = func(now time.Time) {
		at := now.Sub(t0)
		if m.other[ManifestName] == nil {
			if at > 0 {
				t.Fatal("no manifest")
			}
			return
		}
		if got := string(m.other[ManifestName]); got != last {
			last = got
			writes++
		}
		got := manifestOf(t, m)
		switch {
		case got.State != StateRecording:
			t.Fatalf("at %v state %q", at, got.State)
		case at > ms(600) && len(got.Files) != 1:
			t.Fatalf("at %v %d files", at, len(got.Files))
		case at > ms(6000) && got.Files[0].DurationMS < at.Milliseconds()-6500 && at < 20*time.Second:
			t.Fatalf("at %v a duration of %d ms", at, got.Files[0].DurationMS)
		case at > ms(20600) && (got.Participants[0].LeftMS == nil || got.Files[0].DurationMS != 20010):
			t.Fatalf("at %v %+v", at, got)
		}
	}
	if _, err := run(t, config(m), room); err != nil {
		t.Fatal(err)
	}
	if writes > 12 {
		t.Errorf("the manifest was written %d times", writes)
	}
}

func TestStatusShowsWhatIsRecorded(t *testing.T) {
	room, v, a := call("alice", 3*time.Second)
	v.stop(ms(3200))
	a.stop(ms(3200))
	var got []Status
	cfg := config(newMemory())
	cfg.OnStatus = func(s Status) { got = append(got, s) }
	if _, err := run(t, cfg, room); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 {
		t.Fatalf("%d snapshots", len(got))
	}
	video := Totals{Packets: 94, Bytes: 24024, Frames: 47, KeyFrames: 1, Waited: ms(47)}
	audio := Totals{Packets: 95, Bytes: 7695, Frames: 95, KeyFrames: 95}
	want := Status{
		Time: 2 * time.Second, Files: 1, Bytes: got[2].Bytes,
		Participants: []ParticipantStatus{{
			ID: "alice", Present: true, File: "alice.webm", Bytes: got[2].Bytes,
			Tracks: []TrackStatus{
				{
					Stream: "cam", ID: "v", Connection: 1, SSRC: 1,
					Kind: media.Video, Codec: media.VP8, Width: 640, Height: 480, Bitrate: 102200, Recorded: ms(1890), Frames: 47,
					FrameRate: 25, Totals: video,
				},
				{
					Stream: "cam", ID: "a", Connection: 1, SSRC: 2,
					Kind: media.Audio, Codec: media.Opus, Bitrate: 32400, Recorded: ms(1860), Frames: 93,
					FrameRate: 50, Totals: audio,
				},
			},
			Connections: []ConnectionStatus{{Number: 1}},
		}},
		Video: video, Audio: audio,
	}
	if diff := cmp.Diff(want, got[2]); diff != "" {
		t.Errorf("third snapshot (-want +got):\n%s", diff)
	}
}
