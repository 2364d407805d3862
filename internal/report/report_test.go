package report_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/roomtape/roomtape/internal/report"
)

func session(manifest string, files map[string]string) fstest.MapFS {
	m := fstest.MapFS{"manifest.json": {Data: []byte(manifest)}}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

const whole = `{"version":1,"room":"standup","state":"complete","started_at":"2026-01-02T09:00:00Z","ended_at":"2026-01-02T10:00:00Z","recorder":"roomtape",
 "files":[{"path":"alice.webm","participant":"alice","offset_ms":1000,"duration_ms":60000,"bytes":5,"tracks":[{"kind":"video","codec":"VP8"}]},
  {"path":"sub/alice-2.webm","participant":"alice","offset_ms":61000,"duration_ms":60000,"bytes":5,"tracks":[{"kind":"audio","codec":"Opus"}]},
  {"path":"bob.mkv","participant":"bob","offset_ms":0,"duration_ms":1000,"bytes":5,"tracks":[]}],
 "participants":[{"id":"alice","joined_ms":0}],"messages":{"path":"messages.jsonl","count":2},"stats":"stats.jsonl"}`

func TestPageHasWhatTheFolderHas(t *testing.T) {
	var stats strings.Builder
	for s := range 3600 {
		fmt.Fprintf(&stats, `{"timestamp":%d,"tracks":[{"participant":"alice","connection":1,"ssrc":5,"kind":"video","bitrate":1000000,"packetsMissing":%d}]}`+"\n", s*1000, s/10)
	}
	stats.WriteString(`{"timestamp":36`) // it was killed
	p, err := report.Read(session(whole, map[string]string{
		"stats.jsonl": stats.String(),
		"messages.jsonl": `{"at_ms":5,"participant":"alice","label":"messages","text":"{\"type\":\"chat\",\"text\":\"hello\"}"}` + "\n" +
			`{"at_ms":6,"participant":"bob","label":"x","base64":"AAEC"}` + "\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if p.LengthMS != 3_600_000 || len(p.Players) != 2 || len(p.Players[0].Files) != 2 {
		t.Errorf("%+v", p)
	}
	if f := p.Players[0].Files[1]; f.URL != "./sub/alice-2.webm" || f.Video || p.Players[1].Files[0].URL != "" {
		t.Errorf("%+v, %+v", f, p.Players[1])
	}
	if len(p.Messages) != 2 || p.Messages[0].Text != "hello" || p.Messages[1].Text != "(3 bytes)" {
		t.Errorf("%+v", p.Messages)
	}
	if len(p.Curves) != 1 || len(p.Curves[0].Bitrate) > 700 {
		t.Fatalf("%d curves", len(p.Curves))
	}
	missing := int64(0)
	for i, b := range p.Curves[0].Bitrate {
		if missing += p.Curves[0].Missing[i]; b != 1_000_000 {
			t.Errorf("bin %d has %d bit/s", i, b)
		}
	}
	if missing != 359 {
		t.Errorf("%d packets missing", missing)
	}
}

func TestStrangersWordsAreNoScript(t *testing.T) {
	const hostile = `</script><script>alert(1)</script>\"'<img src=x onerror=alert(1)>\u2028`
	p, err := report.Read(session(strings.NewReplacer("alice.webm", `a\"><script>.webm`, "standup", hostile, `"alice"`, `"`+hostile+`"`).Replace(whole), nil))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Write(&b, "test"); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	if n := strings.Count(html, "<script"); n != 2 {
		t.Errorf("%d scripts", n)
	}
	if strings.Contains(html, "<img") || strings.Contains(html, "</script><script>alert") {
		t.Error("a stranger's markup got into the page")
	}
	if found := regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//`).FindString(html); found != "" {
		t.Errorf("the page asks others: %q", found)
	}
}

func TestWhatIsNoSessionIsRefused(t *testing.T) {
	for name, dir := range map[string]fstest.MapFS{
		"nothing": {}, "no JSON": session("{", nil),
		"leaves":   session(strings.Replace(whole, "alice.webm", "../alice.webm", 1), nil),
		"absolute": session(strings.Replace(whole, "alice.webm", "/etc/passwd", 1), nil),
	} {
		if _, err := report.Read(dir); !errors.Is(err, report.ErrNoSession) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
