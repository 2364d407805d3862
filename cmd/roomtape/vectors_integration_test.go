//go:build integration

package main

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/recorder/capturetest"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// openLossyRoom starts a room server and puts a relay with these odds between
// everybody who comes to the URL that it gives.
func openLossyRoom(t *testing.T, seed uint64, o lossy.Odds) (string, *lossy.Relay) {
	t.Helper()
	return openLossy(t, openRoom(t), seed, o)
}

// openLossy puts a relay before a room that there is.
func openLossy(t *testing.T, room string, seed uint64, o lossy.Odds) (string, *lossy.Relay) {
	t.Helper()
	u, err := url.Parse(room)
	if err != nil {
		t.Fatal(err)
	}
	relay := lossy.NewRelay(seed)
	relay.Set("*", "*", o)
	proxy := lossy.NewProxy(relay, "ws://"+u.Host)
	front := httptest.NewServer(proxy)
	t.Cleanup(func() {
		proxy.Close()
		front.Close()
		relay.Close()
	})
	return "ws" + strings.TrimPrefix(front.URL, "http") + u.Path, relay
}

// played plays frames once: before them the first one, a keyframe, for a
// second, so that the recorder is there when they begin, and after them too, so
// that it notices when one of the last is lost.
type played struct {
	frames [][]byte
	done   chan struct{}
}

const playedLead, playedTrail = 30, 60

func (p *played) Picture(n int, _ bool) []byte {
	n -= playedLead
	if n == len(p.frames)+playedTrail {
		close(p.done)
	}
	if n < 0 || n >= len(p.frames) {
		return p.frames[0]
	}
	return p.frames[n]
}

func (p *played) Sound(int) []byte { return nil }

// frameSums gives the MD5 of each frame that ffmpeg decodes, and fails the test
// when it has anything to say.
func frameSums(t *testing.T, file string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-i", file, "-an",
		"-fps_mode", "passthrough", "-autoscale", "0", "-pix_fmt", "yuv420p", "-f", "framemd5", "-")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Errorf("ffmpeg on %s: %v\n%s", filepath.Base(file), err, &said)
	}
	var sums []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(line, ","); !strings.HasPrefix(line, "#") && len(f) == 6 {
			sums = append(sums, strings.TrimSpace(f[5]))
		}
	}
	return sums
}

// vector is a conformance vector of VP8: frames, and the MD5 of each picture
// that must come of them.
type vector struct {
	name          string
	frames        [][]byte
	sums          []string
	width, height int
}

func vectors(t *testing.T) []vector {
	t.Helper()
	var all []vector
	for _, file := range capturetest.Glob(t, "webmproject-vp8-test-vectors/*.ivf") {
		v := vector{name: strings.TrimSuffix(filepath.Base(file), ".ivf")}
		v.frames = capturetest.IVF(t, "webmproject-vp8-test-vectors/"+filepath.Base(file))
		b, err := os.ReadFile(file + ".md5")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			v.sums = append(v.sums, strings.Fields(line)[0])
		}
		first := v.frames[0] // RFC 6386 §9.1
		v.width, v.height = int(first[6])|int(first[7]&0x3f)<<8, int(first[8])|int(first[9]&0x3f)<<8
		all = append(all, v)
	}
	return all
}

// TestConformanceVectorsSurviveALossyNetwork has the VP8 conformance vectors
// published by as many participants over a network that loses 5 % in each
// direction, and by one more who plays one after the other, of other sizes, on
// one track. What is recorded must decode to the published MD5s.
func TestConformanceVectorsSurviveALossyNetwork(t *testing.T) {
	all := vectors(t)
	var whole vector
	for _, v := range all {
		if len(v.frames) < 100 { // the long one alone takes 9 s
			whole.frames, whole.sums = append(whole.frames, v.frames...), append(whole.sums, v.sums...)
			whole.width, whole.height = all[0].width, all[0].height
		}
	}
	whole.name = "all"
	all = append(all, whole)

	room, relay := openLossyRoom(t, 1, lossy.Odds{Loss: 0.05, Delay: 20 * time.Millisecond})
	dir := t.TempDir()
	record := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "recorder", room)
	waitFor(t, "the recorder to join", 20*time.Second, func() bool { _, err := os.Stat(filepath.Join(dir, "s")); return err == nil })
	var playing sync.WaitGroup
	for _, v := range all {
		source := &played{frames: v.frames, done: make(chan struct{})}
		p, err := synthetic.Join(t.Context(), synthetic.Config{
			URL: room, Room: "test", PeerID: v.name, Loopback: true,
			Clip:   synthetic.NewClip(media.VP8, v.width, v.height, time.Second/30, v.frames, nil),
			Source: func(string) synthetic.Source { return source },
			Ignore: func(id string) bool { return id != "recorder" },
		})
		if err != nil {
			t.Fatal(err)
		}
		playing.Go(func() {
			select {
			case <-source.done:
			case <-t.Context().Done():
			}
			_ = p.Close() // what it returns is of the network
		})
	}
	playing.Wait()
	waitFor(t, "everyone to have left", 20*time.Second, func() bool {
		m := readManifest(t, filepath.Join(dir, "s"))
		there := func(p recorder.ParticipantEntry) bool { return p.LeftMS == nil }
		return len(m.Participants) == len(all) && !slices.ContainsFunc(m.Participants, there)
	})
	record.stop(t)
	if c := relay.Counts("*", "recorder"); float64(c.MediaLost) < 0.03*float64(c.Media) || c.Media < 3000 {
		t.Errorf("the network should lose a twentieth: %v", c)
	} else {
		t.Log("to the recorder:", c)
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			i := slices.IndexFunc(m.Files, func(f recorder.FileEntry) bool { return f.Participant == v.name })
			if i < 0 {
				t.Fatal("there is no file")
			}
			v.check(t, filepath.Join(dir, "s"), m.Files[i])
		})
	}
}

// check looks for the vector's pictures, in their order and nothing between
// them, with only the first one before and after.
func (v vector) check(t *testing.T, dir string, entry recorder.FileEntry) {
	file := filepath.Join(dir, entry.Path)
	sums := frameSums(t, file)
	lead := 0
	for lead < len(sums) && sums[lead] == v.sums[0] {
		lead++
	}
	trail := 0
	for trail < len(sums)-lead && sums[len(sums)-1-trail] == v.sums[0] {
		trail++
	}
	// The vector's own first picture is the last of those that lead.
	if got := sums[max(lead-1, 0) : len(sums)-trail]; lead == 0 || !slices.Equal(got, v.sums) {
		same := 0
		for same < min(len(got), len(v.sums)) && got[same] == v.sums[same] {
			same++
		}
		t.Errorf("of %d pictures, after %d in the lead, the first %d are right; %d are decoded", len(v.sums), lead, same, len(got))
	}
	track := entry.Tracks[0]
	if len(entry.Tracks) != 1 || track.Width != v.width || track.Height != v.height {
		t.Errorf("the manifest says %+v of a vector of %dx%d", entry.Tracks, v.width, v.height)
	}
	probe := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0", file)
	if out, err := probe.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != fmt.Sprintf("%d,%d", v.width, v.height) {
		t.Errorf("ffprobe says %s, %v; want %dx%d", out, err, v.width, v.height)
	}
	t.Log(strconv.Itoa(len(v.sums)), "pictures,", track.Packets.Recovered, "of", track.Packets.Received, "packets recovered,", len(track.Sizes), "sizes")
}
