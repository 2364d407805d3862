package sfu

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server"
)

// FuzzForwardedRooms has a stranger say anything in a forwarded room, a line
// each, and join by other sockets as the lines say, and looks that somebody of another room hears of nothing but what they
// asked for themselves, and that the server goes on.
func FuzzForwardedRooms(f *testing.F) {
	f.Add(`{"type":"subscribe_track","publisher_id":"alice","track_id":"camera","room_id":"theirs"}`)
	f.Add(`{"type":"offer","target":"alice","offer":{"type":"offer","sdp":"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"}}` + "\n" +
		`{"type":"ice_candidate","target":"alice","candidate":{"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host","sdpMid":"0"}}`)
	f.Add(`{"type":"answer","answer":{"type":"answer","sdp":"v=0"}}` + "\n" + `{"type":"participant_left","participant_id":"alice"}`)
	f.Add(`{"type":"join","peer_id":"alice","room_id":"theirs"}` + "\n" + `{"type":"publish","tracks":[{"track_id":"x","type":"video"}]}` + "\n\xff\n[]\nnull")
	f.Add(`{"type":"join","peer_id":"alice","resume":"","received":0}` + "\n" + `{"type":"join","peer_id":"mallory","resume":"AAAAAAAAAAAAAAAAAAAAAAAAAA","received":18446744073709551615}`)
	f.Add(`{"type":"join","peer_id":"mallory","resume":"$RESUME","received":1}` + "\n" + `{"type":"join","peer_id":"mallory","resume":"$RESUME","received":-1}`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 20_000 {
			t.Skip("more than a stranger needs")
		}
		v := newVenueOf(t, server.Config{})
		closing(t, v)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		enter := func(room, id string) *websocket.Conn {
			ws, _, err := websocket.Dial(ctx, strings.TrimSuffix(v.url, "room")+room, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ws.CloseNow() })
			say(ctx, t, ws, message.Message{Type: message.Join, PeerID: id, RoomID: room, Resume: new(string)})
			m := hear(ctx, t, ws)
			if m.Type != message.RoomPeers || m.Resume == nil || m.Received != nil {
				t.Fatalf("%s joins, and hears %+v", id, m)
			}
			text = strings.ReplaceAll(text, "$RESUME", *m.Resume) // alice's: if anybody's, hers
			return ws
		}
		alice, mallory := enter("theirs", "alice"), enter("mine", "mallory")
		for i, line := range strings.Split(text, "\n") {
			if m, err := message.Parse([]byte(line)); err == nil && m.Type == message.Join && i < 10 {
				again, _, err := websocket.Dial(ctx, strings.TrimSuffix(v.url, "room")+"mine", nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = again.CloseNow() })
				m.RoomID = "mine"
				say(ctx, t, again, m)
				if m := hear(ctx, t, again); m.Received != nil {
					t.Errorf("who has no connection goes on: %s: %+v", line, m)
				}
			}
			if i == 50 || mallory.Write(ctx, websocket.MessageText, []byte(line)) != nil {
				break
			}
		}
		// The server has read all of it when it answers that they leave.
		_ = mallory.Close(websocket.StatusNormalClosure, "")
		asked := time.Now()
		say(ctx, t, alice, message.Message{Type: message.SubscribeTrack, PublisherID: "nobody", TrackID: "none"})
		if m := hear(ctx, t, alice); m.Type != message.Error || m.Code != message.CodeUnknownTrack {
			t.Errorf("alice hears %+v", m)
		}
		if took := time.Since(asked); took > patience/2 {
			t.Errorf("an answer takes %v", took)
		}
	})
}

func say(ctx context.Context, t *testing.T, ws *websocket.Conn, m message.Message) {
	t.Helper()
	b, err := json.Marshal(m)
	if err == nil {
		err = ws.Write(ctx, websocket.MessageText, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hear(ctx context.Context, t *testing.T, ws *websocket.Conn) message.Message {
	t.Helper()
	_, b, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := message.Parse(b)
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return m
}
