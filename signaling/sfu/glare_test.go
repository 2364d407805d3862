package sfu

import (
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

// hear gives what the server says next of a kind. The client must not serve.
func (c *client) hear(t *testing.T, want ...message.Type) message.Message {
	t.Helper()
	for {
		_, b, err := c.ws.Read(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		m, err := message.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range want {
			if m.Type == typ {
				return m
			}
		}
	}
}

// subscribed makes a client that has subscribed to alice's sound and has offered
// nothing.
func subscribed(t *testing.T, v *venue) *client {
	t.Helper()
	if _, err := v.enter("alice", media.Opus); err != nil {
		t.Fatal(err)
	}
	bob, err := prepare(v.url, "bob")
	if err != nil {
		t.Fatal(err)
	}
	v.clients["bob"] = bob
	available := bob.hear(t, message.TrackAvailable)
	if err := bob.write(message.Message{Type: message.SubscribeTrack, PublisherID: "alice", TrackID: available.TrackID}); err != nil {
		t.Fatal(err)
	}
	return bob
}

// TestTheFirstOfferIsTheClients has a client subscribe before it offers. An offer
// of the server's that crosses its first one would be taken for an error by most.
func TestTheFirstOfferIsTheClients(t *testing.T) {
	t.Parallel()
	v := openVenue(t)
	bob := subscribed(t, v)
	started := time.Now()
	if err := bob.write(message.Message{Type: message.SubscribeTrack, PublisherID: "alice", TrackID: "none"}); err != nil {
		t.Fatal(err)
	}
	// The server obeys in order: by now it has seen the other subscription.
	if m := bob.hear(t, message.Error, message.Offer); m.Type != message.Error {
		t.Fatalf("after %v the server makes an offer before the client's first", time.Since(started))
	}
	// serve fails with an offer while ours waits for its answer.
	if err := bob.begin(); err != nil {
		t.Fatal(err)
	}
	select {
	case track := <-bob.media:
		if _, _, err := track.ReadRTP(); err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the client that subscribed early gets nothing")
	}
}

// TestOffersCross has the first offers of both cross: the client takes its own
// back and makes it again, and its role in DTLS stays what it is by then.
func TestOffersCross(t *testing.T) {
	t.Parallel()
	v := openVenue(t)
	bob := subscribed(t, v)
	theirs := bob.hear(t, message.Offer) // since the client makes none
	describe := func(typ message.Type, sdp string) {
		t.Helper()
		d := &message.Description{Type: string(typ), SDP: sdp}
		m := message.Message{Type: typ, Target: message.SFU}
		if typ == message.Offer {
			m.Offer = d
		} else {
			m.Answer = d
		}
		if err := bob.write(m); err != nil {
			t.Fatal(err)
		}
	}
	early, err := clientAPI.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if _, err := early.CreateDataChannel("messages", nil); err != nil {
		t.Fatal(err)
	}
	taken, err := early.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	describe(message.Offer, taken.SDP) // and taken back
	if err := bob.set(webrtc.SDPTypeOffer, theirs.Offer.SDP); err != nil {
		t.Fatal(err)
	}
	answer, err := bob.pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.pc.SetLocalDescription(answer); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer.SDP, "a=setup:active") {
		t.Fatalf("the client answers %s", answer.SDP)
	}
	describe(message.Answer, answer.SDP)

	capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	track, err := webrtc.NewTrackLocalStaticRTP(capability, "track-0", "stream")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.pc.AddTrack(track); err != nil {
		t.Fatal(err)
	}
	offer, err := bob.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	describe(message.Offer, offer.SDP)
	for {
		m := bob.hear(t, message.Answer, message.Offer, message.ICECandidate)
		if m.Type == message.Offer {
			t.Fatal("the server makes another offer")
		}
		if m.Type == message.ICECandidate {
			if err := bob.handle(m); err != nil {
				t.Fatal(err)
			}
			continue
		}
		// RFC 8842 §5.3: as long as the association is the same, so are the roles.
		if n := strings.Count(m.Answer.SDP, "a=setup:passive"); n != 3 || strings.Contains(m.Answer.SDP, "a=setup:active") {
			t.Fatalf("%d m-lines of the answer are passive, want 3:\n%s", n, m.Answer.SDP)
		}
		if err := bob.set(webrtc.SDPTypeAnswer, m.Answer.SDP); err != nil {
			t.Fatal(err)
		}
		break
	}
	bob.tracks, bob.codecs = append(bob.tracks, track), append(bob.codecs, media.Opus)
	bob.wg.Go(bob.play)
	bob.wg.Go(bob.serve)
	if err := bob.write(message.Message{Type: message.PublishTrack, TrackID: "track-0", TrackType: "audio"}); err != nil {
		t.Fatal(err)
	}
	carol, err := prepare(v.url, "carol")
	if err != nil {
		t.Fatal(err)
	}
	v.clients["carol"] = carol
	if err := carol.begin(); err != nil {
		t.Fatal(err)
	}
	wanting := time.After(patience)
	for subscriptions := 0; subscriptions < 2; {
		select {
		case m := <-carol.heard:
			if m.Type != message.TrackAvailable {
				continue
			}
			subscriptions++
			ask := message.Message{Type: message.SubscribeTrack, PublisherID: m.ParticipantID, TrackID: m.TrackID}
			if err := carol.write(ask); err != nil {
				t.Fatal(err)
			}
		case <-wanting:
			t.Fatalf("%d tracks are there", subscriptions)
		}
	}
	for who, tracks := range map[*client]int{bob: 1, carol: 2} {
		for range tracks {
			select {
			case r := <-who.media:
				if _, _, err := r.ReadRTP(); err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatalf("%s lacks a track", who.id)
			}
		}
	}
}
