package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server/unit"
	"github.com/roomtape/roomtape/signaling/token"
)

// socket is one WebSocket. Three goroutines serve it: the handler's own reads,
// one writes, and one sees to it that the peer joins and stays alive.
type socket struct {
	server   *Server
	pathRoom string
	token    string
	log      *slog.Logger
	out      *outbox
	limit    *rate.Limiter
	warn     rate.Sometimes // how often a peer hears that it is too fast
	joined   chan struct{}  // closed by the reader when the join is accepted
	expiry   *time.Timer    // of the token; nil when it does not expire
	address  *address
	retries  bool                   // it has tried to join before
	thread   atomic.Pointer[thread] // nil: it can't be resumed, or has not joined

	// ctx ends when the connection is to be cut without ceremony.
	ctx context.Context
	cut context.CancelFunc

	// Guarded by the server's lock. id is set with the first room and stays.
	room   *room
	id     string
	client *unit.Client // in a forwarded room; changed by the reader only
	claims token.Claims // what the join was accepted with; changed by the reader only
	// resumed is set when it goes on in the place of another one; keeping when it
	// is broken, and another one may go on in its place.
	resumed bool
	keeping *time.Timer
}

func newSocket(s *Server, pathRoom string) *socket {
	so := &socket{
		server:   s,
		pathRoom: pathRoom,
		out:      newOutbox(),
		limit:    rate.NewLimiter(rate.Limit(s.cfg.Rate), s.cfg.Burst),
		warn:     rate.Sometimes{Interval: 10 * time.Second},
		joined:   make(chan struct{}),
	}
	so.ctx, so.cut = context.WithCancel(context.Background())
	return so
}

// send queues b for the peer, and cuts it off when it reads too slowly. It
// never waits, so it may be called under the server's lock.
func (so *socket) send(b []byte) {
	if th := so.thread.Load(); th != nil {
		th.say(so, b)
		return
	}
	so.queue(b)
}

// queue does so when b is no part of a thread, or kept by it.
func (so *socket) queue(b []byte) {
	if !so.out.put(b) {
		so.out.end(websocket.StatusPolicyViolation, "what is sent is not read")
		so.cut()
	}
}

// run serves the socket until it is closed by either side, and returns when all
// that belongs to it has ended.
func (so *socket) run(conn *websocket.Conn, raw net.Conn) {
	// conn would wait for a closing handshake; raw does not.
	stop := context.AfterFunc(so.ctx, func() { _ = raw.Close() })
	defer stop()
	// Messages above the limit are noticed by readMessage, which can say so.
	conn.SetReadLimit(-1)

	var wg sync.WaitGroup
	reading, done := context.WithCancel(so.ctx)
	wg.Go(func() { so.write(conn) })
	wg.Go(func() { so.watch(reading, conn) })
	err := so.read(conn)
	if so.server.keep(so, err) {
		so.log.Info("peer's socket is lost; it may come back", "peer", so.id, "within", so.server.cfg.ResumeWithin, "reason", err)
	} else {
		so.server.leave(so, "")
		so.log.Info("peer left", "peer", so.id, "reason", err)
	}
	if so.expiry != nil {
		so.expiry.Stop()
	}
	done()
	so.out.end(websocket.StatusNormalClosure, "")
	wg.Wait()
	so.cut()
	_ = conn.CloseNow()
}

var (
	errTooLarge = errors.New("message too large")
	errText     = errors.New("not a text message")
)

// read handles what the peer sends until the connection ends, and returns why
// it did.
func (so *socket) read(conn *websocket.Conn) error {
	for {
		b, err := so.readMessage(conn)
		var refused *refusal
		switch {
		case errors.Is(err, errTooLarge):
			so.refuse(message.CodeTooLarge, fmt.Sprintf("a message is larger than %d bytes", so.server.cfg.MaxMessage), websocket.StatusMessageTooBig)
			return err
		case errors.Is(err, errText):
			refused = &refusal{code: message.CodeBadMessage, text: "messages are JSON text, not binary"}
		case err != nil:
			return err
		}
		so.server.counts.in(len(b))
		if err := so.throttle(so.limit, cost(len(b))); err != nil {
			return err
		}
		if err := so.throttle(so.address.messages, cost(len(b))); err != nil {
			return err
		}
		refused, err = so.obey(b, refused)
		if err != nil {
			return err
		}
		if refused != nil {
			so.log.Info("message refused", "peer", so.id, "code", refused.code, "reason", refused.text)
			if refused.status != 0 {
				so.refuse(refused.code, refused.text, refused.status)
				return errors.New(refused.text)
			}
			so.server.counts.refused(refused.code)
			so.send(encode(refused.message()))
		}
	}
}

