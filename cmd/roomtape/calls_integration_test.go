//go:build integration

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/recorder"
)

// TestWhatPeopleDoInCalls records a browser that sends camera and screen at once,
// shares something larger and slower in place of its camera, turns its phone, and
// switches the camera off in the two ways there are.
func TestWhatPeopleDoInCalls(t *testing.T) {
	b := browser.Start(t)
	for _, codec := range []string{"vp8", "vp9", "av1", "h264"} {
		t.Run(codec, func(t *testing.T) {
			room, dir := openRoom(t), t.TempDir()
			p := page(t, b, room, "alice")
			p.Eval(`(() => {
				globalThis.picture = (width, height, fps) => {
					const canvas = document.createElement('canvas');
					Object.assign(canvas, {width, height});
					const context = canvas.getContext('2d');
					let n = 0;
					setInterval(() => {
						context.fillStyle = ['#204080', '#804020'][++n >> 3 & 1];
						context.fillRect(0, 0, width, height);
						context.fillStyle = '#fff';
						context.fillRect((n * 7) % width, height / 3, 40, 40);
					}, 1000 / fps);
					const track = canvas.captureStream(fps).getVideoTracks()[0];
					track.contentHint = 'detail'; // or it would be scaled down
					return track;
				};
				// The second video line of the offer gets a screen, in a stream of its own.
				const answer = RTCPeerConnection.prototype.createAnswer;
				RTCPeerConnection.prototype.createAnswer = async function () {
					const second = this.getTransceivers().filter((t) => t.receiver.track.kind === 'video')[1];
					if (second) {
						globalThis.pc = this;
						second.direction = 'sendonly';
						const track = picture(960, 540, 10);
						second.sender.setStreams(new MediaStream([track]));
						await second.sender.replaceTrack(track);
					}
					return answer.call(this);
				};
				return true;
			})()`, nil)
			var has bool
			p.Eval(`RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === 'video/`+codec+`')`, &has)
			if !has {
				t.Skipf("this browser sends no %s", codec)
			}
			record := start(t, "record", "--out", dir, "--session", "s", "--codecs", codec, room)
			waitFor(t, "two recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
			p.Eval(`(() => {
				globalThis.sender = pc.getSenders().find((s) => s.track?.kind === 'video');
				globalThis.camera = sender.track;
				return true;
			})()`, nil)
			after(t, 2*time.Second)
			for _, step := range []string{
				`sender.replaceTrack(picture(1280, 720, 5)).then(() => true)`, // a screen
				`sender.replaceTrack(picture(360, 640, 24)).then(() => true)`, // a phone that is turned
				`sender.replaceTrack(camera).then(() => true)`,
				`(camera.enabled = false, true)`, // black pictures
				`(camera.enabled = true)`,
				`sender.replaceTrack(null).then(() => true)`, // nothing
				`sender.replaceTrack(camera).then(() => true)`,
			} {
				p.Eval(step, nil)
				if strings.Contains(step, "null") {
					after(t, 4*time.Second) // longer than a screen may stand still
				}
				after(t, 2*time.Second)
			}
			record.stop(t)
			p.Close()
			m := readManifest(t, filepath.Join(dir, "s"))
			if len(m.Files) != 2 {
				t.Fatalf("%d files, want one for each stream", len(m.Files))
			}
			for _, f := range m.Files {
				path := filepath.Join(dir, "s", f.Path)
				silent(t, "ffmpeg", "-v", "error", "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-f", "null", "-")
				playsInBrowser(t, b, filepath.Join(dir, "s"), path)
				for _, track := range f.Tracks {
					if track.Kind != "video" {
						continue
					}
					t.Logf("%s: %d frames, %d key, sizes %v, gaps %v", f.Path, track.Frames.Written, track.Frames.Key, track.Sizes, track.Gaps)
					if len(f.Tracks) == 2 {
						camera(t, track)
					} else if track.Width != 960 || len(track.Gaps) > 0 || track.Frames.Written < 60 {
						t.Errorf("the second video: %+v", track)
					}
				}
			}
		})
	}
}

// camera judges what became of the track that changes.
func camera(t *testing.T, track recorder.TrackEntry) {
	t.Helper()
	var sizes []string
	for _, s := range track.Sizes {
		sizes = append(sizes, fmt.Sprintf("%dx%d", s.Width, s.Height))
	}
	for _, want := range []string{"1280x720", "360x640"} {
		if !strings.Contains(strings.Join(sizes, " "), want) {
			t.Errorf("sizes %v lack %s", sizes, want)
		}
	}
	if len(sizes) < 4 || sizes[len(sizes)-1] != sizes[0] {
		t.Errorf("sizes %v", sizes)
	}
	if track.Frames.Dropped > 1 { // the last may have been on its way
		t.Errorf("%d frames dropped", track.Frames.Dropped)
	}
	// Black pictures are pictures; only replaceTrack(null) is a pause.
	pauses := 0
	for _, g := range track.Gaps {
		if g.Reason == recorder.GapPause && g.DurationMS > 5000 {
			pauses++
		}
	}
	if pauses != 1 {
		t.Errorf("gaps %+v, want one pause", track.Gaps)
	}
}
