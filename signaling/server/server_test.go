package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
)

func TestPeersMeetTalkAndLeave(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		alice := h.join("r1", "alice")
		bob := h.join("r1", "bob", "alice")
		alice.want(`{"type":"peer_joined","peer_id":"bob"}`)
		carol := h.join("r1", "carol", "alice", "bob")
		alice.want(`{"type":"peer_joined","peer_id":"carol"}`)
		bob.want(`{"type":"peer_joined","peer_id":"carol"}`)

		carol.send(`{"type":"offer","target":"alice","offer":{"type":"offer","sdp":"v=0\r\n"}}`)
		alice.want(`{"type":"offer","from":"carol","offer":{"type":"offer","sdp":"v=0\r\n"}}`)
		alice.send(`{"type":"answer","target":"carol","answer":{"type":"answer","sdp":"v=0\r\n"}}`)
		carol.want(`{"type":"answer","from":"alice","answer":{"type":"answer","sdp":"v=0\r\n"}}`)
		alice.send(`{"type":"ice_candidate","target":"carol","candidate":{"candidate":"","sdpMid":null,"sdpMLineIndex":0,"usernameFragment":null}}`)
		carol.want(`{"type":"ice_candidate","from":"alice","candidate":{"candidate":"","sdpMid":null,"sdpMLineIndex":0,"usernameFragment":null}}`)
		bob.wantSilence()

		bob.leave()
		alice.want(`{"type":"peer_left","peer_id":"bob"}`)
		carol.want(`{"type":"peer_left","peer_id":"bob"}`)
		h.join("r1", "bob", "alice", "carol")
	})
}

func TestEmptyRoomIsAnEmptyList(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		c := h.dial("/")
		c.send(`{"type":"join","peer_id":"p1","room_id":"r1"}`)
		c.want(`{"type":"room_peers","peers":[]}`)
	})
}

func TestRelayKeepsThePayloadAndNothingElse(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		b := h.join("r", "b", "a")
		a.want(`{"type":"peer_joined","peer_id":"b"}`)
		// A forged sender and unknown members around the payload go; unknown
		// members inside it stay, and so do characters that HTML escapes.
		b.send(`{"type":"offer","target":"a","from":"mallory","peer_id":"x","room_id":"y","trace":1,"candidate":{},"offer":{"type":"offer","sdp":"a=<&>\u2028","x":[1.50,{"y":null}]}}`)
		a.want(`{"type":"offer","from":"b","offer":{"type":"offer","sdp":"a=<&>\u2028","x":[1.50,{"y":null}]}}`)
		b.send(`{"type":"ice_candidate","target":"a","candidate":null}`)
		a.want(`{"type":"ice_candidate","from":"b","candidate":null}`)
	})
}

func TestRelayStaysInTheRoom(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		a := h.join("r1", "a")
		b := h.join("r2", "b")
		b.send(`{"type":"offer","target":"a","offer":{}}`)
		if m := b.wantError(message.CodeUnknownPeer); m.PeerID != "a" {
			t.Errorf("the error names %q, want the target", m.PeerID)
		}
		b.send(`{"type":"offer","target":"b","offer":{}}`)
		b.wantError(message.CodeUnknownPeer)
		b.send(`{"type":"ice_candidate","target":"gone","candidate":{}}`)
		b.wantSilence()
		a.wantSilence()
	})
}

func TestSecondJoinUnderALiveIDTakesItsPlace(t *testing.T) {
	inHouse(t, Config{MaxPeers: 2}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		old := h.join("r", "b", "a")
		a.want(`{"type":"peer_joined","peer_id":"b"}`)
		// Even in a full room: it is one peer before and after.
		b := h.join("r", "b", "a")
		a.want(`{"type":"peer_left","peer_id":"b"}`)
		a.want(`{"type":"peer_joined","peer_id":"b"}`)
		old.wantError(message.CodeReplaced)
		old.wantClose(StatusReplaced)
		synctest.Wait()

		// The old socket's end is not the new peer's.
		a.send(`{"type":"offer","target":"b","offer":{}}`)
		b.want(`{"type":"offer","from":"a","offer":{}}`)
		a.wantSilence()
	})
}

