//go:build integration

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/recorder"
)

// openLine opens a data channel to the recorder in a page: ask(action, name) gives
// what it answers.
func openLine(t *testing.T, p *browser.Page) {
	t.Helper()
	p.Wait(`roomtape.recorders.length === 1`)
	p.Wait(`roomtape.peers.some((x) => roomtape.recorders.includes(x.id) && x.open)`)
	p.Eval(`(() => {
	const {connection} = roomtape.peers.find((x) => roomtape.recorders.includes(x.id));
	globalThis.line = connection.createDataChannel('game');
	line.binaryType = 'arraybuffer';
	const waiting = [];
	line.onmessage = ({data}) => waiting.shift()?.(JSON.parse(data));
	globalThis.ask = (action, name) => new Promise((answer) => {
		waiting.push(answer);
		line.send(JSON.stringify({type: 'recording', action, name}));
	});
	return true;
})()`, nil)
	p.Wait(`line.readyState === 'open'`)
}

// answered is what the recorder answers.
type answered struct {
	State, Error string
	PeerID       string `json:"peer_id"`
	InReplyTo    string `json:"in_reply_to"`
	OK, Control  bool
}

func ask(t *testing.T, p *browser.Page, action, name string) (r answered) {
	t.Helper()
	p.Eval(fmt.Sprintf(`ask(%q, %q)`, action, name), &r)
	if r.InReplyTo != action {
		t.Errorf("%s is answered by %+v", action, r)
	}
	return r
}

func saidIn(t *testing.T, dir string) (list []recorder.MessageEntry) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "messages.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var e recorder.MessageEntry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%q: %v", s.Text(), err)
		}
		list = append(list, e)
	}
	return list
}

// TestChatIsRecorded: what a real browser says is in the file, text and binary, in
// order; nobody controls a recorder that does not allow it.
func TestChatIsRecorded(t *testing.T) {
	room, dir := openRoom(t), t.TempDir()
	b := browser.Start(t)
	alice := page(t, b, room, "alice")
	record := start(t, "record", "--out", dir, "--session", "s", "--peer-id", "bot", room)
	openLine(t, alice)
	waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, dir)) == 1 })
	alice.Eval(`roomtape.say('Grüße <b>&')`, nil)
	alice.Eval(`line.send(new Uint8Array([0, 1, 255]))`, nil)
	if r := ask(t, alice, "status", ""); !r.OK || r.State != "started" || r.PeerID != "bot" || r.Control {
		t.Errorf("status: %+v", r)
	}
	for _, action := range []string{"pause", "mark", "start", "stop"} {
		if r := ask(t, alice, action, "x"); r.OK || r.Error != "not allowed" || r.State != "started" {
			t.Errorf("%s: %+v", action, r)
		}
	}
	alice.Eval(`(async () => {
	for (let i = 0; i < 2000; i++) {
		line.send('n' + i);
		if (i % 20 === 19) await new Promise((r) => setTimeout(r, 10));
	}
	return true;
})()`, nil)
	alice.Eval(`line.close()`, nil)
	openLine(t, alice) // opened again
	alice.Eval(`line.send('last')`, nil)
	waitFor(t, "the last message", 20*time.Second, func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "s", "messages.jsonl"))
		return bytes.Contains(b, []byte(`"text":"last"`))
	})
	record.stop(t)
	chat, binary, next := false, false, 0
	for _, e := range saidIn(t, filepath.Join(dir, "s")) {
		switch {
		case e.Participant != "alice":
			t.Errorf("%+v", e)
		case e.Label == "messages" && e.Text != nil && strings.Contains(*e.Text, `"text":"Grüße <b>&"`):
			chat = true
		case e.Label == "game" && e.Base64 != nil && bytes.Equal(*e.Base64, []byte{0, 1, 255}):
			binary = true
		case e.Label == "game" && e.Text != nil && *e.Text == fmt.Sprint("n", next):
			next++
		}
	}
	if !chat || !binary || next != 2000 {
		t.Errorf("chat %v, binary %v, %d of 2000 in order", chat, binary, next)
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	if m.Pauses != nil || m.Marks != nil || m.StoppedBy != "" || m.Messages.Dropped != nil || !strings.Contains(record.stderr.String(), "request refused") {
		t.Errorf("manifest %+v\n%s", m, &record.stderr)
	}
}

