package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	now    = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

// handmade makes a token without the library that reads it.
func handmade(header, claims string, key []byte, h func() hash.Hash) string {
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	mac := hmac.New(h, key)
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

func claims(format string, args ...any) string {
	return handmade(`{"alg":"HS256","typ":"JWT"}`, fmt.Sprintf(format, args...), secret, sha256.New)
}

func TestVerifyReadsWhatOthersSign(t *testing.T) {
	got, err := Verify(secret, claims(`{"room":"r","peer_id":"p","exp":%d,"nbf":%d,"iat":1,"rights":["record","publish","fly"],"x":{}}`,
		now.Unix()+60, now.Unix()), now)
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{Room: "r", PeerID: "p", Rights: []Right{Publish, Record}, Expires: time.Unix(now.Unix()+60, 0)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The example of RFC 7515 appendix A.1, whose claims are not ours: its signature
// must be found good before the claims are looked at.
func TestSignatureOfTheStandardsExample(t *testing.T) {
	key, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	const example = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	if _, err := Verify(key, example, now); !errors.Is(err, ErrExpired) {
		t.Errorf("in our days: %v, want ErrExpired", err)
	}
	if _, err := Verify(key, example, time.Unix(1300819379, 0)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "room") {
		t.Errorf("in its days: %v, want that it names no room", err)
	}
	if _, err := Verify(secret, example, time.Unix(1300819379, 0)); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("with another key: %v, want that the signature is wrong", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	good := fmt.Sprintf(`{"room":"r","exp":%d,"rights":["publish"]}`, now.Unix()+60)
	b64 := base64.RawURLEncoding.EncodeToString
	whole := claims("%s", good)
	for name, tt := range map[string]struct {
		token string
		want  error
	}{
		"nothing":               {"", ErrMissing},
		"words":                 {"let me in", ErrInvalid},
		"no signature":          {whole[:strings.LastIndexByte(whole, '.')+1], ErrInvalid},
		"two parts":             {whole[:strings.LastIndexByte(whole, '.')], ErrInvalid},
		"five parts":            {"a.b.c.d.e", ErrInvalid},
		"another secret":        {handmade(`{"alg":"HS256"}`, good, []byte("another"), sha256.New), ErrInvalid},
		"the empty secret":      {handmade(`{"alg":"HS256"}`, good, nil, sha256.New), ErrInvalid},
		"alg none":              {b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(good)) + ".", ErrInvalid},
		"alg None, signed":      {handmade(`{"alg":"None"}`, good, secret, sha256.New), ErrInvalid},
		"no alg":                {handmade(`{}`, good, secret, sha256.New), ErrInvalid},
		"HS512 by our secret":   {handmade(`{"alg":"HS512"}`, good, secret, sha512.New), ErrInvalid},
		"RS256 by our secret":   {handmade(`{"alg":"RS256"}`, good, secret, sha256.New), ErrInvalid},
		"critical extensions":   {handmade(`{"alg":"HS256","crit":["b64"],"b64":false}`, good, secret, sha256.New), ErrInvalid},
		"expired":               {claims(`{"room":"r","exp":%d}`, now.Unix()-1), ErrExpired},
		"expiring now":          {claims(`{"room":"r","exp":%d}`, now.Unix()), ErrExpired},
		"not yet":               {claims(`{"room":"r","exp":%d,"nbf":%d}`, now.Unix()+60, now.Unix()+1), ErrEarly},
		"no exp":                {claims(`{"room":"r"}`), ErrInvalid},
		"exp a string":          {claims(`{"room":"r","exp":"tomorrow"}`), ErrInvalid},
		"exp null":              {claims(`{"room":"r","exp":null}`), ErrInvalid},
		"no room":               {claims(`{"exp":%d}`, now.Unix()+60), ErrInvalid},
		"room a list":           {claims(`{"room":["r"],"exp":%d}`, now.Unix()+60), ErrInvalid},
		"any room":              {claims(`{"room":"*","exp":%d,"rights":["publish","record"]}`, now.Unix()+60), ErrInvalid},
		"peer_id empty":         {claims(`{"room":"r","peer_id":"","exp":%d}`, now.Unix()+60), ErrInvalid},
		"peer_id a number":      {claims(`{"room":"r","peer_id":7,"exp":%d}`, now.Unix()+60), ErrInvalid},
		"rights a string":       {claims(`{"room":"r","exp":%d,"rights":"admin"}`, now.Unix()+60), ErrInvalid},
		"claims a list":         {claims(`[]`), ErrInvalid},
		"claims deep":           {claims("%s", strings.Repeat("[", 2000)), ErrInvalid},
		"too long":              {claims(`{"room":"r","exp":%d,"x":"%s"}`, now.Unix()+60, strings.Repeat("x", MaxLength)), ErrInvalid},
		"padded":                {whole + "=", ErrInvalid},
		"claims of another one": {strings.Split(claims(`{"room":"other","exp":%d}`, now.Unix()+60), ".")[0] + "." + b64([]byte(`{"room":"x"}`)) + "." + strings.Split(whole, ".")[2], ErrInvalid},
	} {
		c, err := Verify(secret, tt.token, now)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if !reflect.DeepEqual(c, Claims{}) {
			t.Errorf("%s: gave %+v beside its error", name, c)
		}
		if err != nil && tt.token != "" && len(tt.token) > 10 && strings.Contains(err.Error(), tt.token[:10]) {
			t.Errorf("%s: the error tells the token: %v", name, err)
		}
	}
	// A bit less of the signature is another signature.
	for i := range whole {
		changed := []byte(whole)
		changed[i] ^= 1
		if _, err := Verify(secret, string(changed), now); err == nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
	if _, err := Verify(nil, handmade(`{"alg":"HS256"}`, good, nil, sha256.New), now); !errors.Is(err, ErrInvalid) {
		t.Errorf("a server without a secret accepts a token: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	for _, c := range []Claims{{}, {Room: AnyRoom}, {Room: AnyRoom, Rights: []Right{Publish}}, {Room: strings.Repeat("x", MaxLength)}} {
		if s, err := Sign(secret, c); err == nil {
			t.Errorf("%+v: made %s", c, s)
		}
	}
	if _, err := Sign(nil, Claims{Room: "r"}); err == nil {
		t.Error("signed with an empty secret")
	}
}

func TestRights(t *testing.T) {
	for _, tt := range []struct {
		has  []Right
		want string
	}{
		{nil, ""},
		{[]Right{Publish}, "publish"},
		{[]Right{Subscribe}, "subscribe"},
		{[]Right{Record}, "subscribe,record"},
		{[]Right{Admin}, "publish,subscribe,record,admin"},
	} {
		may, err := ParseRights(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		c := Claims{Rights: tt.has}
		for _, r := range Rights {
			want := strings.Contains(","+tt.want+",", ","+string(r)+",")
			if c.May(r) != want {
				t.Errorf("%q may %s: %v, want one of %q", tt.has, r, c.May(r), may)
			}
		}
	}
	if _, err := ParseRights("publish,fly"); err == nil || !strings.Contains(err.Error(), "fly") {
		t.Errorf("an unknown right: %v", err)
	}
}

// FuzzVerify checks that what is let in was signed by us: text as a whole token,
// and as claims that are signed.
func FuzzVerify(f *testing.F) {
	good := fmt.Sprintf(`{"room":"r","peer_id":"p","exp":%d,"nbf":0,"rights":["publish","admin"]}`, now.Unix()+60)
	f.Add(good)
	f.Add(claims("%s", good))
	f.Add(`{"alg":"none"}`)
	f.Add(`{"room":"*","exp":1e300}`)
	f.Add(`{"room":"r","exp":-1e18,"ROOM":"s"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Verify(secret, text, now); err == nil && !signed(text) {
			t.Fatalf("%q is let in", text)
		}
		for _, header := range []string{`{"alg":"HS256"}`, text} {
			c, err := Verify(secret, handmade(header, text, secret, sha256.New), now)
			switch {
			case err == nil && (c.Room == "" || !c.Expires.After(now) || c.Room == AnyRoom && !c.May(Admin)):
				t.Fatalf("%q gives %+v", text, c)
			case err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrExpired) && !errors.Is(err, ErrEarly):
				t.Fatalf("%q: %v", text, err)
			}
			if err != nil {
				continue
			}
			again, err := Sign(secret, c)
			if err != nil {
				t.Fatalf("%+v was read, but can't be signed: %v", c, err)
			}
			if d, err := Verify(secret, again, now); err != nil || !reflect.DeepEqual(c, d) {
				t.Fatalf("read %+v, signed it and read %+v, %v", c, d, err)
			}
		}
	})
}

// signed checks a signature without the library.
func signed(token string) bool {
	end := strings.LastIndexByte(token, '.')
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(token[:end]))
	return token[end+1:] == base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
