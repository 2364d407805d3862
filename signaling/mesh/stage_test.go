package mesh

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// stage is a roster in a made-up world whose time is moved by hand. What the
// roster does is written down, one line each.
type stage struct {
	t     testing.TB
	r     *roster
	now   time.Time
	did   []string
	conns map[int]*fakeConn
	err   error // of due
}

type fakeConn struct {
	stage     *stage
	number    int
	continues string // the offer that continues the connection
	latest    time.Time
}

func newStage(t testing.TB) *stage {
	s := &stage{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), conns: map[int]*fakeConn{}}
	s.r = newRoster(s, slog.New(slog.DiscardHandler), "rec", DefaultMaxPeers, DefaultGiveUp, func() float64 { return 0.5 })
	return s
}

func (s *stage) note(format string, args ...any) { s.did = append(s.did, fmt.Sprintf(format, args...)) }

func (s *stage) send(m message.Message) {
	switch m.Type {
	case message.Offer:
		s.note("send %s offer %s", m.Target, m.Offer.SDP)
	case message.Answer:
		s.note("send %s answer %s", m.Target, m.Answer.SDP)
	case message.ICECandidate:
		s.note("send %s candidate %s", m.Target, m.Candidate.Candidate)
	default:
		s.t.Errorf("unexpected message sent: %+v", m)
	}
}

func (s *stage) connect(participant string, number int) (conn, error) {
	s.note("connect %d %s", number, participant)
	s.conns[number] = &fakeConn{stage: s, number: number}
	return s.conns[number], nil
}
func (s *stage) offer(_ conn, n int) { s.note("offer %d", n) }
func (s *stage) answer(_ conn, n int, d message.Description) {
	s.note("answer %d %s", n, d.SDP)
}
func (s *stage) accept(_ conn, n int, d message.Description) { s.note("accept %d %s", n, d.SDP) }
func (s *stage) hangUp(_ conn, n int)                        { s.note("hang up %d", n) }
func (s *stage) dial(id string)                              { s.note("dial %s", id) }
func (s *stage) emit(e signaling.Event) {
	switch e.Kind {
	case signaling.Joined:
		s.note("joined %s", e.Participant)
	case signaling.Left:
		s.note("left %s", e.Participant)
	default:
		s.t.Errorf("unexpected event: %+v", e)
	}
}

func (c *fakeConn) Continues(d message.Description) bool { return d.SDP == c.continues }
func (c *fakeConn) AddCandidate(m message.Candidate) error {
	c.stage.note("candidate %d %s", c.number, m.Candidate)
	return nil
}
func (c *fakeConn) heard() time.Time { return c.latest }

// want checks what the roster did since the last call.
func (s *stage) want(lines ...string) {
	s.t.Helper()
	if !slices.Equal(s.did, lines) {
		s.t.Fatalf("the roster did\n\t%s\nwant\n\t%s", strings.Join(s.did, "\n\t"), strings.Join(lines, "\n\t"))
	}
	s.did = nil
}

// after lets time pass, and has everything done when it is due.
func (s *stage) after(d time.Duration) {
	end := s.now.Add(d)
	for range 10000 {
		if s.err == nil {
			s.err = s.r.due(s.now)
		}
		next := s.r.deadline()
		if s.err != nil || next.IsZero() || next.After(end) {
			s.now = end
			return
		}
		if next.After(s.now) {
			s.now = next
		}
	}
	s.t.Fatal("the roster's deadline stands still")
}

func (s *stage) joined(peers ...string) { s.r.joined(peers, s.now); s.after(0) }
func (s *stage) state(n int, st linkState) {
	s.r.changed(n, st, s.now)
	s.after(0)
}
func (s *stage) described(n int, sdp string) {
	s.r.described(n, message.Description{SDP: sdp}, nil, s.now)
	s.after(0)
}
func (s *stage) hungUp(n int) { s.r.closed(n); s.after(0) }

func (s *stage) receive(m message.Message) { s.r.receive(m, s.now); s.after(0) }
func (s *stage) peerJoined(id string) {
	s.receive(message.Message{Type: message.PeerJoined, PeerID: id})
}
func (s *stage) peerLeft(id string) { s.receive(message.Message{Type: message.PeerLeft, PeerID: id}) }
func (s *stage) offerFrom(id, sdp string) {
	s.receive(message.Message{Type: message.Offer, From: id, Offer: &message.Description{Type: "offer", SDP: sdp}})
}
func (s *stage) answerFrom(id, sdp string) {
	s.receive(message.Message{Type: message.Answer, From: id, Answer: &message.Description{Type: "answer", SDP: sdp}})
}
func (s *stage) candidateFrom(id, c string) {
	s.receive(message.Message{Type: message.ICECandidate, From: id, Candidate: &message.Candidate{Candidate: c}})
}

// with connects us with a resident called id by connection n.
func with(t testing.TB, id string) *stage {
	t.Helper()
	s := newStage(t)
	s.joined(id)
	s.described(1, "O1")
	s.answerFrom(id, "A1")
	s.state(1, connected)
	s.want("joined "+id, "connect 1 "+id, "offer 1", "send "+id+" offer O1", "accept 1 A1")
	return s
}