// TestRoomControlsTheRecorder: a page pauses, resumes, marks and stops; the file has
// the gap and the chapters, in the eyes of every program, and a replay gives the
// same bytes.
func TestRoomControlsTheRecorder(t *testing.T) {
	room, dir := openRoom(t), t.TempDir()
	b := browser.Start(t)
	alice := page(t, b, room, "alice")
	record := start(t, "record", "--allow-control", "--dump-rtp", "--out", dir, "--session", "s", room)
	openLine(t, alice)
	waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, dir)) == 1 })
	after(t, 2*time.Second)
	if r := ask(t, alice, "mark", "kick-off \u2764"); !r.OK || !r.Control {
		t.Errorf("mark: %+v", r)
	}
	after(t, 2*time.Second)
	alice.Eval(`roomtape.say('before')`, nil)
	if r := ask(t, alice, "pause", ""); !r.OK || r.State != "paused" {
		t.Errorf("pause: %+v", r)
	}
	alice.Wait(`document.getElementById('recording').textContent.includes('paused')`)
	alice.Eval(`roomtape.say('secret')`, nil)
	after(t, 3*time.Second)
	if r := ask(t, alice, "resume", ""); !r.OK || r.State != "started" {
		t.Errorf("resume: %+v", r)
	}
	alice.Wait(`!document.getElementById('recording').textContent.includes('paused')`)
	after(t, 3*time.Second)
	alice.Eval(`roomtape.say('after')`, nil)
	ask(t, alice, "mark", "the end")
	after(t, time.Second)
	if r := ask(t, alice, "stop", ""); !r.OK || r.State != "stopped" {
		t.Errorf("stop: %+v", r)
	}
	alice.Wait(`roomtape.recorders.length === 0`) // as the page is told
	after(t, 4*time.Second)
	if r := ask(t, alice, "start", ""); !r.OK || r.State != "started" {
		t.Errorf("start: %+v", r)
	}
	alice.Wait(`roomtape.recorders.length === 1`)
	waitFor(t, "another file", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
	after(t, 3*time.Second)
	if r := ask(t, alice, "stop", ""); !r.OK || r.State != "stopped" {
		t.Errorf("stop: %+v", r)
	}
	after(t, time.Second)
	record.stop(t)
	alice.Wait(`roomtape.recorders.length === 0`)

	m := readManifest(t, filepath.Join(dir, "s"))
	if m.State != "complete" || m.StoppedBy != "alice" || len(m.Marks) != 2 || m.Marks[0].Name != "kick-off \u2764" || m.Marks[1].By != "alice" {
		t.Errorf("manifest: %+v", m)
	}
	if len(m.Pauses) != 1 || m.Pauses[0].By != "alice" || m.Pauses[0].ResumedBy != "alice" || *m.Pauses[0].DurationMS < 2500 {
		t.Fatalf("pauses: %+v", m.Pauses)
	}
	file := filepath.Join(dir, "s", "alice.webm")
	whole(t, file)
	whole(t, filepath.Join(dir, "s", "alice-2.webm"))
	if len(m.Stops) != 2 || m.Stops[0].ResumedBy != "alice" || *m.Stops[0].DurationMS < 3500 || len(m.Files) != 2 ||
		m.Files[1].OffsetMS < m.Stops[0].AtMS+*m.Stops[0].DurationMS-50 || m.Files[1].DurationMS < 2000 {
		t.Errorf("stops: %+v; files %+v", m.Stops, m.Files)
	}
	p := m.Pauses[0]
	for _, tr := range m.Files[0].Tracks {
		found := false
		for _, g := range tr.Gaps {
			at := g.AtMS + m.Files[0].OffsetMS - p.AtMS
			found = found || g.Reason == recorder.GapPaused && at > -100 && at < 100 && g.DurationMS > *p.DurationMS-100 && g.DurationMS < *p.DurationMS+700
		}
		if !found || tr.Packets.Discarded["paused"] == 0 {
			t.Errorf("%s: gaps %+v; the pause is %d + %d ms", tr.Kind, tr.Gaps, p.AtMS, *p.DurationMS)
		}
	}
	text := ""
	for _, e := range saidIn(t, filepath.Join(dir, "s")) {
		text += *e.Text
	}
	if !strings.Contains(text, "before") || strings.Contains(text, "secret") || !strings.Contains(text, "after") {
		t.Errorf("messages: %s", text)
	}
	for _, args := range [][]string{
		{"ffprobe", "-v", "error", "-show_chapters", "-of", "json", file},
		{"mkvinfo", file},
		{"mkvextract", file, "chapters", "-"},
	} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("kick-off \u2764")) || !bytes.Contains(out, []byte("the end")) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	again := start(t, "replay", "--out", filepath.Join(dir, "again"), "--session", "s", "--name", "{participant}", filepath.Join(dir, "s", "dump.pcapng"))
	if code := again.exit(t); code != 0 {
		t.Fatalf("replay: exit code %d\n%s", code, &again.stderr)
	}
	for _, name := range []string{"alice.webm", "alice-2.webm", "messages.jsonl"} {
		live, err := os.ReadFile(filepath.Join(dir, "s", name))
		if err != nil {
			t.Fatal(err)
		}
		if replayed, err := os.ReadFile(filepath.Join(dir, "again", "s", name)); err != nil || !bytes.Equal(live, replayed) {
			t.Errorf("%s differs in the replay: %v", name, err)
		}
	}
}
