//go:build integration

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/internal/marked"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// TestReliabilityOverRealSockets has ten participants talk for half a minute
// over a network with a round trip of 100 ms that loses packets in both
// directions, and looks for each frame. It prints the rows of docs/RELIABILITY.md
// that are of real sockets.
func TestReliabilityOverRealSockets(t *testing.T) {
	for _, loss := range []float64{0, 0.05, 0.1} {
		t.Run(fmt.Sprintf("%.0f%%", loss*100), func(t *testing.T) { overRealSockets(t, loss) })
	}
}

func overRealSockets(t *testing.T, loss float64) {
	const publishers, length = 10, 30 * time.Second
	clip, err := readClip("alice")
	if err != nil {
		t.Fatal(err)
	}
	log, err := marked.NewLog(clip)
	if err != nil {
		t.Fatal(err)
	}
	room, relay := openLossyRoom(t, 1, lossy.Odds{Loss: loss, Delay: 50 * time.Millisecond})
	dir := t.TempDir()
	session := filepath.Join(dir, "s")
	record := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "recorder", "--until-empty", "1s", room)
	waitFor(t, "the recorder to join", 20*time.Second, func() bool { _, err := os.Stat(session); return err == nil })
	var leaving sync.WaitGroup
	for i := range publishers {
		id := fmt.Sprintf("p%d", i)
		p, err := synthetic.Join(t.Context(), synthetic.Config{
			URL: room, Room: "test", PeerID: id, Clip: clip, Loopback: true, Source: log.Source(id),
			Ignore: func(id string) bool { return id != "recorder" },
		})
		if err != nil {
			t.Fatal(err)
		}
		leaving.Go(func() {
			after(t, length)
			_ = p.Close() // what it returns is of the network
		})
	}
	leaving.Wait()
	if code := record.exit(t); code != 0 { // since nobody is there
		_ = record.Process.Signal(syscall.SIGKILL)
		t.Fatalf("exit code %d\n%s", code, &record.stderr)
	}
	r, err := log.Check(session)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range recordings(t, dir) {
		plays(t, f)
	}
	c := relay.Counts("*", "*")
	if lost := float64(c.Lost) / float64(c.Packets); lost < loss*0.9 || lost > loss*1.1 {
		t.Errorf("the relay loses %.2f %%", lost*100)
	}
	v, a := r.Video, r.Audio
	share := func(t marked.Tally) float64 { return float64(t.Required()-t.Missing) / float64(t.Required()) }
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	seconds := float64(v.Missing) * clip.FrameDuration.Seconds()
	t.Logf("| %.0f %% | %d of %d | %.3f %% | %d | %d of %d | %.1f ms | %.1f ms | %.2f s |", loss*100,
		v.Required()-v.Missing, v.Required(), share(v)*100, v.Undecodable, a.Required()-a.Missing, a.Required(), ms(r.Skew(0.95)), ms(r.Skew(1)), seconds)
	t.Logf("video %+v\naudio %+v\nlargest skew: %s", v, a, r.Worst)
	if want := publishers * int(length/clip.FrameDuration) * 9 / 10; v.Required() < want || v.Before > publishers*30 {
		t.Errorf("%d pictures had to be recorded, want at least %d; %d came before the first ones", v.Required(), want, v.Before)
	}
	if share(v) < 0.9999 || v.Undecodable+v.Twice+v.Strange+a.Twice+a.Strange > 0 {
		t.Errorf("video: %s; audio: %s", v.Faults(), a.Faults())
	}
	// These participants send sound again too.
	if share(a) < 0.9999 {
		t.Errorf("%d of %d packets of sound are missing", a.Missing, a.Required())
	}
	if r.Skew(0.95) > 10*time.Millisecond || r.Skew(1) > 20*time.Millisecond {
		t.Errorf("95 %% of the pictures are within %v of their sound; the largest skew is %s", r.Skew(0.95), r.Worst)
	}
	if t.Failed() {
		t.Logf("%s\n%s", strings.Join(r.Details, "\n"), &record.stderr)
	}
}
