package recorder

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
)

func TestChangeOfCodecGoesOnInNewFile(t *testing.T) {
	room := &script{}
	v := room.start(0, videoTrack(nil))
	a := room.start(0, audioTrack())
	a.audio(ms(10), ms(3000))
	v.video(ms(10), ms(1000))
	v.pt = 99 // which is not recorded
	v.frame(ms(1000), true)
	v.pt = 98
	for at := ms(1200); at < ms(3000); at += ms(40) {
		v.rtp += 3600
		// A VP9 frame of 320x200, profile 0 (RFC 9628, no PictureID).
		v.packet(at, true, vp9Key)
	}
	m := newMemory()
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if len(got.Files) != 2 {
		t.Fatalf("files: %v", m.order)
	}
	for i, codec := range []string{"VP8", "VP9"} {
		var codecs []string
		for _, tr := range got.Files[i].Tracks {
			codecs = append(codecs, tr.Codec)
		}
		if len(codecs) != 2 || codecs[0] != codec && codecs[1] != codec {
			t.Errorf("file %d has %v", i, codecs)
		}
	}
	var audio, foreign int64
	for _, f := range got.Files {
		for _, tr := range f.Tracks {
			if tr.Kind == "audio" {
				audio += tr.Frames.Written
			}
			foreign += tr.Packets.Discarded["payload_type"]
		}
	}
	if audio != 150 {
		t.Errorf("%d audio frames in both files, want 150", audio)
	}
	if foreign != 2 {
		t.Errorf("%d packets discarded for their payload type, want 2", foreign)
	}
	if end, begin := got.Files[0].OffsetMS+got.Files[0].DurationMS, got.Files[1].OffsetMS; end < begin-200 || end > begin+150 {
		t.Errorf("first file ends at %d, second begins at %d", end, begin)
	}
}

// vp9Key is the start of a VP9 keyframe (VP9 bitstream §6.2) after its payload
// descriptor: frame marker, profile 0, shown, sync code, color, 320x200.
var vp9Key = func() []byte {
	var bits []byte
	put := func(v uint32, n int) {
		for i := n - 1; i >= 0; i-- {
			bits = append(bits, byte(v>>i)&1)
		}
	}
	put(2, 2)         // frame_marker
	put(0, 2)         // profile
	put(0, 1)         // show_existing_frame
	put(0, 1)         // frame_type: key
	put(1, 1)         // show_frame
	put(0, 1)         // error_resilient_mode
	put(0x498342, 24) // frame_sync_code
	put(1, 3)         // color_space
	put(0, 1)         // color_range
	put(320-1, 16)
	put(200-1, 16)
	put(0, 1)           // render_and_frame_size_different
	out := []byte{0x0c} // B and E
	for len(bits)%8 != 0 {
		bits = append(bits, 0)
	}
	for i := 0; i < len(bits); i += 8 {
		var b byte
		for _, bit := range bits[i : i+8] {
			b = b<<1 | bit
		}
		out = append(out, b)
	}
	return append(out, make([]byte, 100)...)
}()

func resizing() *script {
	room := &script{}
	v := room.start(0, videoTrack(nil))
	a := room.start(0, audioTrack())
	a.audio(ms(10), ms(3000))
	v.video(ms(10), ms(1000))
	v.width, v.height = 1280, 720
	v.video(ms(1010), ms(2000))
	v.width, v.height = 640, 480
	v.video(ms(2010), ms(3000))
	return room
}

func TestChangeOfSizeIsInTheManifest(t *testing.T) {
	s, err := run(t, config(newMemory()), resizing())
	if err != nil {
		t.Fatal(err)
	}
	files := s.Manifest().Files
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	for _, tr := range files[0].Tracks {
		if tr.Kind != "video" {
			continue
		}
		want := []Size{{0, 640, 480}, {1000, 1280, 720}, {2000, 640, 480}}
		if diff := cmp.Diff(want, tr.Sizes); diff != "" {
			t.Errorf("sizes (-want +got):\n%s", diff)
		}
	}
}

func TestChangeOfSizeGoesOnInNewFileWhenAsked(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	cfg.NewFileOnChange = true
	s, err := run(t, cfg, resizing())
	if err != nil {
		t.Fatal(err)
	}
	files := s.Manifest().Files
	if diff := cmp.Diff([]string{"a.webm", "a-2.webm", "a-3.webm"}, m.order); diff != "" {
		t.Fatal(diff)
	}
	var audio, video int64
	for _, f := range files {
		for _, tr := range f.Tracks {
			if tr.Kind == "audio" {
				audio += tr.Frames.Written
			} else {
				video += tr.Frames.Written
				if len(tr.Sizes) != 1 {
					t.Errorf("%s has sizes %v", f.Path, tr.Sizes)
				}
			}
		}
	}
	if audio != 150 || video != 75 {
		t.Errorf("%d audio and %d video frames, want 150 and 75", audio, video)
	}
}

func TestLateTrackJoinsItsFile(t *testing.T) {
	for _, c := range []struct {
		name       string
		stream     string
		connection int
		files      int
	}{
		{"same stream", "s", 1, 1},
		{"other stream, other kind", "other", 1, 1},
		{"other connection", "s", 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			room := &script{}
			a := room.start(0, audioTrack())
			a.audio(ms(10), ms(5000))
			in := videoTrack(nil)
			in.Stream, in.Connection = c.stream, c.connection
			v := room.start(ms(3000), in)
			v.video(ms(3000), ms(5000))
			m := newMemory()
			s, err := run(t, config(m), room)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.order) != c.files {
				t.Fatalf("files %v", m.order)
			}
			if f := s.Manifest().Files[0]; len(f.Tracks) != 3-c.files {
				t.Errorf("tracks %+v", f.Tracks)
			}
		})
	}
}

