//go:build integration

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
)

// listenRTP gives sockets on a port and the one after it.
func listenRTP(t *testing.T) (rtp, rtcp *net.UDPConn) {
	t.Helper()
	for range 100 {
		a, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := a.LocalAddr().(*net.UDPAddr).Port
		b, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + 1})
		if port%2 == 0 && err == nil {
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			_ = a.SetReadBuffer(4 << 20)
			return a, b
		}
		a.Close()
		if err == nil {
			b.Close()
		}
	}
	t.Fatal("no two ports in a row are free")
	return nil, nil
}

// sendsRTP lets ffmpeg send a video in real time, and gives an rtpdump of what
// arrived and the session description.
func sendsRTP(t *testing.T, args ...string) (dump, sdp string) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not on this machine")
	}
	dir := t.TempDir()
	dump, sdp = filepath.Join(dir, "video.rtpdump"), filepath.Join(dir, "video.sdp")
	rtp, rtcp := listenRTP(t)
	port := rtp.LocalAddr().(*net.UDPAddr).Port

	records := make(chan []byte)
	began := time.Now()
	take := func(c *net.UDPConn, control bool) {
		buf := make([]byte, 65536)
		for {
			n, err := c.Read(buf)
			if err != nil {
				records <- nil
				return
			}
			plen := uint16(n)
			if control {
				plen = 0
			}
			r := binary.BigEndian.AppendUint16(nil, uint16(n+8))
			r = binary.BigEndian.AppendUint16(r, plen)
			r = binary.BigEndian.AppendUint32(r, uint32(time.Since(began).Milliseconds()))
			records <- append(r, buf[:n]...)
		}
	}
	go take(rtp, false)
	go take(rtcp, true)

	sender := exec.CommandContext(t.Context(), "ffmpeg", slices.Concat([]string{"-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4"},
		args, []string{"-f", "rtp", "-sdp_file", sdp, fmt.Sprintf("rtp://127.0.0.1:%d?pkt_size=1200", port)})...)
	done := make(chan error, 1)
	go func() {
		out, err := sender.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ffmpeg: %w\n%s", err, out)
		}
		done <- err
		// What has arrived is read before the end of reading.
		_, _ = rtp.SetReadDeadline(time.Now().Add(time.Second)), rtcp.SetReadDeadline(time.Now().Add(time.Second))
	}()
	out := []byte("#!rtpplay1.0 127.0.0.1/" + strconv.Itoa(port) + "\n")
	out = append(out, make([]byte, 16)...)
	for open := 2; open > 0; {
		if r := <-records; r == nil {
			open--
		} else {
			out = append(out, r...)
		}
	}
	if err := errors.Join(<-done, os.WriteFile(dump, out, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dump, sdp
}

// TestReorderedPicturesOfASenderPlay replays what ffmpeg sends: H264 with
// B-frames, whose parameter sets are in its session description and nowhere else.
func TestReorderedPicturesOfASenderPlay(t *testing.T) {
	// Looking ahead far, the encoder would send the last two seconds at once.
	const live = "keyint=25:b-adapt=0:rc-lookahead=0:sync-lookahead=0:threads=1:"
	for name, args := range map[string][]string{
		"B-frames":  {"-bf", "3", "-x264-params", live + "b-pyramid=none"},
		"a pyramid": {"-bf", "3", "-x264-params", live + "b-pyramid=normal"},
	} {
		t.Run(name, func(t *testing.T) {
			dump, sdp := sendsRTP(t, append([]string{"-c:v", "libx264", "-pix_fmt", "yuv420p", "-flags", "+global_header"}, args...)...)
			text, err := os.ReadFile(sdp)
			if err != nil || !strings.Contains(string(text), "sprop-parameter-sets=") {
				t.Fatalf("the description: %v\n%s", err, text)
			}
			r, dir := replayFile(t, "--sdp", sdp, dump)
			if len(r.Files) != 1 || r.Files[0].Tracks[0].Frames.Written != 100 || len(r.Files[0].Tracks[0].Gaps) != 0 {
				t.Fatalf("%+v", r.Files)
			}
			file := filepath.Join(dir, r.Files[0].Path)
			whole(t, file)
			silent(t, "ffmpeg", "-v", "warning", "-i", file, "-f", "null", "-")
			out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "warning", "-show_entries", "frame=pts_time", "-of", "csv=p=0", file).CombinedOutput()
			if err != nil {
				t.Fatalf("ffprobe: %v\n%s", err, out)
			}
			var times []float64
			for _, line := range strings.Fields(string(out)) {
				at, err := strconv.ParseFloat(strings.Trim(line, ","), 64)
				if err != nil {
					t.Fatalf("ffprobe: %s", line)
				}
				times = append(times, at)
			}
			if len(times) != 100 {
				t.Fatalf("%d pictures of 100", len(times))
			}
			// The last ones come at once all the same, and what a busy machine sends
			// late at first is set right by a tenth of the time at most.
			for i := 1; i < len(times)-6; i++ {
				if d := times[i] - times[i-1]; d < 0.035 || d > 0.045 {
					t.Errorf("picture %d is presented %.3f s after the one before", i, d)
				}
			}
			playsInBrowser(t, browser.Start(t), dir, file)
		})
	}
}
