package sfu

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

// TestForwardedRoomsAreOutOfReach has somebody of one room try to read, write, kick,
// learn of and relay into another one that is forwarded, with and without tokens.
func TestForwardedRoomsAreOutOfReach(t *testing.T) {
	t.Parallel()
	for _, tokens := range []bool{false, true} {
		t.Run(fmt.Sprintf("tokens %v", tokens), func(t *testing.T) { outOfReach(t, tokens) })
	}
}

func outOfReach(t *testing.T, tokens bool) {
	var secret []byte
	if tokens {
		secret = []byte(rand.Text())
	}
	v := newVenueOf(t, server.Config{TokenSecret: secret})
	closing(t, v)
	// in gives the address of a room for those with a token for another one.
	in := func(room, allowed string) string {
		url := strings.TrimSuffix(v.url, "room") + room
		if secret == nil {
			return url
		}
		signed, err := token.Sign(secret, token.Claims{
			Room: allowed, Expires: time.Now().Add(time.Hour), Rights: []token.Right{token.Publish, token.Subscribe},
		})
		if err != nil {
			t.Fatal(err)
		}
		return url + "?token=" + signed
	}
	enter := func(room, id string, codecs ...media.Codec) *client {
		t.Helper()
		c, err := enterRoom(in(room, room), id, room, codecs...)
		if err != nil {
			t.Fatal(err)
		}
		v.clients[room+id] = c
		return c
	}
	alice, bob := enter("theirs", "alice", media.Opus), enter("theirs", "bob", media.Opus)
	mallory, eve := enter("mine", "mallory", media.Opus), enter("mine", "alice", media.Opus) // a namesake
	for _, c := range []*client{alice, bob, mallory, eve} {
		for until := time.Now().Add(patience); c.dc.ReadyState() != webrtc.DataChannelStateOpen; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("the data channel of %s does not open", c.id)
			}
		}
	}
	// What the rooms have said so far.
	heardOf := map[*client][]message.Message{}
	drain := func(c *client) {
		for len(c.heard) > 0 {
			heardOf[c] = append(heardOf[c], <-c.heard)
		}
	}

	// Read.
	ask := func(m message.Message, codes ...string) {
		t.Helper()
		if err := mallory.write(m); err != nil {
			t.Fatal(err)
		}
		late := time.After(patience)
		for {
			select {
			case got := <-mallory.heard:
				heardOf[mallory] = append(heardOf[mallory], got)
				if got.Type != message.Error {
					continue
				}
				if !slices.Contains(codes, got.Code) {
					t.Errorf("%+v is answered by %+v", m, got)
				}
				return
			case <-late:
				t.Fatalf("%+v is not refused", m)
			}
		}
	}
	ask(message.Message{Type: message.SubscribeTrack, PublisherID: "bob", TrackID: "track-0"}, message.CodeUnknownTrack)
	ask(message.Message{Type: message.SubscribeTrack, PublisherID: "bob", TrackID: "track-0", RoomID: "theirs", From: "alice"}, message.CodeUnknownTrack)
	// Write and relay.
	ask(message.Message{Type: message.Offer, Target: "bob", RoomID: "theirs", Offer: &message.Description{Type: "offer", SDP: "v=0"}}, message.CodeUnknownPeer)
	ask(message.Message{Type: message.ICECandidate, Target: "bob", Candidate: &message.Candidate{Candidate: "x"}}, message.CodeUnknownPeer)
	for _, text := range []string{`{"target":"bob","x":1}`, `{"room_id":"theirs","x":2}`, `{"target":"alice","room_id":"theirs","x":3}`, `words`} {
		if err := mallory.dc.SendText(text); err != nil {
			t.Fatal(err)
		}
	}
	// Kick, and what only a server says.
	for _, typ := range []message.Type{message.ParticipantLeft, message.TrackRemoved, message.UnsubscribeTrack, message.Subscribed, message.Speakers, message.TrackAvailable} {
		m := message.Message{Type: typ, PeerID: "bob", ParticipantID: "bob", PublisherID: "bob", TrackID: "track-0", TrackType: "audio", RoomID: "theirs", MID: "0", Speakers: []string{"bob"}}
		if err := mallory.write(m); err != nil {
			t.Fatal(err)
		}
	}
	ask(message.Message{Type: message.Join, PeerID: "bob", RoomID: "theirs"}, message.CodeAlreadyJoined)
	if tokens {
		c, err := prepare(in("theirs", "mine"), "bob", "theirs")
		if err != nil {
			t.Fatal(err)
		}
		v.clients["intruder"] = c
		_, b, err := c.ws.Read(c.ctx)
		if m, _ := message.Parse(b); err != nil || m.Type != message.Error || m.Code != message.CodeForbidden {
			t.Errorf("with a token for another room somebody gets in: %s, %v", b, err)
		}
	}

	// The namesake, who is in the same room as mallory, gets what was for "alice";
	// when that is there, the rest has been dealt with too.
	var namesake []string
	for late := time.After(patience); len(namesake) < 3; {
		select {
		case text := <-eve.said:
			namesake = append(namesake, text)
		case <-late:
			t.Fatalf("the one in the same room hears %q", namesake)
		}
	}
	// They still hear each other, and of nobody else.
	if err := alice.dc.SendText(`{"target":"bob","y":1}`); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-bob.said:
		if text != `{"target":"bob","y":1,"from":"alice"}` {
			t.Errorf("bob hears %s", text)
		}
	case <-time.After(patience):
		t.Error("bob does not hear alice any more")
	}
	if err := bob.write(message.Message{Type: message.SubscribeTrack, PublisherID: "alice", TrackID: "track-0"}); err != nil {
		t.Fatal(err)
	}
	select {
	case track := <-bob.media:
		if _, _, err := track.ReadRTP(); err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("bob does not get what alice sends")
	}
	for _, c := range []*client{alice, bob, mallory, eve} {
		drain(c)
	}
	for c, others := range map[*client][]string{alice: {"bob"}, bob: {"alice"}, mallory: {"alice"}, eve: {"mallory"}} {
		for _, m := range heardOf[c] {
			for _, id := range []string{m.ParticipantID, m.PublisherID} {
				if id != "" && !slices.Contains(others, id) {
					t.Errorf("%s learns of %s: %+v", c.id, id, m)
				}
			}
			if c != mallory && m.Type != message.RoomPeers && m.Type != message.ParticipantJoined && m.Type != message.TrackAvailable && m.Type != message.Subscribed {
				t.Errorf("%s is told %+v", c.id, m)
			}
		}
	}
	if len(alice.said) != 0 || len(bob.said) != 0 || len(mallory.media) != 0 || len(eve.media) != 0 {
		t.Errorf("alice hears %d messages, bob %d more, and the others get %d and %d tracks", len(alice.said), len(bob.said), len(mallory.media), len(eve.media))
	}
}