func (so *socket) readMessage(conn *websocket.Conn) ([]byte, error) {
	typ, r, err := conn.Reader(so.ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for a message: %w", err)
	}
	maxSize := so.server.cfg.MaxMessage
	b, err := io.ReadAll(io.LimitReader(r, int64(maxSize)+1))
	if err != nil {
		return nil, fmt.Errorf("reading a message: %w", err)
	}
	if len(b) > maxSize {
		return nil, errTooLarge
	}
	if typ != websocket.MessageText {
		return nil, errText
	}
	return b, nil
}

// throttle waits until the peer may send n more, by its own limit or that of its
// address.
func (so *socket) throttle(limit *rate.Limiter, n int) error {
	if limit.AllowN(time.Now(), n) {
		return nil
	}
	so.warn.Do(func() {
		so.server.counts.refused(message.CodeRateLimited)
		so.log.Info("peer sends too fast", "peer", so.id)
		so.send(encode(message.Message{Type: message.Error, Code: message.CodeRateLimited,
			Text: fmt.Sprintf("more than %g messages a second; yours are read more slowly now", float64(limit.Limit()))}))
	})
	if err := limit.WaitN(so.ctx, n); err != nil {
		return fmt.Errorf("slowing a peer down: %w", err)
	}
	return nil
}

// handle does what a message asks for, or gives why not. Only when the socket is
// being cut, it may not have been taken.
func (so *socket) handle(b []byte) (refused *refusal, taken bool) {
	e, err := parseEnvelope(b)
	if err != nil {
		return &refusal{code: message.CodeBadMessage, text: err.Error()}, true
	}
	switch e.Type {
	case message.Join:
		return so.join(e), true
	case message.Offer, message.Answer, message.ICECandidate:
		if so.client != nil {
			return so.server.forward(so, e.Type, b)
		}
		return so.server.relay(so, e), true
	case message.PublishTrack, message.SubscribeTrack, message.UnsubscribeTrack:
		return so.server.forward(so, e.Type, b)
	}
	return nil, true
}

func (so *socket) join(e envelope) *refusal {
	roomID := so.pathRoom
	if e.RoomID != nil {
		roomID = *e.RoomID
	}
	// The first attempt has been counted with the socket.
	if so.retries {
		if err := so.address.joins.Wait(so.ctx); err != nil {
			return nil // the socket is being cut
		}
	}
	so.retries = true
	if so.id != "" { // whether or not it still is in its room
		return &refusal{code: message.CodeAlreadyJoined, text: "this socket has joined a room already"}
	}
	if refused := so.server.join(so, e, roomID); refused != nil {
		return refused
	}
	so.log = so.log.With("room", roomID)
	if so.resumed {
		so.server.counts.resumed()
		so.log.Info("peer goes on by another socket", "peer", e.PeerID)
	} else {
		so.server.counts.joined()
		so.log.Info("peer joined", "peer", e.PeerID)
	}
	close(so.joined)
	if at := so.claims.Expires; !at.IsZero() {
		so.expiry = time.AfterFunc(time.Until(at), func() { so.server.expire(so) })
	}
	return nil
}

// write sends what is queued until the outbox has ended, and then closes the
// connection.
func (so *socket) write(conn *websocket.Conn) {
	for {
		b, ok, ended := so.out.take()
		switch {
		case ok:
			ctx, cancel := context.WithTimeout(so.ctx, so.server.cfg.WriteTimeout)
			err := conn.Write(ctx, websocket.MessageText, b)
			cancel()
			if err != nil {
				so.cut()
				return
			}
			so.server.counts.out(len(b))
		case ended:
			status, reason := so.out.closing()
			_ = conn.Close(status, reason) // an error is the peer gone
			so.cut()
			return
		default:
			select {
			case <-so.out.ready:
			case <-so.ctx.Done():
				return
			}
		}
	}
}

// watch closes a socket that does not join, and cuts one that is dead.
func (so *socket) watch(reading context.Context, conn *websocket.Conn) {
	join := time.NewTimer(so.server.cfg.JoinTimeout)
	defer join.Stop()
	select {
	case <-so.joined:
	case <-reading.Done():
		return
	case <-join.C:
		so.refuse(message.CodeJoinTimeout, "no join came in time", websocket.StatusPolicyViolation)
		return
	}
	tick := time.NewTicker(so.server.cfg.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-reading.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(reading, so.server.cfg.PingTimeout)
		err := conn.Ping(ctx)
		cancel()
		if err != nil {
			so.cut()
			return
		}
		if th := so.thread.Load(); th != nil {
			th.tidy()
		}
	}
}

// hijacked remembers the connection below the WebSocket.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}
