package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func get(t *testing.T, h http.Handler, method, target string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w.Result()
}

func TestHealth(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		h.join("r1", "a")
		h.join("r1", "b", "a")
		h.join("r2", "a")
		resp := get(t, h.server, "GET", "/healthz")
		b, _ := io.ReadAll(resp.Body)
		if got, want := string(b), `{"status":"ok","rooms":2,"peers":3}`+"\n"; resp.StatusCode != 200 || got != want {
			t.Errorf("got %d %s, want 200 %s", resp.StatusCode, got, want)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type is %q", got)
		}
	})
}

func TestHealthWhileStopping(t *testing.T) {
	s := New(Config{})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp := get(t, s, "GET", "/healthz"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s, want 503", resp.Status)
	}
}

func TestPageHasItsPartsAndHeaders(t *testing.T) {
	s := New(Config{})
	resp := get(t, s, "GET", "/")
	html, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("got %s, %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	for header, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "no-referrer",
		"Permissions-Policy":      "camera=(self), microphone=(self), display-capture=(self)",
	} {
		if got := resp.Header.Get(header); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q…", header, got, want)
		}
	}
	if strings.Contains(resp.Header.Get("Content-Security-Policy"), "unsafe") {
		t.Error("the policy allows something unsafe")
	}
	// Whatever the page refers to is there, and nothing is from elsewhere.
	refs := regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllSubmatch(html, -1)
	if len(refs) < 2 {
		t.Errorf("the page refers to %d files", len(refs))
	}
	for _, ref := range refs {
		target := string(ref[1])
		if !strings.HasPrefix(target, "/page/") {
			t.Errorf("the page refers to %q", target)
			continue
		}
		if resp := get(t, s, "GET", target); resp.StatusCode != 200 {
			t.Errorf("%s: %s", target, resp.Status)
		}
	}
	if regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+=|<script>|<style`).Match(html) {
		t.Error("the page has inline style or script, which its policy forbids")
	}
}

func TestModulesImportWhatIsThere(t *testing.T) {
	s := New(Config{})
	entries, err := pageFiles.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".js") {
			continue
		}
		b, err := pageFiles.ReadFile("page/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`from '\./([^']+)'`).FindAllSubmatch(b, -1) {
			resp := get(t, s, "GET", "/page/"+string(m[1]))
			if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") {
				t.Errorf("%s imports %s: %s, %q", e.Name(), m[1], resp.Status, resp.Header.Get("Content-Type"))
			}
		}
	}
}

func TestOtherRequests(t *testing.T) {
	s := New(Config{})
	for _, tt := range []struct {
		method, target string
		want           int
	}{
		{"HEAD", "/", 200},
		{"POST", "/", http.StatusMethodNotAllowed},
		{"DELETE", "/healthz", http.StatusMethodNotAllowed},
		{"GET", "/ws/standup", http.StatusUpgradeRequired},
		{"GET", "/nothing", http.StatusNotFound},
		{"GET", "/page/nothing.js", http.StatusNotFound},
		{"GET", "/page/", http.StatusNotFound},
	} {
		if resp := get(t, s, tt.method, tt.target); resp.StatusCode != tt.want {
			t.Errorf("%s %s: %s, want %d", tt.method, tt.target, resp.Status, tt.want)
		}
	}
}

func TestOriginCheck(t *testing.T) {
	for _, tt := range []struct {
		origin  string
		origins []string
		ok      bool
	}{
		{"", nil, true}, // no browser
		{"http://house", nil, true},
		{"https://HOUSE", nil, true}, // behind a TLS proxy
		{"http://elsewhere", nil, false},
		{"http://house.elsewhere", nil, false},
		{"null", nil, false},
		{"http://elsewhere", []string{"else*"}, true},
		{"http://elsewhere", []string{"https://elsewhere"}, false},
		{"https://elsewhere", []string{"https://elsewhere"}, true},
		{"http://anything:99", []string{"*"}, true},
	} {
		inHouse(t, Config{Origins: tt.origins}, func(t *testing.T, h *house) {
			header := http.Header{}
			if tt.origin != "" {
				header.Set("Origin", tt.origin)
			}
			conn, resp, err := websocket.Dial(t.Context(), "ws://house/ws/r", &websocket.DialOptions{HTTPClient: h.client, HTTPHeader: header})
			if (err == nil) != tt.ok {
				t.Errorf("origin %q with patterns %q: %v, want ok %v", tt.origin, tt.origins, err, tt.ok)
			}
			if err == nil {
				_ = conn.CloseNow()
			} else if resp == nil || resp.StatusCode != http.StatusForbidden {
				t.Errorf("origin %q: %v, want 403", tt.origin, resp)
			}
		})
	}
}

func TestBadOriginPatternIsFound(t *testing.T) {
	if err := CheckOrigins([]string{"ok.example", "[bad"}); err == nil || !strings.Contains(err.Error(), "[bad") {
		t.Errorf("got %v, want an error that names the pattern", err)
	}
}
