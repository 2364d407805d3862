package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/roomtape/roomtape/internal/report"
	"github.com/roomtape/roomtape/recorder"
)

// largeSession is an hour of twenty people who lose a packet all the time, and in
// the first seconds of it write twenty messages a second together and have statistics.
func largeSession(t testing.TB, seconds int) fstest.MapFS {
	t.Helper()
	const people = 20
	m := recorder.Manifest{
		Version: 1, Room: "standup", State: recorder.StateComplete, Stats: "stats.jsonl", Messages: &recorder.MessagesEntry{Path: "messages.jsonl"},
		StartedAt: time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC), EndedAt: time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC),
	}
	left := int64(3_600_000)
	for i := range people {
		id := fmt.Sprintf("participant %d", i)
		m.Participants = append(m.Participants, recorder.ParticipantEntry{ID: id, LeftMS: &left})
		f := recorder.FileEntry{Path: fmt.Sprintf("%d.webm", i), Participant: id, DurationMS: left, SHA256: strings.Repeat("0", 64)}
		for _, kind := range []string{"video", "audio"} {
			track := recorder.TrackEntry{Kind: kind, Codec: "VP8", Packets: recorder.PacketCounts{Lost: recorder.MaxGaps}}
			for k := range int64(recorder.MaxGaps) {
				track.Gaps = append(track.Gaps, recorder.Gap{AtMS: k * 3600, DurationMS: 66, Packets: 1, Frames: 1, Reason: recorder.GapLoss})
			}
			f.Tracks = append(f.Tracks, track)
		}
		m.Files = append(m.Files, f)
	}
	var stats, messages bytes.Buffer
	for s := range seconds {
		fmt.Fprintf(&stats, `{"timestamp":%d,"connections":[],"tracks":[`, s*1000)
		for i := range people {
			for k, kind := range []string{"video", "audio"} {
				if i+k > 0 {
					stats.WriteByte(',')
				}
				fmt.Fprintf(&stats, `{"participant":"participant %d","connection":%[1]d,"stream":"cam","trackIdentifier":"v","ssrc":%d,"kind":%q,"codec":"VP8","frameWidth":1280,"frameHeight":720,"bitrate":%d,`+
					`"framesPerSecond":30,"packetsReceived":%d,"bytesReceived":555000,"packetsLost":7,"retransmittedPacketsReceived":7,"packetsMissing":%d,"packetsDiscarded":0,`+
					`"jitter":0.0042,"jitterBufferDelay":1.23,"jitterBufferEmittedCount":90,"framesReceived":90,"framesDropped":0,"quality":"good"}`, i, 2*i+k, kind, 1_000_000+s*977%500_000, s*140, s/3)
			}
			fmt.Fprintf(&messages, `{"at_ms":%d,"participant":"participant %d","label":"messages","text":"{\"type\":\"chat\",\"text\":\"%s\"}"}`+"\n", s*1000+i, i, strings.Repeat("so it goes ", 50))
		}
		stats.WriteString("]}\n")
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"manifest.json": {Data: b}, "stats.jsonl": {Data: stats.Bytes()}, "messages.jsonl": {Data: messages.Bytes()}}
}

// TestLargeSessionIsAnHTMLOfAFewMegabytes: what it is made of has 120 MB. It takes
// 1 s here alone; the limit leaves room for machines that do other things too.
func TestLargeSessionIsAnHTMLOfAFewMegabytes(t *testing.T) {
	seconds := 3600
	if raced { // which takes twenty times as long
		seconds = 300
	}
	dir := largeSession(t, seconds)
	began := time.Now()
	p, err := report.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Write(&b, "test"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("%d MB become %d kB in %v", (len(dir["stats.jsonl"].Data)+len(dir["messages.jsonl"].Data)+len(dir["manifest.json"].Data))>>20, b.Len()>>10, took)
	if b.Len() > 6<<20 || took > 40*time.Second {
		t.Errorf("%d bytes in %v", b.Len(), took)
	}
	lost := int64(0)
	for _, g := range p.Manifest.Files[0].Tracks[0].Gaps {
		lost += g.Packets
	}
	if n := len(p.Manifest.Files[0].Tracks[0].Gaps); n > 700 || lost != recorder.MaxGaps {
		t.Errorf("%d gaps, of %d packets", n, lost)
	}
	said := 0
	for _, n := range p.Said {
		said += n
	}
	if said != 20*seconds || len(p.Messages)+p.More != said {
		t.Errorf("%d messages in the plot, %d in the list and %d more", said, len(p.Messages), p.More)
	}
}