func TestSameIDMayBeInTwoRooms(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		h.join("r1", "a").wantSilence()
		h.join("r2", "a").wantSilence()
	})
}

func TestSecondJoinOnOneSocketIsRefused(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		b := h.join("r", "b", "a")
		a.want(`{"type":"peer_joined","peer_id":"b"}`)
		b.send(`{"type":"join","peer_id":"c","room_id":"elsewhere"}`)
		b.wantError(message.CodeAlreadyJoined)
		a.wantSilence()
		b.send(`{"type":"offer","target":"a","offer":{}}`)
		a.want(`{"type":"offer","from":"b","offer":{}}`)
	})
}

func TestRoomOfThePath(t *testing.T) {
	for _, tt := range []struct{ path, join, code string }{
		{"/ws/standup", `{"type":"join","peer_id":"a"}`, ""},
		{"/ws/standup/", `{"type":"join","peer_id":"a"}`, ""},
		{"/some/other/way/standup?x=1", `{"type":"join","peer_id":"a"}`, ""},
		{"/ws/other", `{"type":"join","peer_id":"a","room_id":"standup"}`, ""},
		{"/", `{"type":"join","peer_id":"a","room_id":"standup"}`, ""},
		{"/healthz", `{"type":"join","peer_id":"a","room_id":"standup"}`, ""},
		{"/", `{"type":"join","peer_id":"a"}`, message.CodeBadRoomID},
		{"/ws/other", `{"type":"join","peer_id":"a","room_id":""}`, message.CodeBadRoomID},
		{"/ws/%00", `{"type":"join","peer_id":"a"}`, message.CodeBadRoomID},
	} {
		inHouse(t, Config{}, func(t *testing.T, h *house) {
			h.join("standup", "there")
			c := h.dial(tt.path)
			c.send("%s", tt.join)
			if tt.code != "" {
				c.wantError(tt.code)
				return
			}
			c.want(`{"type":"room_peers","peers":["there"]}`)
		})
	}
}

func TestPathElementIsUnescapedOnce(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		h.join("a/b c", "there")
		c := h.dial("/ws/a%2Fb%20c")
		c.send(`{"type":"join","peer_id":"a"}`)
		c.want(`{"type":"room_peers","peers":["there"]}`)
	})
}

func TestBadIDsAreRefusedAndTheSocketLives(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		c := h.dial("/ws/r")
		for _, id := range []string{"", " \u00a0", "a\x00b", "a\nb", "\u0085", "\ufffd", strings.Repeat("x", MaxID+1), strings.Repeat("x", 10000)} {
			b, err := json.Marshal(id)
			if err != nil {
				t.Fatal(err)
			}
			c.send(`{"type":"join","peer_id":%s,"room_id":"r"}`, b)
			c.wantError(message.CodeBadPeerID)
			c.send(`{"type":"join","peer_id":"p","room_id":%s}`, b)
			c.wantError(message.CodeBadRoomID)
		}
		c.send(`{"type":"join","peer_id":"\ud800"}`)
		c.wantError(message.CodeBadPeerID)
		c.send(`{"type":"join"}`)
		c.wantError(message.CodeBadPeerID)
		id := "../../x <b>" + strings.Repeat("ü", 50)
		c.send(`{"type":"join","peer_id":%q}`, id)
		c.want(`{"type":"room_peers","peers":[]}`)
	})
}

