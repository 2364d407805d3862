//go:build integration

package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
)

// TestBrowsersAreRecordedInEachCodec records a real browser by each codec that
// it can send.
func TestBrowsersAreRecordedInEachCodec(t *testing.T) {
	b := browser.Start(t)
	for _, codec := range []string{"av1", "h264", "vp9"} {
		t.Run(codec, func(t *testing.T) {
			room, dir := openRoom(t), t.TempDir()
			p := page(t, b, room, "alice")
			var has bool
			p.Eval(`RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === 'video/`+codec+`')`, &has)
			if !has {
				t.Skipf("this browser sends no %s", codec)
			}
			record := start(t, "record", "--out", dir, "--session", "s", "--codecs", codec, room)
			waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, dir)) > 0 })
			after(t, 6*time.Second)
			record.stop(t)
			files := recordings(t, dir)
			if len(files) != 1 {
				t.Errorf("files %q, want one", files)
			}
			for _, f := range files {
				plays(t, f)
				playsInBrowser(t, b, filepath.Join(dir, "s"), f)
				report, _, err := inspectFile(f, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %+v", filepath.Base(f), report)
				if codec == "h264" != strings.HasSuffix(f, ".mkv") {
					t.Errorf("%s with %s", f, codec)
				}
				if len(report.Tracks) != 2 || report.DurationMS < 4000 {
					t.Errorf("%s: %+v", f, report)
				}
			}
			p.Close()
		})
	}
}
