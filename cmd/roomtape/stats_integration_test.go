//go:build integration

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/internal/lossy"
)

// sample is what a page's getStats says of what it sends to the recorder, at a
// wall clock time in ms.
type sample struct {
	At                                  float64
	Bytes, Frames, Packets, Lost, Nacks float64
	RoundTrip                           float64
}

// sampling has a page look at its connection to the recorder ten times a second.
const sampling = `(() => {
	window.samples = {video: [], audio: []};
	setInterval(async () => {
		const peer = roomtape.peers.find((p) => p.id === 'recorder');
		if (!peer?.connection) return;
		const stats = [...(await peer.connection.getStats()).values()];
		for (const kind of ['video', 'audio']) {
			const out = stats.filter((s) => s.type === 'outbound-rtp' && s.kind === kind && s.packetsSent > 0)[0];
			if (!out) continue;
			const back = stats.find((s) => s.type === 'remote-inbound-rtp' && s.ssrc === out.ssrc) ?? {};
			window.samples[kind].push({
				At: performance.timeOrigin + performance.now(), Bytes: out.bytesSent, Frames: out.framesSent ?? 0,
				Packets: out.packetsSent - out.retransmittedPacketsSent, Lost: back.packetsLost ?? 0, Nacks: out.nackCount,
				RoundTrip: back.roundTripTime ?? 0,
			});
		}
	}, 100);
	return true;
})()`

// at gives what a sample's number was at a time, between two samples.
func at(list []sample, ms float64, of func(sample) float64) float64 {
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if b.At >= ms {
			return of(a) + (of(b)-of(a))*(ms-a.At)/(b.At-a.At)
		}
	}
	return of(list[len(list)-1])
}

func readStats(t *testing.T, session string) (lines []statsLine) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(session, "stats.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var line statsLine
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, s.Bytes())
		}
		lines = append(lines, line)
	}
	return lines
}

// TestStatisticsAreThoseOfThePage records a real browser over a network that loses
// packets, and holds stats.jsonl against the page's own getStats.
func TestStatisticsAreThoseOfThePage(t *testing.T) {
	room, relay := openLossyRoom(t, 1, lossy.Odds{Loss: 0.02, Delay: 25 * time.Millisecond})
	dir := t.TempDir()
	alice := page(t, browser.Start(t), room, "alice")
	alice.Eval(sampling, nil)
	record := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "recorder", room)
	waitFor(t, "twenty seconds of statistics", 60*time.Second, func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "s", "stats.jsonl")) // not there yet
		return bytes.Count(b, []byte("\n")) > 20
	})
	var samples struct{ Video, Audio []sample }
	alice.Eval(`window.samples`, &samples)
	record.stop(t)
	session := filepath.Join(dir, "s")
	zero := float64(readManifest(t, session).StartedAt.UnixMicro()) / 1000
	lines := readStats(t, session)
	for kind, list := range map[string][]sample{"video": samples.Video, "audio": samples.Audio} {
		if len(list) < 100 {
			t.Fatalf("%s: only %d samples", kind, len(list))
		}
		var first, last *trackStats
		var from, to float64
		for i := range lines {
			ms := zero + float64(lines[i].Timestamp)
			for k := range lines[i].Tracks {
				tr := &lines[i].Tracks[k]
				if tr.Kind != kind || ms < list[0].At+3000 || ms > list[len(list)-1].At {
					continue
				}
				if first == nil {
					first, from = tr, ms
				}
				last, to = tr, ms
			}
		}
		if first == nil || to-from < 10_000 {
			t.Fatalf("%s: no ten seconds to compare", kind)
		}
		// What is sent arrives 25 ms later.
		between := func(of func(sample) float64) float64 { return at(list, to-25, of) - at(list, from-25, of) }
		near := func(what string, got, want, part, slack float64) {
			t.Helper()
			t.Logf("%s: %s %.6g, the page says %.6g", kind, what, got, want)
			if math.Abs(got-want) > part*want+slack {
				t.Errorf("%s: %s is %.6g, the page says %.6g", kind, what, got, want)
			}
		}
		seconds := (to - from) / 1000
		near("bit/s", 8*float64(last.BytesReceived-first.BytesReceived)/seconds,
			8*between(func(s sample) float64 { return s.Bytes })/seconds, 0.05, 0)
		if kind == "video" {
			near("frames/s", float64(last.FramesReceived-first.FramesReceived)/seconds,
				between(func(s sample) float64 { return s.Frames })/seconds, 0.05, 0.5)
			near("NACKs", float64(*last.NackCount), at(list, to, func(s sample) float64 { return s.Nacks }), 0.1, 5)
		}
		// The page knows of losses by our reports of each second.
		near("lost", float64(*last.PacketsLost), at(list, to, func(s sample) float64 { return s.Lost }), 0.1, 5)
		share := float64(*last.PacketsLost) / at(list, to, func(s sample) float64 { return s.Packets })
		if share < 0.005 || share > 0.05 {
			t.Errorf("%s: %.3f lost of packets that are lost by 0.02", kind, share)
		}
		if last.PacketsMissing > 0 && kind == "video" {
			t.Errorf("%s: %d packets are missing", kind, last.PacketsMissing)
		}
		c := lines[len(lines)-1].Connections[0]
		near("round trip", *c.CurrentRoundTripTime, list[len(list)-1].RoundTrip, 0.2, 0.02)
		if c.ICEState != "connected" || c.LocalCandidateType == "" || c.AVOffset == nil || math.Abs(*c.AVOffset) > 0.1 {
			t.Errorf("%+v", c)
		}
	}
	t.Logf("the relay: %v", relay.Counts("*", "*"))
}
