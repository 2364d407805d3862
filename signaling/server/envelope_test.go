package server

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomtape/roomtape/signaling/message"
)

func TestBadID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "../../x": true, "Zoë 🎧": true, " padded ": true, strings.Repeat("é", MaxID/2): true,
		"": false, " ": false, "\u3000": false, "a\x7f": false, "a\u009f": false, "\xff": false, "a\ufffd": false,
		strings.Repeat("é", MaxID/2) + "x": false,
	} {
		if what := badID(id); (what == "") != ok {
			t.Errorf("badID(%q) = %q, want ok %v", id, what, ok)
		}
	}
}

// FuzzEnvelope checks that what is relayed is a message of the same type with
// an equal payload, from whom the server says, and nothing besides.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"type":"offer","target":"a","from":"x","offer":{"type":"offer","sdp":"<\u2028>","n":1.50}}`))
	f.Add([]byte(`{"type":"ice_candidate","candidate":null}`))
	f.Add([]byte(`{"Type":"answer","ANSWER":[ 1 ],"answer":2}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := parseEnvelope(in)
		if err != nil || e.payload() == nil {
			return
		}
		const from = "somebody \"quoted\""
		b, err := e.relayed(from)
		if err != nil {
			t.Fatalf("%q parsed but can't be relayed: %v", in, err)
		}
		if !utf8.Valid(b) {
			t.Fatalf("%q is relayed as broken UTF-8", in)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatalf("%q is relayed as %q: %v", in, b, err)
		}
		got, err := parseEnvelope(b)
		if err != nil || got.Type != e.Type || got.From != from || len(members) != 3 {
			t.Fatalf("%q is relayed as %q, %v", in, b, err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, e.payload()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.payload(), want.Bytes()) {
			t.Fatalf("payload %q is relayed as %q", want.Bytes(), got.payload())
		}
		// Strangers read it as a message, or at least refuse it cleanly.
		_, _ = message.Parse(b)
	})
}
