//go:build integration

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// TestBrowsersSendLayers records a real browser that sends temporal and spatial
// layers. Then the dump is replayed without one frame or another: what is given
// must decode to the same pictures as before, and only what depends on the lost
// frame may be missing.
func TestBrowsersSendLayers(t *testing.T) {
	b := browser.Start(t)
	for _, c := range []struct {
		codec, mode string
		// single is how many of eight frames in a row none or one other refers
		// to, at least.
		single int
		// offers: the browser makes the offer. It does not offer the dependency
		// descriptor, so the payload must tell.
		offers bool
	}{
		{"vp8", "L1T2", 4, false}, {"vp8", "L1T3", 5, false}, {"vp9", "L1T3", 6, false}, {"vp9", "L3T3_KEY", 6, false},
		{"av1", "L1T3", 6, false}, {"h264", "L1T3", 6, false},
		{"vp8", "L1T3", 1, true}, {"vp9", "L1T3", 4, true}, {"vp9", "L3T3_KEY", 4, true},
	} {
		t.Run(fmt.Sprintf("%s %s offered %v", c.codec, c.mode, c.offers), func(t *testing.T) {
			room, dir := openRoom(t), t.TempDir()
			p := page(t, b, room, "alice")
			p.Eval(fmt.Sprintf(`(() => {
				const set = RTCPeerConnection.prototype.setLocalDescription;
				globalThis.layers = [];
				RTCPeerConnection.prototype.setLocalDescription = async function (...args) {
					await set.apply(this, args);
					for (const sender of this.getSenders().filter((s) => s.track?.kind === 'video')) {
						const parameters = sender.getParameters();
						parameters.encodings[0].scalabilityMode = '%s';
						await sender.setParameters(parameters).then(() => layers.push('set'), (e) => layers.push(String(e)));
					}
				};
				return RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === 'video/%s');
			})()`, c.mode, c.codec), nil)
			record := start(t, "record", "--out", dir, "--session", "s", "--codecs", c.codec, "--dump-rtp", room)
			if c.offers {
				p.Eval(`roomtape.leave()`, nil)
				p.Wait(`roomtape.state === 'outside'`)
				waitFor(t, "the recorder", 20*time.Second, func() bool { return strings.Contains(record.stderr.String(), "joined the room") })
				p.Eval(`roomtape.join({room: 'test', name: 'alice', source: 'pattern'})`, nil)
			}
			waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, dir)) > 0 })
			after(t, 6*time.Second)
			var layers []string
			p.Eval(`layers`, &layers)
			record.stop(t)
			p.Close()
			if !slices.Contains(layers, "set") {
				t.Skipf("this browser sends no %s as %s: %q", c.codec, c.mode, layers)
			}
			files := recordings(t, dir)
			if len(files) != 1 {
				t.Fatalf("files %q, want one", files)
			}
			for _, f := range readManifest(t, filepath.Join(dir, "s")).Files {
				for _, track := range f.Tracks {
					t.Logf("%s: %+v %+v", track.Codec, track.Frames, track.Packets)
					// An H264 encoder makes a keyframe of each flash in the picture. The
					// end may cut one frame off.
					if track.Kind == "video" && (track.Frames.Key > 4 && c.codec != "h264" || track.Frames.Dropped > 1) {
						t.Errorf("%d keyframes in 6 s, %d frames dropped", track.Frames.Key, track.Frames.Dropped)
					}
				}
			}
			loseFrames(t, filepath.Join(dir, "s", "dump.pcapng"), c.single, !c.offers)
			loseSound(t, filepath.Join(dir, "s", "dump.pcapng"))
		})
	}
}

