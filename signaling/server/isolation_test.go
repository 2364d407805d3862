package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/token"
)

// TestOtherRoomsAreOutOfReach has somebody of one room try to read, write, kick,
// learn of and relay into another, with and without tokens.
func TestOtherRoomsAreOutOfReach(t *testing.T) {
	for name, cfg := range map[string]Config{"open": {}, "with tokens": {TokenSecret: secret}} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, cfg, func(t *testing.T, h *house) {
				alice, _ := h.enter("theirs", "alice", signed(t, "theirs", "", token.Publish, token.Subscribe))
				bob, _ := h.enter("theirs", "bob", signed(t, "theirs", "", token.Publish, token.Subscribe))
				alice.want(`{"type":"peer_joined","peer_id":"bob"}`)
				mallory, welcome := h.enter("mine", "mallory", signed(t, "mine", "", token.Publish, token.Subscribe, token.Record))
				if len(welcome.Peers) != 0 {
					t.Errorf("learns of %v", welcome.Peers)
				}

				// Write and relay: whoever is elsewhere is like nobody.
				for _, to := range []string{"alice", "nobody"} {
					for _, typ := range []string{"offer", "answer"} {
						mallory.send(`{"type":%q,"target":%q,"room_id":"theirs","from":"bob","peer_id":"bob",%q:{"type":%q,"sdp":"v=0"}}`, typ, to, typ, typ)
						if m := mallory.wantError(message.CodeUnknownPeer); m.PeerID != to || m.Text != "the target is not in the room" {
							t.Errorf("%s to %s: %+v", typ, to, m)
						}
					}
					mallory.send(`{"type":"ice_candidate","target":%q,"room_id":"theirs","candidate":{"candidate":"x"}}`, to)
				}
				// Messages that only a server sends.
				for _, typ := range []string{"peer_left", "peer_joined", "room_peers", "error"} {
					mallory.send(`{"type":%q,"peer_id":"alice","room_id":"theirs","target":"bob","peers":["alice"],"code":"replaced"}`, typ)
				}
				// Kick: the same id elsewhere is somebody else, and another room
				// is not to be had on the same socket.
				h.enter("mine", "alice", signed(t, "mine", "", token.Publish))
				mallory.want(`{"type":"peer_joined","peer_id":"alice"}`)
				mallory.send(`{"type":"join","peer_id":"alice","room_id":"theirs"}`)
				mallory.wantError(message.CodeAlreadyJoined)
				if cfg.TokenSecret != nil {
					// By another socket, the token of one room is of no use in
					// another, whether or not there is one.
					var answers []message.Message
					for _, room := range []string{"theirs", "nowhere"} {
						c := h.dial("/ws/" + room + "?token=" + signed(t, "mine", "", token.Publish))
						c.send(`{"type":"join","peer_id":"alice"}`)
						answers = append(answers, c.wantError(message.CodeForbidden))
						c.wantClose(StatusForbidden)
					}
					if answers[0].Text != answers[1].Text {
						t.Errorf("the answers tell which room there is: %q, %q", answers[0].Text, answers[1].Text)
					}
				}
				// Read: what they say to each other is theirs.
				alice.send(`{"type":"offer","target":"bob","offer":{"type":"offer","sdp":"v=0"}}`)
				bob.want(`{"type":"offer","from":"alice","offer":{"type":"offer","sdp":"v=0"}}`)
				mallory.wantSilence()
				alice.wantSilence()
				bob.wantSilence()
			})
		})
	}
}

// FuzzOtherRooms has a stranger say anything, a line each, and looks that nobody
// of another room hears of it; and that in their own room, others get only what
// the protocol has.
func FuzzOtherRooms(f *testing.F) {
	f.Add(`{"type":"join","peer_id":"mallory","room_id":"mine"}` + "\n" + `{"type":"offer","target":"eve","offer":{"type":"offer","sdp":"v=0\r\nm=audio 9 X 1"}}`)
	f.Add(`{"type":"join","peer_id":"alice","room_id":"theirs"}` + "\n" + `{"type":"ice_candidate","target":"alice","candidate":null}`)
	f.Add(`{"type":"join","peer_id":"eve","room_id":"mine","needs":["publish",null]}` + "\n" + `{"type":"join","peer_id":"eve","room_id":"mine"}`)
	f.Add("\xff\n{}\n[]\nnull\n" + `{"type":"answer","target":"eve","answer":{"sdp":"a=sendrecv\r\nm=video 9 X 1\r\na=ssrc:1 x"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, tokens := range []bool{false, true} {
			cfg := Config{AddressSockets: -1, AddressJoins: -1, AddressMessages: -1}
			if tokens {
				cfg.TokenSecret = secret
			}
			s := New(cfg)
			socketOf := func(room string, rights ...token.Right) *socket {
				so := newSocket(s, room)
				t.Cleanup(so.cut)
				so.log = s.cfg.Logger
				so.address, _ = s.addresses.enter(addressOf("192.0.2.1:1"), s.cfg, time.Now())
				so.token = signed(t, room, "", rights...)
				return so
			}
			enter := func(room, id string) *socket {
				so := socketOf(room, token.Publish, token.Subscribe)
				if refused, _ := so.handle(fmt.Appendf(nil, `{"type":"join","peer_id":%q}`, id)); refused != nil {
					t.Fatalf("%s: %+v", id, refused)
				}
				so.out.take()
				return so
			}
			alice, eve := enter("theirs", "alice"), enter("mine", "eve")
			mallory := socketOf("mine", token.Subscribe)
			if !tokens { // where all doors are open, they have gone through one
				if refused, _ := mallory.handle([]byte(`{"type":"join","peer_id":"mallory"}`)); refused != nil {
					t.Fatal(refused)
				}
			}
			for i, line := range strings.Split(text, "\n") {
				if refused, _ := mallory.handle([]byte(line)); i > 50 || refused != nil && refused.status != 0 {
					break
				}
			}
			if b, ok, ended := alice.out.take(); ok || ended {
				t.Fatalf("tokens %v: alice hears %s, or is cut off: %v", tokens, b, ended)
			}
			if rm := s.rooms["theirs"]; len(rm.peers) != 1 || rm.peers[0] != alice {
				t.Fatalf("tokens %v: the other room has become %+v", tokens, rm)
			}
			for {
				b, ok, _ := eve.out.take()
				if !ok {
					break
				}
				m, err := message.Parse(b)
				if err != nil && !strings.HasPrefix(string(b), `{"type":"offer"`) && !strings.HasPrefix(string(b), `{"type":"answer"`) && !strings.HasPrefix(string(b), `{"type":"ice_candidate"`) {
					t.Fatalf("eve hears %q: %v", b, err)
				}
				if tokens && err == nil {
					for _, d := range []*message.Description{m.Offer, m.Answer} {
						if d != nil && (strings.Contains(d.SDP, "\na=sendrecv\r\n") || strings.Contains(d.SDP, "\na=sendonly\r\n")) {
							t.Fatalf("eve is to receive what may not be sent: %q", d.SDP)
						}
					}
				}
			}
		}
	})
}
