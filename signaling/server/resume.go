package server

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/resume"
	"github.com/roomtape/roomtape/signaling/token"
)

// thread is what a client of a forwarded room and the server say to each other, by
// one socket after another.
type thread struct {
	token  string
	socket *socket // that is in the room; guarded by the server's lock

	mu     sync.Mutex
	writer *socket // by which the client is told; nil: it is kept, and will be
	log    resume.Log[[]byte]

	reading sync.Mutex // held while a message is obeyed; never take the server's lock then
	reader  *socket    // whose messages are obeyed
	taken   uint64     // that were
}

// newThread begins with the answer to a join, which is not counted.
func (s *Server) newThread(so *socket) *thread {
	th := &thread{token: rand.Text(), socket: so, writer: so, reader: so}
	// Whoever lacks what is older is known to be dead, and over.
	th.log.For = s.cfg.PingInterval + s.cfg.PingTimeout + s.cfg.WriteTimeout + s.cfg.ResumeWithin
	return th
}

// say tells the client, now or when it is back. A socket's own words are of no
// interest when another one has gone on in its place.
func (th *thread) say(by *socket, b []byte) {
	th.mu.Lock()
	defer th.mu.Unlock()
	if by != nil && by != th.writer {
		return
	}
	th.log.Add(b, len(b), time.Now())
	if th.writer != nil {
		th.writer.queue(b)
	}
}

// tidy forgets what has come by now.
func (th *thread) tidy() {
	th.mu.Lock()
	defer th.mu.Unlock()
	th.log.Forget(time.Now())
}

var errResumed = errors.New("another socket goes on in its place")

// obey handles a message, unless it is refused already, and gives the refusal. The
// error is why nothing more is to be read: what comes now counts as never read.
func (so *socket) obey(b []byte, refused *refusal) (*refusal, error) {
	th := so.thread.Load()
	if th == nil {
		if refused == nil {
			refused, _ = so.handle(b)
		}
		return refused, nil
	}
	th.reading.Lock()
	defer th.reading.Unlock()
	if th.reader != so {
		return nil, errResumed
	}
	if refused == nil {
		var taken bool
		if refused, taken = so.handle(b); !taken {
			return nil, so.ctx.Err()
		}
	}
	th.taken++
	return refused, nil
}

// leavesBy tells whether a socket has ended since its peer wanted to leave (RFC 6455
// §7.4.1; 1005 is what a browser's close() comes as).
func leavesBy(err error) bool {
	return slices.Contains([]websocket.StatusCode{
		websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd,
	}, websocket.CloseStatus(err))
}

// keep has a client stay in its room, though its socket has broken, if it can come
// back by another one and has not ended it itself. Else it is to leave.
func (s *Server) keep(so *socket, why error) bool {
	th := so.thread.Load()
	if th == nil || leavesBy(why) || so.out.over() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := s.cfg.ResumeWithin
	if at := so.claims.Expires; !at.IsZero() {
		wait = min(wait, time.Until(at))
	}
	if so.room == nil || s.stopping || wait <= 0 || s.kept >= s.cfg.MaxKept || !so.client.Works() || !s.addresses.keep(so.address, s.cfg) {
		return false
	}
	s.kept++
	th.mu.Lock()
	th.writer = nil
	th.mu.Unlock()
	so.keeping = time.AfterFunc(wait, func() { s.giveUp(so, "it has not come back in time") })
	return true
}

// unkeep ends what keep has begun, if it has. It is called locked.
func (s *Server) unkeep(so *socket) {
	if so.keeping != nil {
		so.keeping.Stop()
		so.keeping = nil
		s.kept--
		s.addresses.unkeep(so.address)
	}
}

// giveUp takes a client out of its room that is kept.
func (s *Server) giveUp(so *socket, why string) {
	s.mu.Lock()
	kept := so.keeping != nil
	s.mu.Unlock()
	if kept {
		so.log.Info("peer left", "peer", so.id, "reason", why)
		s.leave(so, "")
	}
}

// ended is called when a connection of a client's has: nothing is left then of
// one that is kept.
func (s *Server) ended(th *thread) {
	s.mu.Lock()
	so := th.socket
	gone := so.keeping != nil && !so.client.Works()
	s.mu.Unlock()
	if gone {
		s.giveUp(so, "its connection has ended")
	}
}

// resume has a socket go on in the place of another one, if its join may, and
// queues what the client has missed. It is called locked.
func (s *Server) resume(old, so *socket, e envelope, claims token.Claims) bool {
	th := old.thread.Load()
	if th == nil || e.Resume == nil || e.Received == nil || subtle.ConstantTimeCompare([]byte(*e.Resume), []byte(th.token)) != 1 || !old.client.Works() {
		return false
	}
	for _, right := range []token.Right{token.Publish, token.Subscribe} {
		if old.claims.May(right) && !claims.May(right) {
			return false // what is published or subscribed to is not theirs any more
		}
	}
	old.cut()
	th.reading.Lock() // for a moment: who waits for something in there has been cut
	th.reader = so
	taken := th.taken
	th.reading.Unlock()

	th.mu.Lock()
	defer th.mu.Unlock()
	missed, ok := th.log.Since(*e.Received)
	if !ok {
		return false
	}
	so.queue(encode(message.Message{
		Type: message.RoomPeers, Peers: []string{message.SFU}, Rights: s.rightsOf(claims), Resume: &th.token, Received: &taken,
	}))
	for _, b := range missed {
		so.queue(b)
	}
	th.writer, th.socket = so, so
	so.thread.Store(th)
	so.room, so.client, so.resumed = old.room, old.client, true
	so.room.peers[slices.Index(so.room.peers, old)] = so
	s.unkeep(old)
	old.room = nil
	return true
}
