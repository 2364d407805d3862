package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomtape/roomtape/signaling/token"
)

func TestRelayCredentials(t *testing.T) {
	s := New(Config{Origins: []string{"else*"}, Relay: func(name string, _ time.Duration) Relay {
		return Relay{Username: "1700000000:" + name, Password: "pw", TTL: 86400, URIs: []string{"turn:h:3478?transport=udp"}}
	}})
	ask := func(method, query, origin string) *http.Response {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "http://house/turn"+query, nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		s.ServeHTTP(w, r)
		return w.Result()
	}
	resp := ask("GET", "?user="+url.QueryEscape("Zoë:1 🎧"), "")
	var got map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"username": "1700000000:Zoë:1 🎧", "password": "pw", "ttl": 86400.0, "uris": []any{"turn:h:3478?transport=udp"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for header, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Access-Control-Allow-Origin": ""} {
		if got := resp.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	for _, tt := range []struct {
		method, query, origin string
		status                int
	}{
		{"GET", "?user=a", "http://house", 200},
		{"GET", "?user=a", "http://elsewhere", 200},
		{"GET", "?user=a", "http://nowhere", 403},
		{"GET", "?user=a", "null", 403},
		{"OPTIONS", "?user=a", "http://elsewhere", 204},
		{"OPTIONS", "?user=a", "http://nowhere", 403},
		{"HEAD", "?user=a", "", 200},
		{"POST", "?user=a", "", 405},
		{"GET", "", "", 400},
		{"GET", "?user=", "", 400},
		{"GET", "?user=%20", "", 400},
		{"GET", "?user=a%00b", "", 400},
		{"GET", "?user=%ff", "", 400},
		{"GET", "?user=" + strings.Repeat("x", MaxID+1), "", 400},
	} {
		resp := ask(tt.method, tt.query, tt.origin)
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s from %q: %s, want %d", tt.method, tt.query, tt.origin, resp.Status, tt.status)
		}
		allowed := ""
		if tt.status != 403 {
			allowed = tt.origin
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != allowed {
			t.Errorf("%s %s from %q: allows %q", tt.method, tt.query, tt.origin, got)
		}
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 && strings.Contains(string(b), "pw") {
			t.Errorf("%s %s: %s", tt.method, tt.query, b)
		}
	}
	if resp := get(t, New(Config{}), "GET", "/turn?user=a"); resp.StatusCode != 204 {
		t.Errorf("without TURN: %s", resp.Status)
	}
}

// TestRelayNeedsAToken: as joining does; what it gives ends with the token.
func TestRelayNeedsAToken(t *testing.T) {
	s := New(Config{TokenSecret: secret, Relay: func(name string, most time.Duration) Relay {
		return Relay{Username: name, TTL: int(most.Seconds())}
	}})
	expired, err := token.Sign(secret, token.Claims{Room: "r", Expires: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, token string
		status      int
	}{
		{"a", "", 401}, {"a", "please", 401}, {"a", expired, 401},
		{"a", signed(t, "r", "a"), 200}, {"b", signed(t, "r", "a"), 403}, {"b", signed(t, "r", ""), 200},
	} {
		for _, by := range []string{"header", "query"} {
			target := "/turn?user=" + tt.user
			if by == "query" {
				target += "&token=" + tt.token
			}
			r := httptest.NewRequest("GET", target, nil)
			if by == "header" && tt.token != "" {
				r.Header.Set("Authorization", "Bearer "+tt.token)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%s with %q by %s: %d, want %d", tt.user, tt.token, by, w.Code, tt.status)
			}
			var got Relay
			if err := json.Unmarshal(w.Body.Bytes(), &got); w.Code == 200 && (err != nil || got.Username != tt.user || got.TTL < 50 || got.TTL > 60) {
				t.Errorf("%s by %s: %+v, %v", tt.user, by, got, err)
			}
		}
	}
}

// TestCredentialsOfAnAddress: who asks too often waits, others and those who come
// in don't.
func TestCredentialsOfAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{AddressCredentials: 2, TokenSecret: []byte("s"), Relay: func(string, time.Duration) Relay { return Relay{} }})
		ask := func(from string) int {
			r := httptest.NewRequest("GET", "/turn?user=a", nil)
			r.RemoteAddr = from
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w.Code
		}
		count := func(from string, n int) (refused int) {
			for range n {
				switch code := ask(from); code {
				case http.StatusTooManyRequests:
					refused++
				case http.StatusUnauthorized: // guessing tokens counts too
				default:
					t.Errorf("status %d", code)
				}
			}
			return refused
		}
		if n := count("192.0.2.1:1", 50); n != 30 {
			t.Errorf("%d of 50 are refused", n)
		}
		// By asking on, nobody is forgotten and begins anew.
		for range 40 {
			time.Sleep(time.Second)
			if n := count("192.0.2.1:2", 10); n != 8 {
				t.Fatalf("%d of 10 in a second are refused", n)
			}
		}
		if n := count("192.0.2.2:1", 20); n != 0 {
			t.Errorf("another address: %d are refused", n)
		}
		if c := s.Counts(); c.Refused[RefusedCredentials] != 50+400+20 || c.Credentials != 0 {
			t.Errorf("%+v", c)
		}
	})
}
