package archive_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/archive"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

var secret = []byte("a secret of thirty-two bytes ....")

const alice = "0123456789 the media of alice"

// write makes a file below dir.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func manifest(room, at string) string {
	b, err := json.Marshal(room)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"version":1,"room":%s,"state":"complete","started_at":"2026-01-02T%s:00:00Z","ended_at":"2026-01-02T%[2]s:30:00Z","recorder":"roomtape",
 "files":[{"path":"alice.webm","participant":"alice","offset_ms":0,"duration_ms":60000,"bytes":29,"tracks":[{"kind":"video","codec":"VP8"}]}],
 "participants":[{"id":"alice","joined_ms":0},{"id":"alice","joined_ms":5},{"id":"bob","joined_ms":0}]}`, b, at)
}

// house is a folder with sessions of two rooms, and what is none of anybody's
// business beside it.
func house(t *testing.T) (inside, outside string) {
	t.Helper()
	outside = t.TempDir()
	inside = filepath.Join(outside, "recordings")
	write(t, inside, "standup/one/manifest.json", manifest("standup", "09"))
	write(t, inside, "standup/one/alice.webm", alice)
	write(t, inside, "standup/one/messages.jsonl", "{}\n")
	write(t, inside, "standup/one/notes.txt", "not for others")
	write(t, inside, "standup/one/.hidden.webm", "not for others")
	write(t, inside, "standup/one/report.html", "<script>alert(1)</script>")
	write(t, inside, "secret/two/manifest.json", manifest("secret", "10"))
	write(t, inside, "secret/two/alice.webm", "not for others")
	write(t, inside, "no-session/alice.webm", "not for others")
	write(t, inside, "broken/manifest.json", "{")
	write(t, inside, "broken/alice.webm", "not for others")
	write(t, inside, "alice.webm", "not for others")
	write(t, outside, "beside/alice.webm", "not for others")
	write(t, outside, "beside/manifest.json", manifest("standup", "11"))
	for link, to := range map[string]string{
		"standup/one/link.webm":  filepath.Join(outside, "beside", "alice.webm"),
		"standup/one/other.webm": "../../secret/two/alice.webm",
		"standup/one/folder":     "../../secret/two",
		"elsewhere":              filepath.Join(outside, "beside"),
		"up":                     "../beside",
	} {
		if err := os.Symlink(to, filepath.Join(inside, filepath.FromSlash(link))); err != nil {
			t.Fatal(err)
		}
	}
	return inside, outside
}

// show gives an archive of a folder, with tokens by secret if it is not nil.
func show(t *testing.T, dir string, secret []byte) *archive.Archive {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return archive.New(archive.Config{Root: root, Authorize: server.New(server.Config{TokenSecret: secret}).Authorize, Generator: "test"})
}

func signed(t *testing.T, c token.Claims) string {
	t.Helper()
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(time.Hour)
	}
	s, err := token.Sign(secret, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request with headers, as name and value, and gives the answer and
// its body.
func ask(a http.Handler, method, target string, headers ...string) (*http.Response, string) {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Result().Body)
	return w.Result(), string(b)
}

func TestListHasSessionsAndNothingElse(t *testing.T) {
	dir, _ := house(t)
	a := show(t, dir, nil)
	resp, body := ask(a, "GET", "/recordings/sessions.json")
	var list struct {
		Sessions []struct {
			Path, Room, State, Report string
			DurationMS                int64 `json:"duration_ms"`
			Participants, Files       int
			Bytes                     int64
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %v: %s", resp.Status, err, body)
	}
	if len(list.Sessions) != 2 || list.Sessions[0].Room != "secret" || list.Sessions[1].Room != "standup" {
		t.Fatalf("the sessions, the latest first, are %+v", list.Sessions)
	}
	if s := list.Sessions[1]; s.Path != "standup/one" || s.Report != "/recordings/standup/one/" || s.DurationMS != 1_800_000 ||
		s.Participants != 2 || s.Files != 1 || s.Bytes != 29 || s.State != "complete" {
		t.Errorf("%+v", s)
	}
	resp, body = ask(a, "GET", "/recordings/")
	if resp.StatusCode != 200 || strings.Count(body, "<tr>") != 3 || !strings.Contains(body, `href="/recordings/standup/one/"`) {
		t.Errorf("%s:\n%s", resp.Status, body)
	}
}

func TestFilesAreReadInParts(t *testing.T) {
	dir, _ := house(t)
	a := show(t, dir, nil)
	resp, body := ask(a, "GET", "/recordings/standup/one/alice.webm", "Range", "bytes=3-5")
	if resp.StatusCode != http.StatusPartialContent || body != "345" || resp.Header.Get("Content-Range") != fmt.Sprintf("bytes 3-5/%d", len(alice)) {
		t.Errorf("%s, %v: %q", resp.Status, resp.Header, body)
	}
	// Players get a part of a large file at a time, other programs what they ask for.
	write(t, dir, "standup/one/long.webm", strings.Repeat("x", 1<<20))
	for _, tt := range []struct {
		asked, dest string
		want        int
	}{
		{"bytes=0-", "video", 256 << 10}, {"bytes=5-", "audio", 256 << 10}, {"bytes=0-1000000", "video", 256 << 10}, {"bytes=7-99", "video", 93},
		{"bytes=-100", "video", 100}, {"bytes=1048570-", "video", 6}, {"bytes=0-", "empty", 1 << 20}, {"bytes=0-", "", 1 << 20},
	} {
		resp, body := ask(a, "GET", "/recordings/standup/one/long.webm", "Range", tt.asked, "Sec-Fetch-Dest", tt.dest)
		if resp.StatusCode != http.StatusPartialContent || len(body) != tt.want {
			t.Errorf("%s for %q: %s, %d bytes", tt.asked, tt.dest, resp.Status, len(body))
		}
	}
	for header, want := range map[string]string{
		"Content-Type": "video/webm", "X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer",
	} {
		if got := resp.Header.Get(header); got != want {
			t.Errorf("%s is %q, not %q", header, got, want)
		}
	}
	if got := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; ") {
		t.Errorf("the policy is %q", got)
	}
	// What has grown is another file, though within the same second.
	tag := resp.Header.Get("ETag")
	write(t, dir, "standup/one/alice.webm", alice+" and more")
	resp, body = ask(a, "GET", "/recordings/standup/one/alice.webm", "If-None-Match", tag, "Range", "bytes=0-", "If-Range", tag)
	if resp.StatusCode != 200 || body != alice+" and more" {
		t.Errorf("%s: %q", resp.Status, body)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		if resp, _ := ask(a, method, "/recordings/standup/one/alice.webm"); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}

func TestReportIsMadeOfTheFolder(t *testing.T) {
	dir, _ := house(t)
	a := show(t, dir, nil)
	if resp, _ := ask(a, "GET", "/recordings/standup/one"); resp.Header.Get("Location") != "/recordings/standup/one/" {
		t.Errorf("without the slash: %s, %v", resp.Status, resp.Header)
	}
	for _, target := range []string{"/recordings/standup/one/", "/recordings/standup/one/report.html"} {
		resp, body := ask(a, "GET", target)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
			!strings.Contains(body, "./alice.webm") || strings.Contains(body, "alert(1)") {
			t.Errorf("%s: %s, %v:\n%s", target, resp.Status, resp.Header, body)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "media-src 'self';") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("the policy is %q", policy)
		}
	}
	// When the manifest changes, so does the report.
	write(t, dir, "standup/one/manifest.json", strings.Replace(manifest("standup", "09"), "alice.webm", "bob-2.webm", 1))
	if _, body := ask(a, "GET", "/recordings/standup/one/"); !strings.Contains(body, "./bob-2.webm") {
		t.Error("the report is an old one")
	}
}

// TestNothingElseCanBeReached asks for what is outside, is no session, is of no
// kind that a session has, or is reached by a link.
func TestNothingElseCanBeReached(t *testing.T) {
	dir, _ := house(t)
	a := show(t, dir, nil)
	for _, target := range []string{
		"no-session/alice.webm", "no-session/", "alice.webm", "standup/", "standup/alice.webm", "standup/one/notes.txt",
		"standup/one/.hidden.webm", "standup/one/none.webm", "standup/one/link.webm", "standup/one/other.webm",
		"standup/one/folder/alice.webm", "elsewhere/", "elsewhere/alice.webm", "up/alice.webm",
		"../beside/alice.webm", "standup/one/../../../beside/alice.webm", "..%2fbeside%2falice.webm", "%2e%2e/beside/alice.webm",
		"standup/one/..%2f..%2f..%2fbeside%2falice.webm", "standup/one//alice.webm", "/standup/one/alice.webm", "./standup/one/alice.webm",
		"standup/one/alice.webm%00.webm", "standup/one/alice.webm/", "standup%5cone%5calice.webm", "manifest.json", ".", "..",
		strings.Repeat("standup/", 1000), strings.Repeat("a", 100_000),
	} {
		r := httptest.NewRequest("GET", "/recordings/", nil)
		var err error
		if r.URL.Path, err = url.PathUnescape("/recordings/" + target); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code == 200 && target != "standup/one/alice.webm/" || strings.Contains(w.Body.String(), "not for others") {
			t.Errorf("%.60s: %d %.60q", target, w.Code, w.Body)
		}
	}
	if resp, _ := ask(a, "GET", "/recordings/broken/"); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("a manifest that is none: %s", resp.Status)
	}
	if resp, body := ask(a, "GET", "/recordings/broken/alice.webm"); strings.Contains(body, "not for") {
		t.Errorf("of a session without a manifest: %s", resp.Status)
	}
}

// TestNamesAreText: folders, rooms and participants may be called anything.
func TestNamesAreText(t *testing.T) {
	dir := t.TempDir()
	const hostile = `<img src=x onerror=alert(1)>"'&`
	write(t, dir, `%3Cb%3E "q" &amp; #x ?y/one/manifest.json`, manifest(hostile, "09"))
	write(t, dir, `%3Cb%3E "q" &amp; #x ?y/one/alice.webm`, alice)
	a := show(t, dir, nil)
	_, body := ask(a, "GET", "/recordings/")
	if strings.Contains(body, "<img") || !strings.Contains(body, "&lt;img src=x") {
		t.Errorf("a stranger's markup got into the page:\n%s", body)
	}
	_, body = ask(a, "GET", "/recordings/sessions.json")
	var list struct{ Sessions []struct{ Report string } }
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Sessions) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	if resp, got := ask(a, "GET", list.Sessions[0].Report+"alice.webm"); got != alice {
		t.Errorf("%s: %s: %q", list.Sessions[0].Report, resp.Status, got)
	}
}