func TestSecondVideoOfAnotherStreamGetsItsOwnFile(t *testing.T) {
	room := &script{}
	v := room.start(0, videoTrack(nil))
	v.video(ms(10), ms(2000))
	in := videoTrack(nil)
	in.Stream, in.ID = "screen", "w"
	w := room.start(ms(0), in)
	w.video(ms(10), ms(2000))
	m := newMemory()
	if _, err := run(t, config(m), room); err != nil {
		t.Fatal(err)
	}
	if len(m.order) != 2 {
		t.Errorf("files %v", m.order)
	}
}

// TestSecondVideoOfAStreamIsInItsFile: tracks that the sender has put into one
// stream belong together, two pictures too.
func TestSecondVideoOfAStreamIsInItsFile(t *testing.T) {
	room, _, _ := call("alice", 3*time.Second)
	second := room.start(ms(500), &signaling.Track{
		Participant: "alice", Stream: "cam", ID: "screen", Connection: 1, SSRC: 77, Kind: media.Video,
	})
	second.width, second.height = 1280, 720
	second.video(ms(600), ms(2600))
	m := newMemory()
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	files := s.Manifest().Files
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	var got []string
	for _, tr := range files[0].Tracks {
		got = append(got, fmt.Sprintf("%s %d %d", tr.Kind, tr.Width, tr.Frames.Written))
	}
	slices.Sort(got)
	if want := []string{"audio 0 150", "video 1280 50", "video 640 75"}; !slices.Equal(got, want) {
		t.Errorf("tracks %q, want %q", got, want)
	}
}

func TestNewSSRCOfATrackGoesOnInItsPlace(t *testing.T) {
	room := &script{}
	v := room.start(0, videoTrack(nil))
	v.video(ms(10), ms(1000))
	v.stop(ms(1000))
	in := videoTrack(nil)
	in.SSRC = 77
	w := room.start(ms(1010), in)
	w.rtp = 12345
	w.video(ms(1050), ms(2000))
	s, err := run(t, config(newMemory()), room)
	if err != nil {
		t.Fatal(err)
	}
	files := s.Manifest().Files
	if len(files) != 1 || len(files[0].Tracks) != 1 || files[0].Tracks[0].Frames.Written != 49 {
		t.Errorf("%+v", files)
	}
}

func TestPauseIsInTheManifest(t *testing.T) {
	room := &script{}
	a := room.start(0, audioTrack())
	a.audio(0, ms(1000))
	// The timestamps stand still, as those of Chromium do.
	a.audio(ms(5000), ms(6000))
	s, err := run(t, config(newMemory()), room)
	if err != nil {
		t.Fatal(err)
	}
	want := []Gap{{AtMS: 1000, DurationMS: 4000, Reason: GapPause}}
	if diff := cmp.Diff(want, s.Manifest().Files[0].Tracks[0].Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func TestStreamWaitsForTracksThatAreThere(t *testing.T) {
	room, _, _ := call("alice", 2*time.Second)
	v := room.start(ms(100), &signaling.Track{Participant: "bob", Stream: "s", Connection: 2, SSRC: 5, Kind: media.Video})
	v.video(ms(700), ms(1700))
	// A third track of alice starts when the header is written.
	late := room.start(ms(1500), &signaling.Track{Participant: "alice", Stream: "cam", ID: "w", Connection: 1, SSRC: 6, Kind: media.Video})
	late.video(ms(1500), ms(1900))
	m := newMemory()
	m.stream = true
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Manifest()
	if len(got.Files) != 1 || len(got.Files[0].Tracks) != 2 {
		t.Errorf("files %+v", got.Files)
	}
	if len(got.Unrecorded) != 2 {
		t.Errorf("unrecorded %+v", got.Unrecorded)
	}
	if n := len(readBack(t, m.files["alice.webm"].data)); n != 150 {
		t.Errorf("%d frames, want 150", n)
	}
}

func TestStreamDoesNotWaitForATrackThatIsSilent(t *testing.T) {
	room := &script{}
	room.start(0, videoTrack(nil))
	a := room.start(0, audioTrack())
	a.audio(ms(10), ms(3000))
	m := newMemory()
	m.stream = true
	opened := time.Duration(0)
	room.before = func(now time.Time) {
		if f := m.files["a.webm"]; opened == 0 && f != nil && len(f.data) > 0 {
			opened = now.Sub(t0)
		}
	}
	if _, err := run(t, config(m), room); err != nil {
		t.Fatal(err)
	}
	if opened == 0 || opened > ms(1300) {
		t.Errorf("written first at %v", opened)
	}
}

// oneTrack is a muxer that takes one track only.
type oneTrack struct{ output.Muxer }

func (m *oneTrack) AddTrack(t media.Track) (int, error) {
	n, err := m.Muxer.AddTrack(t)
	if n > 1 {
		return 0, output.ErrFixedTracks
	}
	return n, err
}

func TestTrackThatDoesNotFitGetsAFileOfItsOwn(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	made := cfg.NewMuxer
	cfg.NewMuxer = func(w io.Writer, o MuxerOptions) (output.Muxer, error) {
		x, err := made(w, o)
		return &oneTrack{x}, err
	}
	room, _, _ := call("alice", 2*time.Second)
	s, err := run(t, cfg, room)
	if err != nil {
		t.Fatal(err)
	}
	files := s.Manifest().Files
	if len(files) != 2 || len(files[0].Tracks) != 1 || len(files[1].Tracks) != 1 {
		t.Fatalf("files %+v", files)
	}
	if n := files[0].Tracks[0].Frames.Written + files[1].Tracks[0].Frames.Written; n != 150 {
		t.Errorf("%d frames", n)
	}
}
