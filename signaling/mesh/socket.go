package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/signaling/message"
)

// dialer knows how to get into the room: once at first, and again each time the
// socket has died.
type dialer struct {
	client *http.Client
	header http.Header
	url    string // what is dialled
	shown  string // the same without a password
	room   string
	token  func() (string, error) // nil: none
	needs  []string
}

// welcome is what a server has said by the time a join has succeeded.
type welcome struct {
	conn  *websocket.Conn
	below net.Conn // what conn runs on; nil when the HTTP client does not tell
	peers []string
	// token and received are what room_peers says of resuming: see Link.
	token    string
	received *uint64
	early    []message.Message // what came before room_peers
	// keepID is set when the server lets us join again under the same id while
	// our old socket may be open.
	keepID bool
}

// rejoinHeader is how a server that lets a peer join again under its id says so
// when it accepts a WebSocket.
const rejoinHeader = "Roomtape-Rejoin"

// statusReplaced is how such a server closes the older one of two sockets with
// one id.
const statusReplaced websocket.StatusCode = 4001

// join dials, joins as id and waits for room_peers. From says where a link goes on, or
// the zero value that one may; a mesh has no use for it. Its errors are one line
// each, with the server's words quoted and bounded.
func (d *dialer) join(ctx context.Context, id string, from *Resume) (*welcome, error) {
	w := &welcome{}
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { w.below = i.Conn },
	})
	header, err := d.authorized()
	if err != nil {
		return nil, err
	}
	conn, resp, err := websocket.Dial(trace, d.url, &websocket.DialOptions{HTTPClient: d.client, HTTPHeader: header})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", d.shown, dialReason(resp, err))
	}
	conn.SetReadLimit(-1) // readMessage has its own, that the socket survives
	w.conn, w.keepID = conn, resp.Header.Get(rejoinHeader) == "same-id"
	if err := w.join(ctx, d, id, from); err != nil {
		_ = conn.CloseNow() // the reason is known
		return nil, fmt.Errorf("%s: %w", d.shown, err)
	}
	return w, nil
}

// authorized is the header of a handshake with the token of now.
func (d *dialer) authorized() (http.Header, error) {
	if d.token == nil {
		return d.header, nil
	}
	t, err := d.token()
	if err != nil {
		return nil, err
	}
	h := d.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Authorization", "Bearer "+t)
	return h, nil
}

func (w *welcome) join(ctx context.Context, d *dialer, id string, from *Resume) error {
	join := message.Message{Type: message.Join, PeerID: id, RoomID: d.room, Needs: d.needs}
	if from != nil {
		join.Resume = &from.Token
		if from.Token != "" {
			join.Received = &from.Received
		}
	}
	if err := writeMessage(ctx, w.conn, join); err != nil {
		return socketReason(ctx, err)
	}
	for range maxBeforePeers {
		m, err := readMessage(ctx, w.conn)
		switch {
		case errors.Is(err, errIgnored):
			return fmt.Errorf("the server does not speak the room protocol: %w", err)
		case err != nil:
			return socketReason(ctx, err)
		case m.Type == message.RoomPeers:
			w.peers, w.received = m.Peers, m.Received
			if m.Resume != nil && len(*m.Resume) <= maxToken {
				w.token = *m.Resume
			}
			return nil
		case m.Type == message.Error:
			return fmt.Errorf("the server refuses: %s", quote(strings.TrimSpace(m.Code+" "+m.Text)))
		default:
			w.early = append(w.early, m)
		}
	}
	return fmt.Errorf("the server does not speak the room protocol: no room_peers among its first %d messages", maxBeforePeers)
}

// errIgnored is wrapped by the errors of readMessage after which the socket can
// still be read.
var errIgnored = errors.New("message ignored")

// readMessage reads one message. One that is too long or malformed gives an
// error that wraps errIgnored, and costs no more memory than a good one.
func readMessage(ctx context.Context, c *websocket.Conn) (message.Message, error) {
	_, r, err := c.Reader(ctx)
	if err != nil {
		return message.Message{}, err
	}
	b, err := io.ReadAll(io.LimitReader(r, message.MaxSize+1))
	if err != nil {
		return message.Message{}, err
	}
	if len(b) > message.MaxSize {
		n, err := io.Copy(io.Discard, io.LimitReader(r, maxDiscard))
		if err != nil {
			return message.Message{}, err
		}
		if n == maxDiscard {
			return message.Message{}, fmt.Errorf("the server sends a message of more than %d MB", maxDiscard>>20)
		}
		return message.Message{}, fmt.Errorf("%w: it has %d bytes, more than %d", errIgnored, int64(len(b))+n, message.MaxSize)
	}
	m, err := message.Parse(b)
	if err != nil {
		return message.Message{}, fmt.Errorf("%w: %s is no message", errIgnored, quote(string(b[:min(len(b), 80)])))
	}
	return m, nil
}