func TestTokensShowTheirOwnRoom(t *testing.T) {
	dir, _ := house(t)
	a := show(t, dir, secret)
	recorder := signed(t, token.Claims{Room: "standup", Rights: []token.Right{token.Record}})
	for _, tt := range []struct {
		what, token   string
		list, session int // of standup
		other         int // of the other room
	}{
		{"none", "", 401, 401, 401},
		{"garbage", "abc", 401, 401, 401},
		{"expired", signed(t, token.Claims{Room: "standup", Rights: []token.Right{token.Record}, Expires: time.Now().Add(-time.Minute)}), 401, 401, 401},
		{"subscriber", signed(t, token.Claims{Room: "standup", Rights: []token.Right{token.Publish, token.Subscribe}}), 403, 403, 403},
		{"recorder", recorder, 200, 200, 404},
		{"the other's recorder", signed(t, token.Claims{Room: "secret", Rights: []token.Right{token.Record}}), 200, 404, 200},
		{"admin", signed(t, token.Claims{Room: "standup", Rights: []token.Right{token.Admin}}), 200, 200, 404},
		{"admin of all", signed(t, token.Claims{Room: token.AnyRoom, Rights: []token.Right{token.Admin}}), 200, 200, 200},
	} {
		for target, want := range map[string]int{
			"sessions.json": tt.list, "": tt.list, "standup/one/": tt.session, "standup/one/alice.webm": tt.session, "standup/one/manifest.json": tt.session,
			"secret/two/": tt.other, "secret/two/alice.webm": tt.other,
		} {
			resp, body := ask(a, "GET", "/recordings/"+target, "Authorization", "Bearer "+tt.token)
			if resp.StatusCode != want {
				t.Errorf("%s, by header: %s: %s, not %d", tt.what, target, resp.Status, want)
			}
			if want != 200 && (strings.Contains(body, "not for others") || strings.Contains(body, alice)) {
				t.Errorf("%s: %s: %q", tt.what, target, body)
			}
			byQuery, _ := ask(a, "GET", "/recordings/"+target+"?token="+tt.token)
			if byQuery.StatusCode != want {
				t.Errorf("%s, by query: %s: %s, not %d", tt.what, target, byQuery.Status, want)
			}
			if tt.token != "" && strings.Contains(body, tt.token) {
				t.Errorf("%s: the token is in the answer", tt.what)
			}
		}
	}
	_, body := ask(a, "GET", "/recordings/sessions.json?token="+recorder)
	if !strings.Contains(body, "standup/one") || strings.Contains(body, "secret") {
		t.Errorf("a recorder of one room sees %s", body)
	}
	// Whether another room has been recorded makes no difference.
	there, theirs := ask(a, "GET", "/recordings/secret/two/", "Authorization", "Bearer "+recorder)
	gone, nobodys := ask(a, "GET", "/recordings/secret/none/", "Authorization", "Bearer "+recorder)
	if there.StatusCode != gone.StatusCode || theirs != nobodys {
		t.Errorf("%s %q and %s %q", there.Status, theirs, gone.Status, nobodys)
	}
}