func TestBadMessagesAreAnsweredAndSurvived(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		c := h.dial("/ws/r")
		for _, m := range []string{
			``, `hello`, `null`, `[]`, `"join"`, `{`, `{}`, `{"type":1}`, `{"type":"join","peer_id":1}`, "{\"type\":\"join\",\"peer_id\":\"\xff\"}",
			`{"type":"offer","target":"x"}`, strings.Repeat(`[`, 30000),
		} {
			c.send("%s", m)
			c.wantError(message.CodeBadMessage)
		}
		if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"join","peer_id":"a"}`)); err != nil {
			t.Fatal(err)
		}
		c.wantError(message.CodeBadMessage)
		c.send(`{"type":"offer","target":"x","offer":{}}`)
		c.wantError(message.CodeNotJoined)
		c.send(`{"type":"something","of":"tomorrow"}`)
		c.send(`{"type":"join","peer_id":"a","new":{}}`)
		c.want(`{"type":"room_peers","peers":[]}`)
		c.send(`{"type":"peer_left","peer_id":"a"}`)
		c.wantSilence()
	})
}

func TestLimitsOnRoomsAndPeers(t *testing.T) {
	inHouse(t, Config{MaxRooms: 1, MaxPeers: 1}, func(t *testing.T, h *house) {
		a := h.join("r1", "a")
		c := h.dial("/")
		c.send(`{"type":"join","peer_id":"c","room_id":"r2"}`)
		c.wantError(message.CodeTooManyRooms)
		c.send(`{"type":"join","peer_id":"c","room_id":"r1"}`)
		c.wantError(message.CodeRoomFull)
		a.leave()
		synctest.Wait()
		c.send(`{"type":"join","peer_id":"c","room_id":"r2"}`)
		c.want(`{"type":"room_peers","peers":[]}`)
	})
}

func TestLimitOnSockets(t *testing.T) {
	inHouse(t, Config{MaxSockets: 1}, func(t *testing.T, h *house) {
		h.dial("/")
		_, resp, err := websocket.Dial(t.Context(), "ws://house/", &websocket.DialOptions{HTTPClient: h.client})
		if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("got %v, %v; want 503", resp, err)
		}
	})
}

func TestTooLargeMessageClosesWithAReason(t *testing.T) {
	inHouse(t, Config{MaxMessage: 1000}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		b := h.join("r", "b", "a")
		a.want(`{"type":"peer_joined","peer_id":"b"}`)

		// Of the largest size it passes, but not with a longer "from".
		fits := `{"type":"offer","target":"a","offer":"%s"}`
		fits = fmt.Sprintf(fits, strings.Repeat("x", 1000-len(fits)+2))
		b.send("%s", fits)
		a.read()
		long := h.join("r", strings.Repeat("l", MaxID), "a", "b")
		long.send("%s", fits)
		long.wantError(message.CodeTooLarge)

		b.wantMessage(message.Message{Type: message.PeerJoined, PeerID: strings.Repeat("l", MaxID)})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.conn.Write(t.Context(), websocket.MessageText, make([]byte, 1<<20)) // the server hangs up
		}()
		b.wantError(message.CodeTooLarge)
		b.wantClose(websocket.StatusMessageTooBig)
		<-done
	})
}

func TestFastSenderIsSlowedAndLosesNothing(t *testing.T) {
	inHouse(t, Config{Rate: 10, Burst: 20, MaxMessage: 8192}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		b := h.join("r", "b", "a")
		a.want(`{"type":"peer_joined","peer_id":"b"}`)
		begin := time.Now()
		go func() {
			for i := range 100 {
				if b.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"type":"offer","target":"a","offer":%d}`, i)) != nil {
					return
				}
			}
		}()
		for i := range 100 {
			a.want(fmt.Sprintf(`{"type":"offer","from":"b","offer":%d}`, i))
		}
		// 100 messages and the join, of which 20 are free.
		if took := time.Since(begin); took < 7*time.Second || took > 9*time.Second {
			t.Errorf("100 messages took %v, want about 8s", took)
		}
		b.wantError(message.CodeRateLimited)
		b.wantSilence()
	})
}

