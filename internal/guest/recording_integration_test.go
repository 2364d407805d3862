//go:build integration

package guest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/guest"
	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/server/unit"
	"github.com/roomtape/roomtape/signaling/sfu"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

const (
	publishers = 10
	length     = 16 * time.Second
	fps        = 30
	pictures   = 128 // of each clip, which has two keyframes
)

var seedFlag = flag.Uint64("seed", 0, "of the publishers' numbers and what happens to them; 0: a new one")

// TestRecordingsOverSwitches has ten publishers send three encodings each of real
// pictures through the server that forwards, while the recorder's wishes, what it can
// receive and what is sent change at random. Then ffmpeg decodes each recording: it
// must give the very pictures of the encodings, all that were sent, in time.
func TestRecordingsOverSwitches(t *testing.T) {
	m := makeMaterial(t)
	t.Run("perfect", func(t *testing.T) { overSwitches(t, m, lossy.Odds{Delay: 5 * time.Millisecond}) })
	t.Run("lossy", func(t *testing.T) {
		overSwitches(t, m, lossy.Odds{Delay: 5 * time.Millisecond, Loss: 0.015, Reorder: 0.02})
	})
}

// material is one picture in three encodings, of each codec.
type material struct {
	clips map[media.Codec][]guest.Clip
	sums  map[media.Codec][][]string // of the decoded pictures, like clips
	sound [][]byte
}

func makeMaterial(t *testing.T) *material {
	t.Helper()
	m := &material{clips: map[media.Codec][]guest.Clip{}, sums: map[media.Codec][][]string{}}
	dir := t.TempDir()
	for _, e := range []struct {
		rid, size string
		kbits     int
	}{{"l", "160:90", 60}, {"m", "320:180", 160}, {"h", "640:360", 500}} {
		for _, codec := range []media.Codec{media.VP8, media.VP9, media.H264} {
			file := filepath.Join(dir, fmt.Sprint(codec, e.rid, ".ivf"))
			args := []string{
				"-v", "error", "-bitexact", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=640x360:r=%d", fps), "-frames:v", fmt.Sprint(pictures),
				"-vf", "scale=" + e.size, "-b:v", fmt.Sprint(e.kbits, "k"), "-g", fmt.Sprint(pictures / 2), "-keyint_min", fmt.Sprint(pictures / 2), "-threads", "1",
			}
			switch codec {
			case media.VP8: // as browsers do, with three temporal layers
				args = append(args, "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0", "-lag-in-frames", "0", "-error-resilient", "default",
					"-ts-parameters", fmt.Sprintf("ts_number_layers=3:ts_target_bitrate=%d,%d,%d:ts_rate_decimator=4,2,1:ts_periodicity=4:ts_layer_id=0,2,1,2:ts_layering_mode=3",
						e.kbits*4/10, e.kbits*6/10, e.kbits))
			case media.VP9:
				args = append(args, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0", "-lag-in-frames", "0")
			case media.H264:
				file = strings.TrimSuffix(file, ".ivf") + ".h264"
				args = append(args, "-c:v", "libx264", "-profile:v", "baseline", "-preset", "veryfast", "-tune", "zerolatency", "-x264-params", "sliced-threads=0:slices=1:scenecut=0")
			}
			ffmpeg(t, append(args, file)...)
			m.add(t, codec, e.rid, file)
		}
	}
	const clips = "../../cmd/roomtape/clips/"
	video, err := os.Open(clips + "alice.ivf")
	if err != nil {
		t.Fatal(err)
	}
	defer video.Close()
	sound, err := os.Open(clips + "alice.ogg")
	if err != nil {
		t.Fatal(err)
	}
	defer sound.Close()
	c, err := synthetic.ReadClip(video, sound)
	if err != nil {
		t.Fatal(err)
	}
	m.sound = c.Audio
	return m
}

// add reads an encoding.
func (m *material) add(t *testing.T, codec media.Codec, rid, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c guest.Clip
	switch codec {
	case media.VP8:
		c, err = guest.ReadIVF(f, rid, guest.Layers3[:]...)
	case media.VP9:
		c, err = guest.ReadIVF(f, rid)
	default:
		c, err = guest.ReadH264(f, rid)
	}
	if err != nil {
		t.Fatal(err)
	}
	sums := decoded(t, file)
	different := map[string]bool{}
	keys := 0
	for i, p := range c.Pictures {
		different[sums[i]] = true
		if p.Key {
			keys++
		}
	}
	if len(different) != pictures || len(c.Pictures) != pictures || keys != 2 {
		t.Fatalf("%v %s: %d pictures, of which %d are different and %d keyframes", codec, rid, len(c.Pictures), len(different), keys)
	}
	m.clips[codec], m.sums[codec] = append(m.clips[codec], c), append(m.sums[codec], sums)
}

// ffmpeg runs it, which must say nothing, and gives what it writes.
func ffmpeg(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("ffmpeg %q: %v\n%s", args, err, &errs)
	}
	return out
}