func writeMessage(ctx context.Context, c *websocket.Conn, m message.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Type, err)
	}
	return c.Write(ctx, websocket.MessageText, b)
}

// dialReason puts why a WebSocket could not be opened in a few words.
func dialReason(resp *http.Response, err error) error {
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the server answers HTTP %d %s, not with a WebSocket", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return cause(err)
}

// cause gives what is at the bottom of an error of net or net/http, without the
// layers above, which say what the caller says too.
func cause(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*net.OpError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*os.SyscallError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errSilent
	}
	return printable(err)
}

// socketReason puts why an open WebSocket failed in a few words.
func socketReason(ctx context.Context, err error) error {
	var c websocket.CloseError
	switch {
	case errors.As(err, &c) && c.Code == statusReplaced:
		return ErrReplaced
	case errors.As(err, &c):
		return fmt.Errorf("the server closed the connection with %d %s", c.Code, quote(c.Reason))
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("the server did not answer in time: %w", context.DeadlineExceeded)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return cause(err)
}

var errSilent = errors.New("the server closed the connection without a word")

// ErrReplaced is why a socket has ended, or a link, when another has joined under our
// id. To join again under it would go on for ever.
var ErrReplaced = errors.New("somebody has joined under our id")

// quote makes a stranger's words one printable line of bounded length.
func quote(s string) string { return strconv.QuoteToGraphic(clip(s)) }

// printable returns err, or when its text holds what a terminal should not see,
// one that quotes it.
func printable(err error) error {
	s := err.Error()
	if len(s) <= 200 && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || c == unicode.ReplacementChar }) {
		return err
	}
	return errors.New(quote(s))
}

// errTooSlow ends a socket whose server does not read.
var errTooSlow = errors.New("the server does not read what we send")

// socket is one WebSocket in the room, with the goroutines that serve it.
type socket struct {
	conn   *websocket.Conn
	below  net.Conn // may be nil
	out    chan message.Message
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// newSocket serves what a join has opened. Each message is given to deliver, one after the
// other, beginning with those that came before;
// down is called once, with the reason, when the socket dies other than by
// close. Both are called on goroutines of the socket.
func newSocket(w *welcome, before []message.Message, deliver func(message.Message, error), down func(error)) *socket {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &socket{conn: w.conn, below: w.below, out: make(chan message.Message, maxWaiting), cancel: cancel}
	var once sync.Once
	serve := func(f func(context.Context) error) {
		s.wg.Go(func() {
			err := f(ctx)
			once.Do(func() {
				down(socketReason(ctx, err))
				cancel(err)
			})
		})
	}
	serve(func(ctx context.Context) error {
		for _, m := range before {
			deliver(m, nil)
		}
		return s.read(ctx, deliver)
	})
	serve(s.write)
	serve(s.ping)
	return s
}

func (s *socket) read(ctx context.Context, deliver func(message.Message, error)) error {
	for {
		m, err := readMessage(ctx, s.conn)
		if err != nil && !errors.Is(err, errIgnored) {
			return err
		}
		deliver(m, err)
	}
}

func (s *socket) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-s.out:
			patience, cancel := context.WithTimeoutCause(ctx, writeTimeout, errTooSlow)
			err := writeMessage(patience, s.conn, m)
			if err != nil {
				err = socketReason(patience, err)
			}
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

func (s *socket) ping(ctx context.Context) error {
	for {
		if err := sleep(ctx, pingInterval); err != nil {
			return err
		}
		pong, cancel := context.WithTimeoutCause(ctx, pingTimeout, errors.New("the server does not answer pings"))
		err := s.conn.Ping(pong)
		if err != nil {
			err = socketReason(pong, err)
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

// local is the address that we reach the server by, or the zero Addr when it
// can't be told.
func (s *socket) local() netip.Addr {
	if s.below == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(s.below.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// send queues m, or ends the socket when too much is queued already.
func (s *socket) send(m message.Message) {
	select {
	case s.out <- m:
	default:
		s.cancel(errTooSlow)
	}
}

// close leaves: it says goodbye, within goodbyeTimeout, and ends the socket's
// goroutines.
func (s *socket) close() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.conn.Close(websocket.StatusNormalClosure, "") // we leave anyway
	}()
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		// Close waits 5 s for an answer unless there is nothing to read from.
		if s.below != nil {
			_ = s.below.Close()
		}
	}
	s.cancel(net.ErrClosed)
	<-done
	s.wg.Wait()
}

// sleep waits for d, or until ctx is done, and then gives ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
