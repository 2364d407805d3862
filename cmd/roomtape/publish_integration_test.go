//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
)

// counterPage draws a counter of frames and the time of day as squares that a
// canvas can read back: black is 0, white is 1, the highest bit first; the first
// row is the number of the frame (24 bits), the second the milliseconds since
// midnight (27 bits). Between two red squares nothing else looks like it.
const counterPage = `<!doctype html><style>body{margin:0;background:#fff;overflow:hidden;font:600 40px sans-serif}canvas{display:block}</style>
<canvas width="1280" height="200"></canvas><p id="t" style="margin:20px">The quick brown fox jumps over the lazy dog.</p><div id="box" style="position:absolute;top:400px;width:200px;height:200px;background:#2a7"></div>
<script>
const g = document.querySelector('canvas').getContext('2d');
let n = 0, last = 0;
function row(y, value, bits) {
  for (let i = 0; i < bits; i++) {
    g.fillStyle = Math.floor(value / 2 ** (bits - 1 - i)) % 2 ? '#fff' : '#000';
    g.fillRect(40 + i * 40, y, 40, 80);
  }
}
function draw(now) {
  requestAnimationFrame(draw);
  if (now - last < 32) return;
  last = now;
  g.fillStyle = '#f00';
  g.fillRect(0, 0, 1280, 200);
  row(10, ++n, 24);
  row(110, Date.now() % 86400000, 27);
  document.getElementById('box').style.left = n * 7 % 1000 + 'px';
}
requestAnimationFrame(draw);
</script>`

// readBack watches the only video that has pictures, and notes of each frame what
// counterPage has drawn, and when it was shown.
const readBack = `(() => {
  const v = [...document.querySelectorAll('video')].find((v) => v.videoWidth >= 640);
  const c = new OffscreenCanvas(1280, 200), g = c.getContext('2d', {willReadFrequently: true});
  window.seen = [];
  const bits = (d, y, n) => { let x = 0; for (let i = 0; i < n; i++) x = x * 2 + (d[(y * 1280 + 60 + i * 40) * 4 + 1] > 127 ? 1 : 0); return x; };
  const read = () => {
    v.requestVideoFrameCallback(read);
    g.drawImage(v, 0, 0, v.videoWidth, v.videoHeight * 200 / 720, 0, 0, 1280, 200);
    const d = g.getImageData(0, 0, 1280, 200).data;
    const at = (190 * 1280 + 10) * 4;
    seen.push({n: bits(d, 50, 24), late: Date.now() % 86400000 - bits(d, 150, 27), red: [d[at], d[at + 1], d[at + 2]]});
  };
  v.requestVideoFrameCallback(read);
  return true;
})()`

// showCounter serves counterPage.
func showCounter(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, counterPage)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// viewer opens the room's page as one who only watches.
func viewer(t *testing.T, b *browser.Browser, room, name string) *browser.Page {
	t.Helper()
	p := b.Open("http" + strings.TrimSuffix(strings.TrimPrefix(room, "ws"), "/ws/test") + "/?room=test&source=none&join=1&name=" + name)
	p.Wait(`roomtape.state === 'joined'`)
	return p
}

type seenFrame struct {
	N    int
	Late float64
	Red  [3]float64
}

// TestPublishedScreenIsSeenAndRecorded shows a page that counts in a room with a
// real browser and a recorder: what the browser shows counts up, in the right
// colours, soon after it was drawn, and the recording has the same frames.
func TestPublishedScreenIsSeenAndRecorded(t *testing.T) {
	for _, codec := range []string{"vp8", "vp9"} {
		t.Run(codec, func(t *testing.T) {
			room, dir := openRoom(t), t.TempDir()
			b := browser.Start(t)
			record := start(t, "record", "--out", dir, "--session", "s", "--until-empty", "2s", room)
			p := viewer(t, b, room, "eve")
			published := start(t, "publish", "--source", "url:"+showCounter(t), "--codec", codec, "--fps", "30",
				"--bitrate", "3M", "--peer-id", "screen", "--json", room)
			p.Wait(`[...document.querySelectorAll('video')].some((v) => v.videoWidth === 1280)`)
			p.Wait(`document.querySelector('.tile.large') !== null`)
			p.Eval(readBack, nil)
			after(t, 15*time.Second)
			var seen []seenFrame
			p.Eval(`seen`, &seen)
			if path := os.Getenv("ROOMTAPE_SCREENSHOT"); path != "" {
				if err := os.WriteFile(path+"-"+codec+".png", p.Screenshot(), 0o600); err != nil {
					t.Error(err)
				}
			}
			for _, c := range []*child{published, record} {
				c.stop(t)
			}
			checkSeen(t, seen)
			var result outcome
			if err := json.Unmarshal(published.stdout.Bytes(), &result); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "s", "screen.webm")
			whole(t, file)
			n := frames(t, file)[media.Video]
			t.Logf("%d pictures sent in %.1f s, %d recorded", result.Pictures, result.Seconds, n)
			if float64(n) < 0.97*float64(result.Pictures) {
				t.Errorf("%d pictures recorded of %d", n, result.Pictures)
			}
		})
	}
}

// outcome is what publish prints.
type outcome = published