// TestBrowsersBringTheTokenAgain by a cookie, without having it in an address.
func TestBrowsersBringTheTokenAgain(t *testing.T) {
	dir, _ := house(t)
	a := show(t, dir, secret)
	recorder := signed(t, token.Claims{Room: "standup", Rights: []token.Right{token.Record}})
	resp, _ := ask(a, "GET", "/recordings/standup/one/?token="+recorder, "Accept", "text/html,*/*")
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/recordings/standup/one/" || len(cookies) != 1 {
		t.Fatalf("%s, %v", resp.Status, resp.Header)
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != archive.Prefix || c.Domain != "" || c.Expires.IsZero() {
		t.Errorf("the cookie is %v", c)
	}
	if resp, body := ask(a, "GET", "/recordings/standup/one/alice.webm", "Cookie", cookies[0].String()); body != alice {
		t.Errorf("%s: %q", resp.Status, body)
	}
	if resp, _ := ask(a, "GET", "/recordings/secret/two/alice.webm", "Cookie", cookies[0].String()); resp.StatusCode != 404 {
		t.Errorf("the other room: %s", resp.Status)
	}
	// A person without any gets a form.
	resp, body := ask(a, "GET", "/recordings/", "Accept", "text/html")
	if resp.StatusCode != 200 || !strings.Contains(body, `<form method="post"`) || strings.Contains(body, "standup") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	send := func(text, site string) *http.Response {
		r := httptest.NewRequest("POST", "/recordings/", strings.NewReader(url.Values{"token": {text}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w.Result()
	}
	if resp := send(recorder, "same-origin"); resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) != 1 {
		t.Errorf("the form: %s, %v", resp.Status, resp.Header)
	}
	for _, resp := range []*http.Response{send("nonsense", "same-origin"), send(recorder, "cross-site"), send(strings.Repeat("x", 100_000), "same-origin")} {
		if resp.StatusCode < 400 || len(resp.Cookies()) != 0 {
			t.Errorf("%s, %v", resp.Status, resp.Header)
		}
	}
}
