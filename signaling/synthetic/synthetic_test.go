package synthetic

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/server"
)

func readTestClip(t *testing.T, name string) *Clip {
	t.Helper()
	const dir = "../../cmd/roomtape/clips/"
	video, err := os.ReadFile(dir + name + ".ivf")
	if err != nil {
		t.Fatal(err)
	}
	audio, err := os.ReadFile(dir + name + ".ogg")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadClip(bytes.NewReader(video), bytes.NewReader(audio))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClipLoopsWithoutASeam(t *testing.T) {
	for name, codec := range map[string]media.Codec{"alice": media.VP8, "bob": media.VP9} {
		c := readTestClip(t, name)
		if c.Codec != codec || c.Width != 480 || c.Height != 270 {
			t.Errorf("%s is %v %dx%d", name, c.Codec, c.Width, c.Height)
		}
		if c.Duration() != 2*time.Second || len(c.Video) != 60 || len(c.Audio) != 100 {
			t.Errorf("%s lasts %v, %d frames, %d packets", name, c.Duration(), len(c.Video), len(c.Audio))
		}
		// An hour of video and an hour of audio are equally long.
		if got := c.videoTime(30 * 3600); got != time.Hour {
			t.Errorf("%s: an hour of frames lasts %v", name, got)
		}
		if !bytes.Equal(c.audioAt(100), c.Audio[0]) || !bytes.Equal(c.audioAt(199), c.Audio[99]) {
			t.Errorf("%s: the sound does not begin again with the picture", name)
		}
	}
}

func TestClipMustBeWhole(t *testing.T) {
	good := func(name string) []byte {
		b, err := os.ReadFile("../../cmd/roomtape/clips/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	video, audio := good("alice.ivf"), good("alice.ogg")
	for name, in := range map[string][2][]byte{
		"no video":     {nil, audio},
		"no audio":     {video, nil},
		"cut video":    {video[:len(video)-1], audio},
		"header only":  {video[:32], audio},
		"cut audio":    {video, audio[:len(audio)-1]},
		"other codec":  {bytes.Replace(video, []byte("VP80"), []byte("AV01"), 1), audio},
		"not a film":   {[]byte(strings.Repeat("x", 1000)), audio},
		"ogg for ivf":  {audio, audio},
		"no time base": {append(append(bytes.Clone(video[:16]), make([]byte, 8)...), video[24:]...), audio},
	} {
		if _, err := ReadClip(bytes.NewReader(in[0]), bytes.NewReader(in[1])); err == nil {
			t.Errorf("%s is read without an error", name)
		}
	}
}

// TestPeersPlayToEachOther lets one participant answer the other's offer, and
// watches what arrives.
func TestPeersPlayToEachOther(t *testing.T) {
	rooms := server.New(server.Config{})
	web := httptest.NewServer(rooms)
	defer web.Close()
	defer func() { _ = rooms.Shutdown(t.Context()) }()
	url := "ws" + strings.TrimPrefix(web.URL, "http") + "/ws/r"

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	packets := make(chan *rtp.Packet, 1000)
	watch := func(track *webrtc.TrackRemote) {
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				packets <- p
			}
		}
	}
	alice, err := Join(ctx, Config{URL: url, Room: "r", PeerID: "alice", Clip: readTestClip(t, "alice"), Loopback: true, watch: watch})
	if err != nil {
		t.Fatal(err)
	}
	bob, err := Join(ctx, Config{URL: url, Room: "r", PeerID: "bob", Clip: readTestClip(t, "bob"), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	var first *rtp.Packet
	for i := range 50 { // a second of sound
		select {
		case p := <-packets:
			if first == nil {
				first = p
			}
			if got, want := p.Timestamp-first.Timestamp, uint32(i)*960; got != want {
				t.Fatalf("packet %d has timestamp %d, want %d", i, got, want)
			}
			if !bytes.Equal(p.Payload, bob.cfg.Clip.Audio[i]) {
				t.Fatalf("packet %d is not that of the clip", i)
			}
		case <-ctx.Done():
			t.Fatal("nothing arrives")
		}
	}
	// The last packet may arrive before it is counted.
	if video, audio := bob.Sent(); video < 25 || audio < 49 {
		t.Errorf("sent %d frames and %d packets", video, audio)
	}
	if err := errors.Join(bob.Close(), alice.Close()); err != nil {
		t.Error(err)
	}
}

func TestJoinSaysWhyNot(t *testing.T) {
	rooms := server.New(server.Config{})
	web := httptest.NewServer(rooms)
	defer web.Close()
	url := "ws" + strings.TrimPrefix(web.URL, "http") + "/ws/r"
	for name, cfg := range map[string]Config{
		"no server": {URL: "ws://127.0.0.1:1/r", Room: "r", PeerID: "p"},
		"no id":     {URL: url, Room: "r"},
	} {
		if _, err := Join(t.Context(), cfg); !errors.Is(err, signaling.ErrJoin) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

// counting plays sound whose packets have numbers.
type counting struct{ to string }

func (counting) Picture(int, bool) []byte { return nil }
func (counting) Sound(n int) []byte       { return []byte{0xfc, byte(n)} }

// TestRejoiningMakesNewConnections lets bob, who plays what a source makes, lose
// and rejoin the room, and watches what alice gets, and that carol, of whom he
// wants nothing, gets nothing.
func TestRejoiningMakesNewConnections(t *testing.T) {
	rooms := server.New(server.Config{})
	web := httptest.NewServer(rooms)
	defer web.Close()
	defer func() { _ = rooms.Shutdown(t.Context()) }()
	url := "ws" + strings.TrimPrefix(web.URL, "http") + "/ws/r"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	numbers, strange := make(chan byte, 1000), make(chan string, 10)
	listen := func(track *webrtc.TrackRemote) {
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			numbers <- p.Payload[1]
		}
	}
	var peers []*Peer
	join := func(cfg Config) *Peer {
		cfg.URL, cfg.Room, cfg.Clip, cfg.Loopback = url, "r", readTestClip(t, "alice"), true
		p, err := Join(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
		return p
	}
	silent := func(to string) Source { return counting{to} }
	join(Config{PeerID: "alice", watch: listen, Source: silent, Ignore: func(id string) bool { return id == "carol" }})
	join(Config{PeerID: "carol", watch: func(tr *webrtc.TrackRemote) { strange <- tr.StreamID() }})
	var to []string
	bob := join(Config{PeerID: "bob", Ignore: func(id string) bool { return id == "carol" }, Source: func(id string) Source {
		to = append(to, id)
		return counting{id}
	}})
	hear := func() {
		t.Helper()
		for last := -1; last < 20; {
			select {
			case n := <-numbers:
				last = int(n) // falls where a new connection begins
			case <-ctx.Done():
				t.Fatal("nothing arrives")
			}
		}
	}
	hear()
	if err := bob.Rejoin(ctx); err != nil {
		t.Fatal(err)
	}
	hear()
	if len(to) != 2 || to[0] != "alice" || to[1] != "alice" {
		t.Errorf("bob has made connections to %q, want two to alice", to)
	}
	for _, p := range peers {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case s := <-strange:
		t.Errorf("carol gets a track of %s", s)
	default:
	}
}