func checkSeen(t *testing.T, seen []seenFrame) {
	t.Helper()
	if len(seen) < 60 {
		t.Fatalf("%d frames seen", len(seen))
	}
	var late []float64
	wrong, back := 0, 0
	for i, f := range seen {
		if f.Red[0] < 200 || f.Red[1] > 60 || f.Red[2] > 60 {
			wrong++
		}
		if i > 0 && f.N < seen[i-1].N {
			back++
		}
		late = append(late, f.Late)
	}
	slices.Sort(late)
	drawn := seen[len(seen)-1].N - seen[0].N + 1
	t.Logf("%d frames seen of %d drawn, latency median %.0f ms, 95 %% within %.0f ms", len(seen), drawn, late[len(late)/2], late[len(late)*95/100])
	if wrong > 0 {
		t.Errorf("%d frames in wrong colours", wrong)
	}
	if back > 1 { // once, by a frame, where a slow start makes an encoder's first picture late
		t.Errorf("the counter fell %d times", back)
	}
	// A quiet machine of two cores needs half of 250 ms, with two browsers, an
	// encoder and a recorder on it; a busy one has more to do than to show pictures.
	if m := late[len(late)/2]; m > 600 {
		t.Errorf("median latency %.0f ms", m)
	}
}

// TestPublishIsControlled goes from one source to another and back, changes the
// bitrate, mutes and stops, all by its control.
func TestPublishIsControlled(t *testing.T) {
	room, dir := openRoom(t), t.TempDir()
	clip := filepath.Join(dir, "clip.webm")
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=15", "-t", "3", "-c:v", "libvpx", "-g", "15", clip).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	record := start(t, "record", "--out", dir, "--session", "s", "--until-empty", "2s", room)
	socket := filepath.Join(dir, "c")
	p := start(t, "publish", "--source", "pattern", "--size", "640x360", "--fps", "15", "--codec", "vp8", "--peer-id", "screen", "--control", "unix:"+socket, "--json", room)
	var conn net.Conn
	waitFor(t, "the control's socket", 10*time.Second, func() (ok bool) {
		var err error
		conn, err = net.Dial("unix", socket)
		return err == nil
	})
	defer conn.Close()
	answers := json.NewDecoder(conn)
	tell := func(line string, ok bool) {
		t.Helper()
		if _, err := io.WriteString(conn, line+"\n"); err != nil {
			t.Fatal(err)
		}
		var r reply
		if err := answers.Decode(&r); err != nil || r.OK != ok {
			t.Fatalf("%s: %+v, %v", line, r, err)
		}
	}
	waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, filepath.Join(dir, "s"))) == 1 })
	after(t, 2*time.Second)
	tell(`{"source":"file:`+clip+`"}`, true)
	tell(`{"source":"file:/nonexistent"}`, false)
	tell(`{"bitrate":400000}`, true)
	tell(`{"bitrate":4}`, false)
	after(t, 5*time.Second) // the clip ends, and the pattern comes back
	tell(`{"mute":true}`, true)
	after(t, time.Second)
	tell(`{"mute":false}`, true)
	after(t, 2*time.Second)
	tell(`{"stop":true}`, true)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, &p.stderr)
	}
	if code := record.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, &record.stderr)
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	if len(m.Files) != 1 {
		t.Fatalf("%d files", len(m.Files))
	}
	whole(t, filepath.Join(dir, "s", m.Files[0].Path))
	var sizes []int
	for _, track := range m.Files[0].Tracks {
		for _, s := range track.Sizes {
			sizes = append(sizes, s.Width)
		}
	}
	if !slices.Equal(sizes, []int{640, 320, 640}) {
		t.Errorf("widths %v", sizes)
	}
}

// TestPublishLeavesNothingBehind kills what publish has started, one after the
// other, and then publish itself.
func TestPublishLeavesNothingBehind(t *testing.T) {
	room := openRoom(t)
	p := start(t, "publish", "--source", "url:"+showCounter(t), "--peer-id", "screen", room)
	waitFor(t, "it to be in the room", 30*time.Second, func() bool { return len(children(p.Process.Pid)) >= 3 })
	for _, name := range []string{"chrom", "ffmpeg", "Xvfb"} {
		var old int
		waitFor(t, name, 20*time.Second, func() bool { old = children(p.Process.Pid)[name]; return old != 0 })
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "another "+name, 20*time.Second, func() bool { now := children(p.Process.Pid)[name]; return now != 0 && now != old })
	}
	left := children(p.Process.Pid)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.exit(t)
	waitFor(t, "its programs to end", 10*time.Second, func() bool {
		for _, pid := range left {
			if syscall.Kill(pid, 0) == nil {
				return false
			}
		}
		return true
	})
}

// children gives the process ids of the programs that a process has started.
func children(parent int) map[string]int {
	found := map[string]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var pid, ppid int
		name := string(b[strings.IndexByte(string(b), '(')+1 : strings.LastIndexByte(string(b), ')')])
		rest := string(b[strings.LastIndexByte(string(b), ')')+2:])
		var state string
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			continue
		}
		if _, err := fmt.Sscan(rest, &state, &ppid); err != nil || ppid != parent || state == "Z" {
			continue
		}
		for _, known := range []string{"chrom", "ffmpeg", "Xvfb"} {
			if strings.HasPrefix(name, known) {
				found[known] = pid
			}
		}
	}
	return found
}
