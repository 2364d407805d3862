package message

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func ptr[T any](v T) *T { return &v }

// The rows of the protocol, each in the form that goes over the wire.
var rows = []struct {
	name string
	wire string
	want Message
}{
	{"join",
		`{"type":"join","peer_id":"p1","room_id":"r1"}`,
		Message{Type: Join, PeerID: "p1", RoomID: "r1"}},
	{"room_peers",
		`{"type":"room_peers","peers":["p2","p3"]}`,
		Message{Type: RoomPeers, Peers: []string{"p2", "p3"}}},
	{"room_peers in an empty room",
		`{"type":"room_peers","peers":[]}`,
		Message{Type: RoomPeers, Peers: []string{}}},
	{"peer_joined",
		`{"type":"peer_joined","peer_id":"p1"}`,
		Message{Type: PeerJoined, PeerID: "p1"}},
	{"peer_left",
		`{"type":"peer_left","peer_id":"p1"}`,
		Message{Type: PeerLeft, PeerID: "p1"}},
	{"offer to the server",
		`{"type":"offer","target":"p2","offer":{"type":"offer","sdp":"v=0\r\n"}}`,
		Message{Type: Offer, Target: "p2", Offer: &Description{Type: "offer", SDP: "v=0\r\n"}}},
	{"offer from the server",
		`{"type":"offer","from":"p1","offer":{"type":"offer","sdp":"v=0\r\n"}}`,
		Message{Type: Offer, From: "p1", Offer: &Description{Type: "offer", SDP: "v=0\r\n"}}},
	{"answer",
		`{"type":"answer","target":"p1","answer":{"type":"answer","sdp":"v=0\r\n"}}`,
		Message{Type: Answer, Target: "p1", Answer: &Description{Type: "answer", SDP: "v=0\r\n"}}},
	{"ice_candidate",
		`{"type":"ice_candidate","target":"p2","candidate":{"candidate":"candidate:1 1 udp 2 10.0.0.1 9 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"ab"}}`,
		Message{Type: ICECandidate, Target: "p2", Candidate: &Candidate{
			Candidate: "candidate:1 1 udp 2 10.0.0.1 9 typ host", SDPMid: ptr("0"), SDPMLineIndex: ptr(uint16(0)), UsernameFragment: ptr("ab")}}},
	{"ice_candidate with nulls",
		`{"type":"ice_candidate","from":"p2","candidate":{"candidate":"","sdpMid":null,"sdpMLineIndex":null,"usernameFragment":null}}`,
		Message{Type: ICECandidate, From: "p2", Candidate: &Candidate{}}},
	{"error",
		`{"type":"error","code":"room_full","message":"full"}`,
		Message{Type: Error, Code: "room_full", Text: "full"}},
}

func TestRowsOfTheProtocolParseAndMarshal(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := Parse([]byte(row.wire))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("parsed\n%+v, want\n%+v", got, row.want)
			}
			b, err := json.Marshal(row.want)
			if err != nil {
				t.Fatal(err)
			}
			// Members may come in any order, so compare what they say.
			if !sameJSON(t, b, []byte(row.wire)) {
				t.Errorf("marshalled\n%s, want\n%s", b, row.wire)
			}
		})
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var va, vb any
	if err := json.Unmarshal(a, &va); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &vb); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(va, vb)
}

func TestParseIgnoresWhatItDoesNotKnow(t *testing.T) {
	for _, in := range []string{
		`{"type":"subscribed","publisher_id":"p1","mid":"3"}`,
		`{"type":"join","peer_id":"p1","version":7,"capabilities":{"simulcast":[1,2]}}`,
		`{"type":"offer","offer":{"type":"offer","sdp":"v=0","toJSON":{}},"trace":null}`,
		` {"type" : "join" } `,
	} {
		if _, err := Parse([]byte(in)); err != nil {
			t.Errorf("Parse(%s): %v", in, err)
		}
	}
}

// A browser's end of candidates is a null, and must not look like a candidate.
func TestParseKeepsNullCandidateApart(t *testing.T) {
	m, err := Parse([]byte(`{"type":"ice_candidate","from":"p1","candidate":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.Candidate != nil {
		t.Errorf("candidate is %+v, want nil", m.Candidate)
	}
}

func TestParseRefusesWhatIsNoMessage(t *testing.T) {
	for _, in := range []string{
		``, `null`, `17`, `"join"`, `[]`, `[{"type":"join"}]`, `{`, `{}`, `{"type":""}`, `{"type":null}`, `{"type":5}`,
		`{"type":"join","peer_id":5}`,
		`{"type":"join"}{"type":"join"}`,
		`{"type":"room_peers","peers":"p1"}`,
		`{"type":"offer","offer":"v=0"}`,
		`{"type":"ice_candidate","candidate":{"candidate":"","sdpMLineIndex":65536}}`,
		`{"type":"ice_candidate","candidate":{"candidate":"","sdpMLineIndex":-1}}`,
		"\x00\xff", "<html></html>",
		strings.Repeat(`[`, 20000),
		`{"type":"` + strings.Repeat("x", MaxSize) + `"}`,
	} {
		m, err := Parse([]byte(in))
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("Parse(%.40q) = %v, want ErrMalformed", in, err)
		}
		if !reflect.DeepEqual(m, Message{}) {
			t.Errorf("Parse(%.40q) gave %+v beside its error", in, m)
		}
	}
}

func TestParseTakesAMessageOfExactlyMaxSize(t *testing.T) {
	frame := `{"type":""}`
	in := fmt.Sprintf(`{"type":"%s"}`, strings.Repeat("x", MaxSize-len(frame)))
	if _, err := Parse([]byte(in)); err != nil {
		t.Error(err)
	}
}

// FuzzParse checks that what parses and is marshalled parses to the same.
func FuzzParse(f *testing.F) {
	for _, row := range rows {
		f.Add([]byte(row.wire))
	}
	f.Add([]byte(`{"type":"ice_candidate","candidate":null,"peers":[null]}`))
	f.Add([]byte("{\"type\":\"\xff\",\"PEER_ID\":\"\\ud800\"}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(in)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("%+v parsed but does not marshal: %v", m, err)
		}
		if len(b) > MaxSize {
			return // escapes made it longer
		}
		again, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("parsed\n%+v, then from its own form\n%+v", m, again)
		}
	})
}