// loseFrames replays a dump without each of some frames in turn.
func loseFrames(t *testing.T, path string, single int, descriptors bool) {
	t.Helper()
	times := videoTimes(t, path, descriptors)
	if len(times) < 100 {
		t.Fatalf("%d frames of video", len(times))
	}
	want := picturesWithout(t, path, 0, false)
	few := 0
	var costs []int
	for _, ts := range times[60:68] {
		got := picturesWithout(t, path, ts, true)
		// Times move by a millisecond or so, pictures must not change.
		rest, others := want, 0
		for _, sum := range got {
			if i := slices.Index(rest, sum); i >= 0 {
				rest = rest[i+1:]
			} else {
				others++
			}
		}
		if others > 0 {
			t.Errorf("without the frame of %d, %d of %d pictures are others", ts, others, len(got))
		}
		cost := len(want) - len(got)
		costs = append(costs, cost)
		if cost >= 1 && cost <= 2 {
			few++
		}
	}
	t.Logf("%d pictures; the loss of a frame costs %v", len(want), costs)
	if few < single {
		t.Errorf("%d of 8 frames cost one or two, want %d", few, single)
	}
}

// loseSound replays a dump without some packets of sound: a browser that may send
// RED does, and nothing is missing.
func loseSound(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	n, lost := 0, int64(0)
	less := without(t, path, dir, func(e signaling.Event) bool {
		if e.Packet == nil || e.Track.Kind != media.Audio {
			return false
		}
		if n++; n%7 == 0 && n < 200 {
			lost++
			return true
		}
		return false
	})
	replay := start(t, "replay", "--json", "--out", dir, less)
	if code := replay.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &replay.stderr)
	}
	var r replayed
	if err := json.Unmarshal(replay.stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Files {
		for _, track := range f.Tracks {
			if p := track.Packets; track.Kind == "audio" && (p.Recovered != lost || p.Lost != 0 || track.Frames.Written != p.Written+lost) {
				t.Errorf("%d packets of sound lost: %+v, frames %+v", lost, p, track.Frames)
			}
		}
	}
}

// eachEvent gives the events of a dump, and takes their packets back.
func eachEvent(t *testing.T, path string, do func(e signaling.Event)) {
	t.Helper()
	r, err := dump.Open(t.Context(), []string{path}, dump.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		e, err := r.Next(t.Context(), time.Time{})
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(e)
		if e.Packet != nil {
			e.Packet.Release()
		}
	}
}

// without writes a dump that lacks some events of another, and gives its name.
func without(t *testing.T, path, dir string, drop func(e signaling.Event) bool) string {
	t.Helper()
	less := filepath.Join(dir, "less.pcapng")
	f, err := os.Create(less)
	if err != nil {
		t.Fatal(err)
	}
	w, err := dump.NewWriter(f, dump.WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	eachEvent(t, path, func(e signaling.Event) {
		if drop(e) {
			return
		}
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	})
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return less
}

func isVideo(e signaling.Event) bool { return e.Packet != nil && e.Track.Kind == media.Video }

// videoTimes gives the timestamps of the frames, in the order of their first
// packets. descriptors tells whether all packets must have one.
func videoTimes(t *testing.T, path string, descriptors bool) (times []uint32) {
	described, packets := 0, 0
	eachEvent(t, path, func(e signaling.Event) {
		if !isVideo(e) || len(e.Packet.Payload) == 0 {
			return
		}
		packets++
		if id := e.Track.Dependencies; id != 0 && e.Packet.Extension(id) != nil {
			described++
		}
		if ts := e.Packet.Timestamp; !slices.Contains(times, ts) {
			times = append(times, ts)
		}
	})
	if descriptors && described != packets {
		t.Errorf("%d of %d packets have a dependency descriptor", described, packets)
	}
	return times
}

// picturesWithout replays a dump without the frame of a timestamp, and gives the
// decoded pictures.
func picturesWithout(t *testing.T, path string, timestamp uint32, lose bool) (sums []string) {
	t.Helper()
	dir := t.TempDir()
	less := without(t, path, dir, func(e signaling.Event) bool { return lose && isVideo(e) && e.Packet.Timestamp == timestamp })
	replay := start(t, "replay", "--out", dir, "--name", "x", less)
	if code := replay.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &replay.stderr)
	}
	files := recordings(t, dir)
	if len(files) != 1 {
		t.Fatalf("files %q, want one", files)
	}
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "warning", "-i", files[0], "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-f", "framemd5", "-")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("without %d: ffmpeg: %v\n%s", timestamp, err, &errs)
	}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if fields := strings.Split(s.Text(), ","); len(fields) == 6 && fields[0] == "0" {
			sums = append(sums, strings.TrimSpace(fields[5]))
		}
	}
	return sums
}
