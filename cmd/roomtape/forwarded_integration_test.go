//go:build integration

package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// openForwardedRoom is openRoom with a server that forwards.
func openForwardedRoom(t *testing.T) string {
	t.Helper()
	u, err := unit.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := serveOptions{listen: "127.0.0.1:0"}
	o.limits.Forward = u
	r, err := startRooms(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	return r.url("ws") + "/ws/test"
}

// widths gives how wide the picture was in each second so far, of which there may be
// half a line.
func widths(t *testing.T, session string) (list []int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(session, statsFile+statsExt))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(b)) {
		var line statsLine
		if json.Unmarshal([]byte(text), &line) != nil {
			continue
		}
		for _, track := range line.Tracks {
			if track.Kind == "video" {
				list = append(list, track.FrameWidth)
			}
		}
	}
	return list
}

// share is how many of these are as wide.
func share(list []int, width int) float64 {
	n := 0
	for _, w := range list {
		if w == width {
			n++
		}
	}
	return float64(n) / float64(max(len(list), 1))
}

// TestEachSubscriberGetsItsEncoding has a real page send three encodings to a room
// that is forwarded, where one recorder has all the bandwidth there is and another
// one 300 kbit/s.
func TestEachSubscriberGetsItsEncoding(t *testing.T) {
	b := browser.Start(t)
	t.Run("simulcast", func(t *testing.T) { eachGetsItsOwn(t, b, "") })
	t.Run("VP9 L3T3_KEY", func(t *testing.T) {
		eachGetsItsOwn(t, b, `(() => {
			const add = RTCPeerConnection.prototype.addTransceiver;
			RTCPeerConnection.prototype.addTransceiver = function (what, init) {
				if (!init?.sendEncodings) return add.call(this, what, init);
				init = {...init, sendEncodings: [{scalabilityMode: 'L3T3_KEY', maxBitrate: 2_000_000}]};
				const transceiver = add.call(this, what, init);
				transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => c.mimeType === 'video/VP9'));
				return transceiver;
			};
			RTCRtpSender.prototype.setParameters = async () => {}; // one encoding it stays
			return true;
		})()`)
	})
}

// outgoing is what a page says of the video that it sends.
const outgoing = `(async () => {
	const out = [];
	for (const s of (await roomtape.peers[0]?.connection.getStats())?.values() ?? []) {
		if (s.type === 'outbound-rtp' && s.kind === 'video') {
			out.push([s.rid, s.active, s.frameWidth, s.framesPerSecond, s.targetBitrate, s.qualityLimitationReason].join(' '));
		}
		if (s.type === 'candidate-pair' && s.availableOutgoingBitrate) out.push('available ' + s.availableOutgoingBitrate);
	}
	return out;
})()`

// eachGetsItsOwn has a page join after a script.
func eachGetsItsOwn(t *testing.T, b *browser.Browser, script string) {
	const largest, least = 960, 240
	room, relay := openLossy(t, openForwardedRoom(t), 1, lossy.Odds{Delay: 5 * time.Millisecond})
	relay.Set("sfu", "slow", lossy.Odds{Delay: 20 * time.Millisecond, Rate: 300_000, Queue: 400 * time.Millisecond})
	alice := page(t, b, room, "alice")
	defer alice.Close()
	if script != "" {
		alice.Eval(script, nil)
		alice.Eval(`roomtape.leave()`, nil)
		alice.Wait(`roomtape.state === 'outside'`)
		alice.Eval(`roomtape.join({room: 'test', name: 'alice', source: 'pattern'})`, nil)
		alice.Wait(`roomtape.state === 'joined'`)
	}
	alice.Eval(`roomtape.shareTestPicture({width: 960, height: 540, fps: 20})`, nil)

	dir := t.TempDir()
	defer func() {
		if t.Failed() {
			var sent []string
			alice.Eval(outgoing, &sent)
			t.Log(sent, alice.Errors(), widths(t, filepath.Join(dir, "fast")), widths(t, filepath.Join(dir, "slow")))
		}
	}()
	recorders := map[string]*child{}
	for _, id := range []string{"fast", "slow"} {
		recorders[id] = start(t, "record", "--out", dir, "--session", id, "--peer-id", id, room)
	}
	session := func(id string) string { return filepath.Join(dir, id) }
	has := func(id string, width int) func() bool {
		return func() bool {
			list := widths(t, session(id))
			return len(list) >= 3 && share(list[len(list)-3:], width) == 1
		}
	}
	waitFor(t, "the largest encoding", 60*time.Second, has("fast", largest))
	waitFor(t, "the least encoding", 60*time.Second, has("slow", least))
	from := map[string]int{"fast": len(widths(t, session("fast"))), "slow": len(widths(t, session("slow")))}
	after(t, 20*time.Second)
	for id, want := range map[string]int{"fast": largest, "slow": least} {
		if err := recorders[id].Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := recorders[id].exit(t); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", id, code, &recorders[id].stderr)
		}
		list := widths(t, session(id))
		t.Logf("%s: %v, then %v", id, list[:from[id]], list[from[id]:])
		part := share(list[from[id]:], want)
		if id == "slow" && script != "" { // two layers of VP9 nearly fit
			part += share(list[from[id]:], 2*least)
		}
		if part < 0.6 || id == "slow" && share(list[from[id]:], largest) > 0.1 {
			t.Errorf("%s has the encoding of %d px for %.2f of the time", id, want, part)
		}
		m := readManifest(t, session(id))
		if m.State != recorder.StateComplete || len(m.Files) != 1 {
			t.Fatalf("%s: the manifest: %+v", id, m)
		}
		path := filepath.Join(session(id), m.Files[0].Path)
		// Each frame decodes. The null muxer would complain of how times are rounded.
		silent(t, "ffmpeg", "-v", "warning", "-xerror", "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-f", "framemd5", "-y", os.DevNull)
		for _, track := range m.Files[0].Tracks {
			t.Logf("%s: %s: packets %+v, frames %+v, sizes %v", id, track.Kind, track.Packets, track.Frames, track.Sizes)
			if track.Frames.Written < 100 {
				t.Errorf("%s: %d frames of %s", id, track.Frames.Written, track.Kind)
			}
		}
	}
	sent := relay.Counts("sfu", "slow")
	t.Logf("to the slow one: %v", sent)
}
