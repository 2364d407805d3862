package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/sdp/v3"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/token"
)

var secret = []byte("a secret of thirty-two bytes ....")

// signed makes a token for a minute.
func signed(t *testing.T, room, peer string, rights ...token.Right) string {
	t.Helper()
	s, err := token.Sign(secret, token.Claims{Room: room, PeerID: peer, Rights: rights, Expires: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// enter dials with a token in the query, joins, and reads room_peers.
func (h *house) enter(room, id, token string) (c *client, welcome message.Message) {
	h.t.Helper()
	c = h.dial("/ws/" + room + "?token=" + token)
	c.send(`{"type":"join","peer_id":%q}`, id)
	welcome, err := message.Parse([]byte(c.read()))
	if err != nil || welcome.Type != message.RoomPeers {
		h.t.Fatalf("%s in %s gets %+v, %v", id, room, welcome, err)
	}
	return c, welcome
}

func TestJoiningNeedsAToken(t *testing.T) {
	inHouse(t, Config{TokenSecret: secret}, func(t *testing.T, h *house) {
		there, _ := h.enter("r", "there", signed(t, "r", "there"))
		expired, err := token.Sign(secret, token.Claims{Room: "r", Expires: time.Now().Add(-time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		forged, err := token.Sign([]byte("another secret"), token.Claims{Room: "r", Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			token, join, code string
			status            websocket.StatusCode
		}{
			"none":             {"", `{"type":"join","peer_id":"a"}`, message.CodeUnauthorized, StatusForbidden},
			"words":            {"please", `{"type":"join","peer_id":"a"}`, message.CodeUnauthorized, StatusForbidden},
			"forged":           {forged, `{"type":"join","peer_id":"a"}`, message.CodeUnauthorized, StatusForbidden},
			"expired":          {expired, `{"type":"join","peer_id":"a"}`, message.CodeTokenExpired, StatusTokenExpired},
			"another room":     {signed(t, "other", ""), `{"type":"join","peer_id":"a"}`, message.CodeForbidden, StatusForbidden},
			"room by message":  {signed(t, "r", ""), `{"type":"join","peer_id":"a","room_id":"s"}`, message.CodeForbidden, StatusForbidden},
			"another id":       {signed(t, "r", "b"), `{"type":"join","peer_id":"a"}`, message.CodeForbidden, StatusForbidden},
			"who is there":     {signed(t, "r", ""), `{"type":"join","peer_id":"there"}`, message.CodeForbidden, StatusForbidden},
			"needs more":       {signed(t, "r", "a", token.Subscribe), `{"type":"join","peer_id":"a","needs":["record"]}`, message.CodeForbidden, StatusForbidden},
			"needs to publish": {signed(t, "r", "a", token.Record), `{"type":"join","peer_id":"a","needs":["record","publish"]}`, message.CodeForbidden, StatusForbidden},
		} {
			c := h.dial("/ws/r?token=" + tt.token)
			c.send("%s", tt.join)
			if m := c.wantError(tt.code); tt.token != "" && strings.Contains(m.Text, tt.token) {
				t.Errorf("%s: the answer tells the token: %q", name, m.Text)
			}
			c.wantClose(tt.status)
		}
		there.wantSilence()
	})
}

func TestTokenLetsIn(t *testing.T) {
	inHouse(t, Config{TokenSecret: secret}, func(t *testing.T, h *house) {
		_, m := h.enter("r", "a", signed(t, "r", "a", token.Record))
		if got := fmt.Sprint(m.Rights); got != "[subscribe record]" {
			t.Errorf("it is told of the rights %s", got)
		}
		_, m = h.enter("r", "any", signed(t, "r", ""))
		if m.Rights == nil || len(m.Rights) > 0 || len(m.Peers) != 1 {
			t.Errorf("without rights: %+v", m)
		}
		h.enter("s", "boss", signed(t, token.AnyRoom, "", token.Admin))
		// In the header, and whatever the query says.
		conn, _, err := websocket.Dial(t.Context(), "ws://house/ws/r?token=x", &websocket.DialOptions{HTTPClient: h.client,
			HTTPHeader: http.Header{"Authorization": {"bearer " + signed(t, "r", "b")}}})
		if err != nil {
			t.Fatal(err)
		}
		b := &client{t, conn}
		b.send(`{"type":"join","peer_id":"b","needs":["unheard of"]}`)
		b.want(`{"type":"room_peers","rights":[],"peers":["a","any"]}`)
		b.leave()
	})
}

func TestWithoutTokensNobodyHearsOfRights(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		c := h.dial("/ws/r?token=whatever")
		c.send(`{"type":"join","peer_id":"a","needs":["admin"]}`)
		c.want(`{"type":"room_peers","peers":[]}`)
	})
}

func TestExpiryEndsTheStayAndAFreshTokenRenewsIt(t *testing.T) {
	inHouse(t, Config{TokenSecret: secret, PingInterval: time.Hour}, func(t *testing.T, h *house) {
		b, _ := h.enter("r", "b", signed(t, token.AnyRoom, "", token.Admin))
		time.Sleep(30 * time.Second) // fake
		a, _ := h.enter("r", "a", signed(t, "r", "a"))
		b.want(`{"type":"peer_joined","peer_id":"a"}`)
		begin := time.Now()
		b.wantError(message.CodeTokenExpired)
		b.wantClose(StatusTokenExpired)
		if took := time.Since(begin); took < 29*time.Second || took > 30*time.Second {
			t.Errorf("closed after %v, want 30s", took)
		}
		a.want(`{"type":"peer_left","peer_id":"b","code":"token_expired"}`)
		// A fresh token before the end: nobody is told of an end.
		fresh, _ := h.enter("r", "a", signed(t, "r", "a"))
		a.wantError(message.CodeReplaced)
		a.wantClose(StatusReplaced)
		time.Sleep(31 * time.Second) // past the first one's end
		fresh.wantSilence()
		fresh.wantError(message.CodeTokenExpired)
		fresh.wantClose(StatusTokenExpired)
		synctest.Wait()
		if len(h.server.rooms) != 0 {
			t.Error("the room is still there")
		}
	})
}

// A socket whose place has been taken may still say something before it is
// closed; it must not come back that way.
func TestReplacedSocketCannotJoinAgain(t *testing.T) {
	inHouse(t, Config{}, func(t *testing.T, h *house) {
		old := h.join("r", "a")
		h.join("r", "a")
		old.send(`{"type":"join","peer_id":"a","room_id":"r"}`)
		old.wantError(message.CodeReplaced)
		old.wantClose(StatusReplaced)
		synctest.Wait()
		if rm := h.server.rooms["r"]; rm == nil || len(rm.peers) != 1 {
			t.Errorf("the room is %+v, want one peer", rm)
		}
	})
}

const sdpHead = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"

func TestRightsDirectTheMedia(t *testing.T) {
	const full = sdpHead + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=msid:s t\r\na=sendrecv\r\na=ssrc:1 cname:x\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rid:h send\r\na=simulcast:send h\r\na=recvonly\r\n" +
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n"
	for _, tt := range []struct {
		rights []token.Right
		want   []string
	}{
		{[]token.Right{token.Publish, token.Subscribe}, []string{"sendrecv", "recvonly"}},
		{[]token.Right{token.Admin}, []string{"sendrecv", "recvonly"}},
		{[]token.Right{token.Publish}, []string{"sendonly", "inactive"}},
		{[]token.Right{token.Subscribe}, []string{"recvonly", "recvonly"}},
		{[]token.Right{token.Record}, []string{"recvonly", "recvonly"}},
		{nil, []string{"inactive", "inactive"}},
	} {
		inHouse(t, Config{TokenSecret: secret}, func(t *testing.T, h *house) {
			a, _ := h.enter("r", "a", signed(t, "r", "a", token.Admin))
			b, _ := h.enter("r", "b", signed(t, "r", "b", tt.rights...))
			a.want(`{"type":"peer_joined","peer_id":"b"}`)
			for _, kind := range []string{"offer", "answer"} {
				sdp, err := json.Marshal(full)
				if err != nil {
					t.Fatal(err)
				}
				// A second SDP for readers to whom case does not matter.
				b.send(`{"type":%q,"target":"a",%q:{"type":"rollback","sdp":%s,"SDP":"evil"}}`, kind, kind, sdp)
				wire := a.read()
				m, err := message.Parse([]byte(wire))
				if err != nil {
					t.Fatal(err)
				}
				d := m.Offer
				if kind == "answer" {
					d = m.Answer
				}
				limited := tt.want[0] != "sendrecv" || tt.want[1] != "recvonly"
				if limited && (d.Type != kind || strings.Contains(wire, "evil")) {
					t.Errorf("%v: relayed %s", tt.rights, wire)
				}
				if !limited {
					if !strings.Contains(wire, "evil") {
						t.Errorf("%v: changed, though it may do all", tt.rights)
					}
					continue
				}
				sections := strings.Split(d.SDP, "m=")
				if len(sections) != 4 || sections[0] != sdpHead || !strings.HasSuffix(sections[3], "\r\na=sctp-port:5000\r\n") {
					t.Fatalf("%v: relayed %q", tt.rights, d.SDP)
				}
				for i, want := range tt.want {
					var got []string
					for _, line := range strings.Split(sections[i+1], "\r\n") {
						if _, ok := directions[attribute(line)]; ok {
							got = append(got, attribute(line))
						}
						if want == "recvonly" && strings.Contains(line, "ssrc") {
							t.Errorf("%v: an SSRC in what is not sent: %s", tt.rights, line)
						}
					}
					if len(got) != 1 || got[0] != want {
						t.Errorf("%v: m-line %d is %v, want %s", tt.rights, i, got, want)
					}
				}
			}
			// Candidates say nothing about media.
			b.send(`{"type":"ice_candidate","target":"a","candidate":{"candidate":"x"}}`)
			a.want(`{"type":"ice_candidate","from":"b","candidate":{"candidate":"x"}}`)
		})
	}
}

func TestDirectionsCannotBeHidden(t *testing.T) {
	const video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
	for name, sdp := range map[string]string{
		"by default":         sdpHead + video,
		"of the session":     sdpHead + "a=sendrecv\r\n" + video,
		"twice":              sdpHead + video + "a=recvonly\r\na=sendrecv\r\n",
		"with a value":       sdpHead + video + "a=sendonly:1\r\na=sendrecv x\r\n",
		"after bare LF":      strings.ReplaceAll(sdpHead+video, "\r\n", "\n") + "a=sendrecv",
		"as an application":  sdpHead + "m=application 9 RTP/AVP 96\r\na=sendrecv\r\n",
		"of another session": "a=sendonly\r\n" + sdpHead + video + "m=audio 9 X 1\r\na=inactive\r\n",
	} {
		got, err := restrictSDP(sdp, false, true)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(got, "send") {
			t.Errorf("%s: %q becomes %q", name, sdp, got)
		}
	}
	for name, sdp := range map[string]string{
		"a lone CR": sdpHead + video + "a=x\ra=sendrecv\r\n",
		"a NUL":     sdpHead + video + "a=x\x00\r\n",
		"a blank":   sdpHead + "\r\n" + video,
		"indented":  sdpHead + video + " a=sendrecv\r\n",
		"no SDP":    "hello",
		"vertical":  sdpHead + video + "a=x\va=sendrecv\r\n",
		"nothing":   "",
	} {
		if got, err := restrictSDP(sdp, false, true); err == nil {
			t.Errorf("%s: passed as %q", name, got)
		}
	}
}

func TestRestrictedPeersNeedRealDescriptions(t *testing.T) {
	inHouse(t, Config{TokenSecret: secret}, func(t *testing.T, h *house) {
		a, _ := h.enter("r", "a", signed(t, "r", "a", token.Admin))
		b, _ := h.enter("r", "b", signed(t, "r", "b", token.Subscribe))
		a.want(`{"type":"peer_joined","peer_id":"b"}`)
		for _, offer := range []string{`7`, `"v=0"`, `[]`, `null`, `{}`, `{"sdp":1}`, `{"SDP":"v=0"}`, `{"sdp":null}`} {
			b.send(`{"type":"offer","target":"a","offer":%s}`, offer)
			b.wantError(message.CodeBadMessage)
		}
		a.wantSilence()
	})
}

// FuzzRestrictSDP checks by another reader of SDP that nothing is left that
// promises media.
func FuzzRestrictSDP(f *testing.F) {
	f.Add(sdpHead + "a=sendrecv\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ssrc:1 cname:x\r\na=sendonly\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")
	f.Add("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=video 9 RTP/AVP 96\na=recvonly\n")
	f.Fuzz(func(t *testing.T, text string) {
		restricted, err := restrictSDP(text, false, true)
		if err != nil {
			return
		}
		var d sdp.SessionDescription
		if d.UnmarshalString(restricted) != nil {
			return // nobody else takes it either
		}
		for _, a := range d.Attributes {
			if _, ok := directions[a.Key]; ok {
				t.Fatalf("%q has a direction for all", restricted)
			}
		}
		for _, m := range d.MediaDescriptions {
			n := 0
			for _, a := range m.Attributes {
				switch a.Key {
				case "sendrecv", "sendonly", "ssrc", "msid":
					if m.MediaName.Media != "application" {
						t.Fatalf("%q promises media: %v", restricted, a)
					}
				case "recvonly", "inactive":
					n++
				}
			}
			if n != 1 && m.MediaName.Media != "application" {
				t.Fatalf("%q has %d directions in an m-line", restricted, n)
			}
		}
	})
}