func TestSocketThatNeverJoinsIsClosed(t *testing.T) {
	inHouse(t, Config{JoinTimeout: 3 * time.Second}, func(t *testing.T, h *house) {
		begin := time.Now()
		c := h.dial("/ws/r")
		c.wantError(message.CodeJoinTimeout)
		c.wantClose(websocket.StatusPolicyViolation)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("closed after %v, want 3s", took)
		}
	})
}

func TestDeadPeerIsNoticed(t *testing.T) {
	inHouse(t, Config{PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second}, func(t *testing.T, h *house) {
		begin := time.Now()
		a := h.join("r", "a")
		h.join("r", "dead", "a") // never reads again, so never answers a ping
		a.want(`{"type":"peer_joined","peer_id":"dead"}`)
		a.want(`{"type":"peer_left","peer_id":"dead"}`)
		if took := time.Since(begin); took != 15*time.Second {
			t.Errorf("noticed after %v, want 15s", took)
		}
	})
}

func TestLivePeerIsKept(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+time.Second)
		defer cancel()
		if _, b, err := a.conn.Read(ctx); ctx.Err() == nil {
			t.Errorf("read %q, %v; want an hour of silence", b, err)
		}
	})
}

func TestSlowReaderIsDroppedAndWaitedForByNobody(t *testing.T) {
	for name, fill := range map[string]struct{ messages, size int }{
		"by number": {maxQueued + 2, 1},
		"by bytes":  {maxQueuedBytes/100_000 + 2, 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, Config{Rate: 1e9, Burst: 1e9}, func(t *testing.T, h *house) {
				a := h.join("r", "a")
				h.join("r", "slow", "a") // never reads again
				a.want(`{"type":"peer_joined","peer_id":"slow"}`)
				b := h.join("r", "b", "a", "slow")
				a.want(`{"type":"peer_joined","peer_id":"b"}`)
				begin := time.Now()
				payload := strings.Repeat("x", fill.size)
				for range fill.messages {
					b.send(`{"type":"ice_candidate","target":"slow","candidate":"%s"}`, payload)
				}
				b.send(`{"type":"offer","target":"a","offer":{}}`)
				if m, n := a.read(), a.read(); !strings.Contains(m+n, `"peer_left","peer_id":"slow"`) || !strings.Contains(m+n, `"offer"`) {
					t.Errorf("got %s and %s, want slow gone and the offer", m, n)
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("the others waited %v", took)
				}
			})
		})
	}
}

func TestStuckWriteIsCutOff(t *testing.T) {
	inHouse(t, Config{WriteTimeout: 2 * time.Second}, func(t *testing.T, h *house) {
		a := h.join("r", "a")
		h.join("r", "stuck", "a")
		a.want(`{"type":"peer_joined","peer_id":"stuck"}`)
		begin := time.Now()
		a.send(`{"type":"offer","target":"stuck","offer":"%s"}`, strings.Repeat("x", 100_000))
		a.want(`{"type":"peer_left","peer_id":"stuck"}`)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("cut off after %v, want 2s", took)
		}
	})
}

func TestShutdownSaysGoodbye(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		a, b := h.join("r1", "a"), h.join("r2", "b")
		unjoined := h.dial("/")
		var wg sync.WaitGroup
		for _, c := range []*client{a, b, unjoined} {
			wg.Go(func() {
				_, _, err := c.conn.Read(t.Context())
				if got := websocket.CloseStatus(err); got != websocket.StatusGoingAway {
					t.Errorf("closed with %v, want going away", err)
				}
			})
		}
		if err := h.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if len(h.server.rooms) != 0 || len(h.server.sockets) != 0 {
			t.Errorf("%d rooms and %d sockets are left", len(h.server.rooms), len(h.server.sockets))
		}
		if _, resp, _ := websocket.Dial(t.Context(), "ws://house/", &websocket.DialOptions{HTTPClient: h.client}); resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a new socket gets %v, want 503", resp)
		}
	})
}

func TestShutdownDoesNotWaitLongerThanItsContext(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		h.join("r1", "deaf") // does not read, so never answers the close
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}
