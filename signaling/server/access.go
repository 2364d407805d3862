package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/token"
)

// The statuses with which a socket is closed because of its token (RFC 6455
// §7.4.2, private use).
const (
	// StatusTokenExpired: it has expired. With a fresh one, the client may join
	// again at once.
	StatusTokenExpired websocket.StatusCode = 4002
	// StatusForbidden: there is none, it is not valid, or it does not allow
	// what was asked for. The same again would be refused again.
	StatusForbidden websocket.StatusCode = 4003
)

// TokenOf gives the token that a request brings, in its header as
// "Authorization: Bearer TOKEN" (RFC 6750 §2.1) or, since a browser's WebSocket
// can't have that, in its query as token; or "".
func TokenOf(r *http.Request) string {
	const scheme = "bearer "
	if h := r.Header.Get("Authorization"); len(h) > len(scheme) && strings.EqualFold(h[:len(scheme)], scheme) {
		return strings.TrimSpace(h[len(scheme):])
	}
	return r.URL.Query().Get("token")
}

// Authorize gives what a request's token allows now, or the error of
// token.Verify. Without Config.TokenSecret everybody may do everything.
func (s *Server) Authorize(r *http.Request) (token.Claims, error) { return s.verify(TokenOf(r)) }

func (s *Server) verify(text string) (token.Claims, error) {
	if len(s.cfg.TokenSecret) == 0 {
		return token.Unlimited(), nil
	}
	return token.Verify(s.cfg.TokenSecret, text, time.Now())
}

// access gives what a socket's token allows in a room under an id, or why it may
// not join. What the room is like, and whether it exists, has no influence.
func (s *Server) access(so *socket, e envelope, roomID string) (token.Claims, *refusal) {
	claims, err := s.verify(so.token)
	switch {
	case errors.Is(err, token.ErrExpired):
		return claims, &refusal{code: message.CodeTokenExpired, text: err.Error(), status: StatusTokenExpired}
	case err != nil:
		return claims, &refusal{code: message.CodeUnauthorized, text: err.Error(), status: StatusForbidden}
	case claims.Room != roomID && claims.Room != token.AnyRoom:
		return claims, forbidden("the token is for another room")
	case claims.PeerID != "" && claims.PeerID != e.PeerID:
		return claims, forbidden("the token is for another peer_id")
	}
	for _, need := range e.Needs {
		if right := token.Right(need); slices.Contains(token.Rights, right) && !claims.May(right) {
			return claims, forbidden(fmt.Sprintf("the token gives no right to %s", right))
		}
	}
	return claims, nil
}

func forbidden(text string) *refusal {
	return &refusal{code: message.CodeForbidden, text: text, status: StatusForbidden}
}

// outranks tells whether a newcomer may take the place of who is there under the
// same id: whoever has a token for any id can't of somebody whose token names it.
func outranks(newcomer, there token.Claims) bool {
	return there.PeerID == "" || newcomer.PeerID != "" || newcomer.May(token.Admin)
}

// rightsOf lists what claims allow, for the one who has them; nil when no tokens
// are asked for.
func (s *Server) rightsOf(c token.Claims) []string {
	if len(s.cfg.TokenSecret) == 0 {
		return nil
	}
	rights := []string{}
	for _, r := range token.Rights {
		if c.May(r) {
			rights = append(rights, string(r))
		}
	}
	return rights
}

// expire takes a socket whose token has ended out of its room, and closes it.
func (s *Server) expire(so *socket) {
	s.leave(so, message.CodeTokenExpired)
	so.refuse(message.CodeTokenExpired, token.ErrExpired.Error(), StatusTokenExpired)
}

// restrict makes an offer or answer one that neither promises nor asks for more
// media than its sender's token allows, by the directions of its m-lines. A peer
// that may do all passes as it came; of the others' description, only the type
// and the SDP are passed on, since readers that tell "sdp" and "SDP" apart and
// such that do not would see different ones.
func (e *envelope) restrict(c token.Claims) *refusal {
	send, receive := c.May(token.Publish), c.May(token.Subscribe)
	if send && receive || e.Type == message.ICECandidate {
		return nil
	}
	var members map[string]json.RawMessage // exact names, other than a struct's
	var sdp string
	if err := json.Unmarshal(e.payload(), &members); err != nil {
		return &refusal{code: message.CodeBadMessage, text: "the description is no JSON object"}
	}
	if err := json.Unmarshal(members["sdp"], &sdp); err != nil {
		return &refusal{code: message.CodeBadMessage, text: "the description has no sdp"}
	}
	sdp, err := restrictSDP(sdp, send, receive)
	if err != nil {
		return &refusal{code: message.CodeBadMessage, text: err.Error()}
	}
	b, err := json.Marshal(message.Description{Type: string(e.Type), SDP: sdp})
	if err != nil {
		return &refusal{code: message.CodeBadMessage, text: "the description can't be relayed"}
	}
	if e.Type == message.Offer {
		e.Offer = b
	} else {
		e.Answer = b
	}
	return nil
}

// direction is what an m-line says who sends (RFC 8866 §6.7).
type direction struct{ send, receive bool }

var directions = map[string]direction{
	"sendrecv": {true, true}, "sendonly": {send: true}, "recvonly": {receive: true}, "inactive": {},
}

func (d direction) String() string {
	for name, other := range directions {
		if other == d {
			return name
		}
	}
	return "inactive"
}

// ofSending are the attributes of who sends.
var ofSending = []string{"ssrc", "ssrc-group", "msid", "rid", "simulcast"}

// restrictSDP gives each m-line of audio or video one direction, that of the SDP
// as far as it is allowed.
func restrictSDP(sdp string, send, receive bool) (string, error) {
	var out strings.Builder
	var media []string // the lines of an m-line, without directions
	session, own := direction{true, true}, direction{true, true}
	inMedia, isData := false, false
	flush := func() {
		d := direction{own.send && send, own.receive && receive}
		for _, line := range media {
			if !d.send && !isData && slices.Contains(ofSending, attribute(line)) {
				continue
			}
			out.WriteString(line + "\r\n")
		}
		if inMedia && !isData {
			out.WriteString("a=" + d.String() + "\r\n")
		}
		media = media[:0]
	}
	for line := range strings.SplitSeq(strings.TrimRight(sdp, "\r\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		// What some readers take for the end of a line would hide lines from us.
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' }) {
			return "", errors.New("the SDP has control characters")
		}
		if len(line) < 2 || line[1] != '=' {
			return "", errors.New("the SDP has a line that is none of SDP's")
		}
		d, isDirection := directions[attribute(line)]
		switch {
		case line[0] == 'm':
			flush()
			inMedia, own = true, session
			isData = strings.HasPrefix(line, "m=application ") && strings.Contains(line, "SCTP")
		case isDirection && inMedia:
			own = d
			continue
		case isDirection:
			session = d
			continue
		}
		media = append(media, line)
	}
	flush()
	return out.String(), nil
}

// attribute gives the name of an attribute's line, or "".
func attribute(line string) string {
	name, ok := strings.CutPrefix(line, "a=")
	if !ok {
		return ""
	}
	if end := strings.IndexAny(name, ": \t"); end >= 0 {
		name = name[:end]
	}
	return name
}
