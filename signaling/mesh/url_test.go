package mesh

import (
	"errors"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ url, room, dial, id string }{
		{"ws://host/standup", "", "ws://host/standup", "standup"},
		{"wss://host:8765/ws/standup", "", "wss://host:8765/ws/standup", "standup"},
		{"ws://host/ws/stand%20up%2Fx?token=1#f", "", "ws://host/ws/stand%20up%2Fx?token=1", "stand up/x"},
		{"WS://[::1]:1/a/b/", "", "ws://[::1]:1/a/b/", "b"},
		{"ws://host", "room", "ws://host", "room"},
		{"ws://host/not/this", "../../x", "ws://host/not/this", "../../x"},
		{"ws://user:secret@host/r", "", "ws://user:secret@host/r", "r"},
	} {
		dial, id, err := ParseURL(c.url, c.room)
		if err != nil || dial != c.dial || id != c.id {
			t.Errorf("ParseURL(%q, %q) = %q, %q, %v; want %q, %q", c.url, c.room, dial, id, err, c.dial, c.id)
		}
	}
	for _, c := range []struct{ url, room string }{
		{"", ""}, {"standup", ""}, {"http://host/r", ""}, {"ws:///r", ""}, {"ws://host", ""}, {"ws://host/", ""},
		{"ws://host:port/r", ""}, {"ws://host:99999/r", ""}, {"ws://user:secret@host:port/r", ""}, {"http://user:secret@host/r", ""},
		{"ws://host/%zz", ""}, {"ws://host/%00", ""}, {"ws://host/%ff", ""}, {"ws://host/a%0ab", ""},
		{"ws://host", "a\nb"}, {"ws://host/" + strings.Repeat("r", MaxRoomName+1), ""},
	} {
		_, _, err := ParseURL(c.url, c.room)
		if !errors.Is(err, ErrURL) {
			t.Errorf("ParseURL(%q, %q): error %v does not wrap ErrURL", c.url, c.room, err)
			continue
		}
		if s := err.Error(); strings.Contains(s, "secret") || len(s) > 400 || strings.ContainsAny(s, "\n\x00") {
			t.Errorf("ParseURL(%q, %q): error %q", c.url, c.room, s)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("ws://host/ws/stand%20up", "")
	f.Add("wss://u:p@[::1]:8/%2e%2e/", "r")
	f.Fuzz(func(t *testing.T, url, room string) {
		dial, id, err := ParseURL(url, room)
		if err != nil {
			if !errors.Is(err, ErrURL) {
				t.Errorf("error %v does not wrap ErrURL", err)
			}
			return
		}
		if err := checkName(id, MaxRoomName); err != nil {
			t.Errorf("room %q %v", id, err)
		}
		if again, id2, err := ParseURL(dial, room); err != nil || again != dial || id2 != id {
			t.Errorf("%q gives %q, %q, then %q, %q, %v", url, dial, id, again, id2, err)
		}
	})
}