// decoded decodes a file, and gives a checksum of each picture, in its own size.
func decoded(t *testing.T, file string) (sums []string) {
	t.Helper()
	out := ffmpeg(t, "-v", "error", "-xerror", "-i", file, "-map", "0", "-autoscale", "0", "-fps_mode", "passthrough", "-enc_time_base:v", "1/1000", "-f", "framemd5", "-")
	video := "none"
	for line := range strings.Lines(string(out)) {
		if stream, ok := strings.CutPrefix(line, "#media_type "); ok && strings.HasSuffix(stream, ": video\n") {
			video = strings.TrimSuffix(stream, ": video\n")
		}
		if fields := strings.Split(line, ","); len(fields) == 6 && fields[0] == video {
			sums = append(sums, strings.TrimSpace(fields[4])+" "+strings.TrimSpace(fields[5])) // of so many bytes
		}
	}
	return sums
}

// house is a forwarded room behind a network, with a recorder in it.
type house struct {
	t     *testing.T
	url   string
	relay *lossy.Relay
	proxy *lossy.Proxy
	dir   string
	began time.Time
	stop  func()
}

func newHouse(t *testing.T, odds lossy.Odds) *house {
	t.Helper()
	u, err := unit.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	rooms := server.New(server.Config{Forward: u, AddressJoins: -1, AddressMessages: -1})
	back := httptest.NewServer(rooms)
	h := &house{t: t, relay: lossy.NewRelay(1), dir: t.TempDir()}
	h.relay.Set("*", "*", odds)
	h.proxy = lossy.NewProxy(h.relay, "ws"+strings.TrimPrefix(back.URL, "http"))
	front := httptest.NewServer(h.proxy)
	h.url = "ws" + strings.TrimPrefix(front.URL, "http") + "/ws/room"
	t.Cleanup(func() {
		h.proxy.Close()
		front.Close()
		if err := rooms.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		back.Close()
		h.relay.Close()
	})
	return h
}

// record records the room until stop is called.
func (h *house) record() {
	t := h.t
	t.Helper()
	_, err := mesh.Dial(t.Context(), mesh.Config{
		URL: h.url, PeerID: "rec", Peer: peer.Config{Loopback: true, Codecs: []media.Codec{media.VP8, media.VP9, media.H264}},
	})
	var way *mesh.ForwardedError
	if !errors.As(err, &way) {
		t.Fatal(err)
	}
	room, err := sfu.Enter(way)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	h.began = time.Now()
	s, err := recorder.NewSession(recorder.Config{
		Store: output.OpenDir(root, output.DirOptions{NoSync: true}),
		NewMuxer: func(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{Chunk: o.Chunk, UID: o.UID})
		},
		Ext:   webm.Ext,
		Start: h.began,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, room) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := room.Close(); err != nil {
			t.Error(err)
		}
		_ = root.Close()
	}
}

// wish has the recorder want another quality of somebody.
func (h *house) wish(id, quality string) {
	b, err := json.Marshal(message.Message{Type: message.SubscribeTrack, PublisherID: id, TrackID: guest.VideoTrack, Quality: quality})
	if err != nil || !h.proxy.Say("rec", b) {
		h.t.Errorf("the recorder can't ask for %s: %v", id, err)
	}
}

// crowd is who publishes.
type crowd struct {
	ids   []string
	codec []media.Codec
	all   []*guest.Publisher
}

func overSwitches(t *testing.T, m *material, odds lossy.Odds) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHouse(t, odds)
	h.record()
	c := &crowd{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range publishers {
		codec := media.VP8
		switch {
		case i == 6 || i == 7:
			codec = media.VP9
		case i > 7:
			codec = media.H264
		}
		id := fmt.Sprint("p", i)
		p, err := guest.Publish(ctx, guest.PublisherConfig{
			URL: h.url, Room: "room", ID: id, Codec: codec, Clips: m.clips[codec], Every: time.Second / fps, Sound: m.sound,
			Seed: random.Uint64(), Announce: i%3 == 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.ids, c.codec, c.all = append(c.ids, id), append(c.codec, codec), append(c.all, p)
	}
	squeezed := h.disturb(c, random, odds)
	for _, p := range c.all {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(time.Second) // for what is on its way, or is to be sent again
	h.stop()
	h.check(c, m, squeezed)
}

// disturb changes at random times what may be changed, for length. It tells from when
// on, and until when, the recorder could not receive all of it.
func (h *house) disturb(c *crowd, random *rand.Rand, odds lossy.Odds) (squeezed [2]time.Time) {
	off := make([][3]bool, len(c.all)) // the encodings that are not sent; never all of them
	end := time.Now().Add(length)
	for time.Until(end) > 0 {
		time.Sleep(time.Duration(50+random.IntN(150)) * time.Millisecond)
		i := random.IntN(len(c.all))
		left := time.Until(end)
		switch n := random.IntN(10); {
		case left < 7*time.Second && squeezed[0].IsZero():
			squeezed[0] = time.Now()
			narrow := odds
			narrow.Rate = 2_000_000
			h.relay.Set(message.SFU, "rec", narrow)
		case left < 4*time.Second && squeezed[1].IsZero():
			squeezed[1] = time.Now()
			h.relay.Set(message.SFU, "rec", odds)
		case n < 8:
			h.wish(c.ids[i], []string{"low", "medium", "best"}[random.IntN(3)])
		default:
			k := random.IntN(3)
			off[i][k] = !off[i][k] && (!off[i][(k+1)%3] || !off[i][(k+2)%3])
			c.all[i].Enable(k, !off[i][k])
		}
	}
	return squeezed
}
