package mesh

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling/message"
)

// FuzzMesh has a server say anything, and connections change in any way: each
// line is a message, or one of the other inputs of a roster, and a while passes
// after each. Nothing may panic, and what a roster holds stays bounded.
func FuzzMesh(f *testing.F) {
	for _, s := range []string{
		`{"type":"room_peers","peers":["a","b","rec","a",""]}
{"type":"offer","from":"a","offer":{"type":"offer","sdp":"O"}}
!1 described
!1 connected
{"type":"peer_left","peer_id":"a"}
!1 closed
!1 hungup`,
		`{"type":"peer_joined","peer_id":"a"}
{"type":"ice_candidate","from":"a","candidate":{"candidate":"c","usernameFragment":"u"}}
{"type":"ice_candidate","from":"z","candidate":{"candidate":"c"}}
{"type":"offer","from":"a","offer":{"sdp":"a=ice-ufrag:u"}}
{"type":"answer","from":"a","answer":{"sdp":"A"}}
!1 refused
!1 failed
!lost
!rejoined
!2 described
!2 gathered
!dialfailed
!2 disconnected`,
		`{"type":"error","code":"unknown_peer","peer_id":"a"}`,
		"{}\nnull\n[]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newStage(t)
		s.r.maxPeers = 8
		s.joined("a", "b")
		for i, line := range bytes.Split(script, []byte("\n")) {
			if i == 200 {
				break
			}
			s.play(line)
			s.after(time.Duration(i%7) * 300 * time.Millisecond)
			s.checkBounds()
			s.did = nil
		}
		// Whatever it was, everything ends when everybody has left.
		for id, p := range s.r.participants {
			s.r.gone(p, s.now)
			s.after(LingerTime)
			for n, q := range s.r.closing {
				if q == p {
					s.r.closed(n)
				}
			}
			if s.r.participants[id] != nil && s.err == nil {
				t.Errorf("%q has left and is still there: %+v", id, p)
			}
		}
	})
}

// play gives one line of a script to the roster.
func (s *stage) play(line []byte) {
	order, ok := bytes.CutPrefix(line, []byte("!"))
	if !ok {
		if m, err := message.Parse(line); err == nil {
			s.receive(m)
		}
		return
	}
	n := 0
	if len(order) > 2 && order[1] == ' ' {
		n, order = int(order[0]-'0'), order[2:]
	}
	switch string(order) {
	case "described":
		if l := s.r.links[n]; l != nil && l.busy {
			s.described(n, "D")
		}
	case "refused":
		if l := s.r.links[n]; l != nil && l.busy {
			s.r.described(n, message.Description{}, errors.New("refused"), s.now)
		}
		s.r.accepted(n, errors.New("refused"), s.now)
	case "gathered":
		s.r.gathered(n, message.Candidate{Candidate: "c"})
	case "connected":
		s.state(n, connected)
	case "disconnected":
		s.state(n, disconnected)
	case "failed":
		s.state(n, failed)
	case "closed":
		s.state(n, closed)
	case "hungup":
		s.hungUp(n)
	case "lost":
		if s.r.up {
			s.r.socketLost(errors.New("gone"), s.now)
		}
	case "dialfailed":
		if !s.r.up && s.r.redialAt.IsZero() {
			s.r.dialFailed(errors.New("gone"), s.now)
		}
	case "rejoined":
		if !s.r.up && s.r.redialAt.IsZero() {
			s.r.rejoined([]string{"b", "c", s.r.self}, s.now)
		}
	}
}

func (s *stage) checkBounds() {
	r := s.r
	if len(r.participants) > r.maxPeers || len(r.strangers.ids) > maxStrangers || len(r.strangers.ids) != len(r.strangers.candidates) {
		s.t.Fatalf("%d participants, %d strangers", len(r.participants), len(r.strangers.ids))
	}
	links := 0
	for id, p := range r.participants {
		links += len(p.links)
		if p.id != id || len(p.links) > 3 || len(p.early) > maxEarly {
			s.t.Fatalf("participant %q has %d connections and %d candidates", id, len(p.links), len(p.early))
		}
		if !p.present && len(p.links) == 0 && p.closing == 0 {
			s.t.Fatalf("participant %q is forgotten, not gone", id)
		}
	}
	if links != len(r.links) {
		s.t.Fatalf("%d connections, of which participants have %d", len(r.links), links)
	}
}
