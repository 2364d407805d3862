package turn

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCredentials(t *testing.T) {
	// echo -n 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
	const user, want = "1700000000:alice", "Cd/49soE35ICqcJF/bCTn8Z4OyE="
	c := NewCredentials("north", "alice", time.Unix(1700000000, 999))
	if c.Username != user || c.Password != want {
		t.Errorf("got %q, %q", c.Username, c.Password)
	}
	if !c.Verify("north") {
		t.Error("they don't verify")
	}
	for _, forged := range []Credentials{
		{Username: c.Username, Password: ""}, {Username: "1700000001:alice", Password: c.Password},
		{Username: c.Username, Password: c.Password[1:]}, {Username: "1700000000:bob", Password: c.Password},
	} {
		if forged.Verify("north") {
			t.Errorf("%v verifies", forged)
		}
	}
	if c.Verify("south") {
		t.Error("they verify with another secret")
	}
	for _, s := range []string{fmt.Sprintf("%v %+v", c, c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(s, c.Password) {
			t.Errorf("%s has the password", s)
		}
	}
}

func TestParseUsername(t *testing.T) {
	for in, want := range map[string]struct {
		expires int64
		name    string
	}{
		"1700000000:alice":       {1700000000, "alice"},
		"1700000000:a:b":         {1700000000, "a:b"},
		"1700000000:":            {1700000000, ""},
		"1700000000":             {1700000000, ""},
		"0:zero":                 {0, "zero"},
		"999999999999999999:far": {999999999999999999, "far"},
	} {
		expires, name, err := ParseUsername(in)
		if expires != want.expires || name != want.name || err != nil {
			t.Errorf("%q: got %d, %q, %v", in, expires, name, err)
		}
	}
	for _, in := range []string{
		"", ":", ":alice", "alice", "alice:1700000000", "-1:alice", "+1:alice", " 1:alice", "1 :alice", "1e9:alice", "0x1:a",
		"1.5:a", "١٢:a", "9999999999999999999:a", strings.Repeat("0", 19) + ":a", "1:" + strings.Repeat("a", MaxName+1),
	} {
		if expires, name, err := ParseUsername(in); err == nil {
			t.Errorf("%q: got %d, %q", in, expires, name)
		}
	}
}

// FuzzParseUsername: what is accepted is written in one way only, but for zeros
// before it, and never in the past by overflow.
func FuzzParseUsername(f *testing.F) {
	for _, s := range []string{"1700000000:alice", "1:", "1", ":", "999999999999999999:x", "01:a:b", "-1:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		expires, name, err := ParseUsername(s)
		if err != nil {
			return
		}
		if expires < 0 {
			t.Fatalf("%q expires at %d", s, expires)
		}
		digits, rest, colon := strings.Cut(s, ":")
		if got := fmt.Sprint(expires); got != strings.TrimLeft(digits, "0") && strings.Trim(digits, "0") != "" {
			t.Errorf("%q expires at %s", s, got)
		}
		if colon && name != rest {
			t.Errorf("%q has the name %q", s, name)
		}
		c := NewCredentials("secret", name, time.Unix(expires, 0))
		if e, n, err := ParseUsername(c.Username); e != expires || n != name || err != nil {
			t.Errorf("%q: again: %d, %q, %v", s, e, n, err)
		}
		if !c.Verify("secret") || (Credentials{Username: s, Password: c.Password}).Verify("secret") != (s == c.Username) {
			t.Errorf("%q verifies wrongly", s)
		}
	})
}
