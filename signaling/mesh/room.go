package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mrand "math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

// Config says which room to join and how. URL is required; the zero value of
// every other field is a usable default.
type Config struct {
	// URL and Room name the room, as ParseURL reads them.
	URL, Room string
	// PeerID is our id in the room, at most MaxPeerID bytes without control
	// characters. The default is "recorder-" and a random word.
	PeerID string
	// Peer configures the connections. Its Logger is set to this Config's when
	// it has none.
	Peer peer.Config
	// Announce tells each participant over the data channel that they are being
	// recorded, and when that ends.
	Announce bool
	// Messages gives a MessageArrived for each message on a data channel; without
	// it they are thrown away.
	Messages bool
	// HTTPClient and Header are for the WebSocket handshake; nil: the defaults.
	HTTPClient *http.Client
	Header     http.Header
	// Token gives the token to join with, each time that we do; it goes into
	// the handshake as a bearer token, and nowhere else. Nil: none. Its errors
	// should not tell the token.
	Token func() (string, error)
	// Needs are the rights (package token) without which we do not want to be in
	// the room; a server that asks for tokens refuses us rather.
	Needs []string
	// MaxPeers bounds the participants at a time; 0: DefaultMaxPeers.
	MaxPeers int
	// GiveUp is how long the room may be lost, without media from anybody,
	// before Next returns ErrLost; 0: DefaultGiveUp.
	GiveUp time.Duration
	// UntilEmpty is the same once somebody has been connected and nobody is any
	// more, counted from then, when that is over before GiveUp is; 0: GiveUp.
	UntilEmpty time.Duration
	// Logger gets what happens in the room; nil: nothing is logged.
	Logger *slog.Logger
}

// ErrPeerID is wrapped by the error of Dial for a Config.PeerID that is too long
// or can't be printed.
var ErrPeerID = errors.New("not usable as a peer id")

// Room is a mesh room that we are in. It implements signaling.Room.
type Room struct {
	dialer   dialer
	announce bool
	messages bool
	log      *slog.Logger
	factory  *peer.Factory
	queue    *signaling.Queue
	inbox    inbox
	roster   *roster // belongs to the loop
	self     atomic.Pointer[string]
	state    atomic.Pointer[string] // of the recording, as the room is told

	ctx    context.Context // done when the room is being closed
	cancel context.CancelFunc
	loop   sync.WaitGroup
	others sync.WaitGroup // hang-ups and dials

	// What follows belongs to the loop, and to Close after it has ended.
	socket *socket

	closing sync.Once
	failed  error // of Close
}

// Dial joins a room and returns when the server has answered, or ctx is done.
//
// Errors that wrap ErrURL mean that cfg names no room, and ErrPeerID that its
// peer id can't be used; those that wrap signaling.ErrJoin that the room could
// not be joined. All are one line. A room whose server forwards gives a ForwardedError.
func Dial(ctx context.Context, cfg Config) (*Room, error) {
	dialURL, room, err := ParseURL(cfg.URL, cfg.Room)
	if err != nil {
		return nil, err
	}
	if cfg.PeerID == "" {
		cfg.PeerID = "recorder-" + strings.ToLower(rand.Text()[:6])
	}
	if err := checkName(cfg.PeerID, MaxPeerID); err != nil {
		return nil, fmt.Errorf("%w: %q %w", ErrPeerID, clip(cfg.PeerID), err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Peer.Logger == nil {
		cfg.Peer.Logger = cfg.Logger
	}
	if cfg.MaxPeers <= 0 {
		cfg.MaxPeers = DefaultMaxPeers
	}
	if cfg.GiveUp <= 0 {
		cfg.GiveUp = DefaultGiveUp
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = newClient()
	}
	r := &Room{
		dialer:   dialer{client: cfg.HTTPClient, header: cfg.Header, url: dialURL, shown: redact(dialURL), room: room, token: cfg.Token, needs: cfg.Needs},
		announce: cfg.Announce,
		messages: cfg.Messages,
		log:      cfg.Logger,
		queue:    signaling.NewQueue(0),
		inbox:    inbox{wake: make(chan struct{}, 1)},
	}
	r.self.Store(&cfg.PeerID)
	started := Started
	r.state.Store(&started)
	told := cfg.Peer.OnAddresses
	cfg.Peer.OnAddresses = func(now []netip.Addr) {
		r.inbox.put(func(t time.Time) { r.moved(now, t) })
		if told != nil {
			told(now)
		}
	}
	factory, err := peer.NewFactory(cfg.Peer)
	if err != nil {
		return nil, fmt.Errorf("prepare connections: %w", err)
	}
	r.factory = factory
	w, err := r.dialer.join(ctx, cfg.PeerID, &Resume{})
	if err != nil {
		_ = factory.Close() // nothing was connected
		return nil, fmt.Errorf("%w: %w", signaling.ErrJoin, err)
	}
	if w.forwards() {
		_ = factory.Close() // nothing was connected
		cfg.Peer.OnAddresses = told
		return nil, &ForwardedError{Config: cfg, dialer: r.dialer, first: w}
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.roster = newRoster(world(r), cfg.Logger, cfg.PeerID, cfg.MaxPeers, cfg.GiveUp, mrand.Float64)
	r.roster.emptyFor = cfg.UntilEmpty
	r.log.Info("joined the room", "room", room, "as", cfg.PeerID, "participants", len(w.peers))
	r.inbox.put(func(now time.Time) { r.arrive(w, now) })
	r.loop.Go(r.run)
	return r, nil
}

// redact gives a URL without what may be secret: a password, and the query, that
// may hold a token.
func redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "a URL that can't be read"
	}
	u.RawQuery, u.ForceQuery = "", false
	return u.Redacted()
}

// Next waits for what happens next; see signaling.Room. Leaving by Close gives
// the TrackEnded of each track and then io.EOF; that participants have Left is
// not said then, since it is we who do.
func (r *Room) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	return r.queue.Next(ctx, deadline)
}

// Close tells the participants that the recording has stopped, if they were
// told that it had started, closes all connections at once, leaves the room and
// ends every goroutine of the room. It takes about a second at most.
func (r *Room) Close() error {
	r.closing.Do(func() {
		r.cancel()
		r.loop.Wait()
		r.leave()
		r.others.Wait()
		r.failed = r.factory.Close()
		r.queue.Close(nil)
	})
	return r.failed
}

// leave closes what the roster has. The loop has ended.
func (r *Room) leave() {
	if s := r.socket; s != nil {
		r.others.Go(s.close)
	}
	for _, number := range slices.Sorted(maps.Keys(r.roster.links)) {
		l := r.roster.links[number]
		c := l.conn.(*connection)
		r.others.Go(func() {
			if r.announce && l.state == connected {
				c.tell(Stopped, r.roster.self)
				time.Sleep(farewellTime)
			}
			c.hangUp()
		})
	}
}

// run is the one goroutine that the roster belongs to.
func (r *Room) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, f := range r.inbox.take() {
			f(time.Now())
		}
		if r.ctx.Err() != nil {
			return
		}
		if err := r.roster.due(time.Now()); err != nil {
			r.log.Error("the room is lost", "error", err)
			r.queue.Close(err)
			return
		}
		timer.Stop()
		if d := r.roster.deadline(); !d.IsZero() {
			timer.Reset(time.Until(d))
		}
		select {
		case <-r.ctx.Done():
		case <-r.inbox.wake:
		case <-timer.C:
		}
	}
}

// arrive begins to use a socket whose join has succeeded.
func (r *Room) arrive(w *welcome, now time.Time) {
	var s *socket
	s = newSocket(w, nil,
		func(m message.Message, err error) {
			r.inbox.putAndWait(r.ctx, func(now time.Time) {
				switch {
				case r.socket != s:
				case err != nil:
					r.roster.complain("message from the server ignored", "error", err)
				default:
					r.roster.receive(m, now)
				}
			})
		},
		func(err error) {
			r.inbox.put(func(now time.Time) {
				if r.socket == s {
					r.lose(err, now)
				}
			})
		})
	r.socket = s
	r.roster.keepID = w.keepID
	if r.roster.lostAt.IsZero() {
		r.roster.joined(w.peers, now)
	} else {
		r.roster.rejoined(w.peers, now)
		self := r.roster.self
		r.self.Store(&self)
		r.tellAgain()
	}
	for _, m := range w.early {
		r.roster.receive(m, now)
	}
}

// lose gives the socket up.
func (r *Room) lose(why error, now time.Time) {
	r.others.Go(r.socket.close)
	r.socket = nil
	r.roster.socketLost(why, now)
}

// moved is called when our addresses have changed. A socket by one that is gone
// would be found dead only by a ping that is not answered.
func (r *Room) moved(addrs []netip.Addr, now time.Time) {
	if r.socket != nil {
		if a := r.socket.local(); a.IsValid() && !a.IsLoopback() && !slices.Contains(addrs, a) {
			r.lose(fmt.Errorf("our address %v is gone", a), now)
		}
	}
	r.roster.hurry(now)
}

// send implements world.
func (r *Room) send(m message.Message) {
	if r.socket != nil {
		r.socket.send(m)
	}
}

// emit implements world.
func (r *Room) emit(e signaling.Event) {
	e.Time = time.Now()
	r.queue.Push(e)
}

// dial implements world.
func (r *Room) dial(id string) {
	r.others.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, RejoinTimeout)
		defer cancel()
		w, err := r.dialer.join(ctx, id, nil)
		if err != nil {
			r.inbox.put(func(now time.Time) { r.roster.dialFailed(err, now) })
			return
		}
		// Whoever is first owns the socket: the loop, or the end of the room.
		var taken atomic.Bool
		r.inbox.putAndWait(r.ctx, func(now time.Time) {
			if taken.CompareAndSwap(false, true) {
				r.arrive(w, now)
			}
		})
		if taken.CompareAndSwap(false, true) {
			_ = w.conn.CloseNow() // we are leaving
		}
	})
}

// connect implements world.
func (r *Room) connect(participant string, number int) (conn, error) {
	return r.newConnection(participant, number)
}

// offer implements world.
func (r *Room) offer(c conn, number int) {
	self := r.roster.self
	r.others.Go(func() {
		c := c.(*connection)
		d, err := c.Offer()
		r.tellStarted(c, self)
		r.inbox.put(func(now time.Time) { r.roster.described(number, d, err, now) })
	})
}

// answer implements world.
func (r *Room) answer(c conn, number int, offer message.Description) {
	self := r.roster.self
	r.others.Go(func() {
		c := c.(*connection)
		d, err := c.Answer(offer)
		r.tellStarted(c, self)
		r.inbox.put(func(now time.Time) { r.roster.described(number, d, err, now) })
	})
}

// tellStarted tells a participant, once, that the recording has started. The
// data channel is there from the first description on.
func (r *Room) tellStarted(c *connection, self string) {
	if r.announce {
		c.started.Do(func() { c.tell(*r.state.Load(), self) })
	}
}

// tellAgain tells those who have a connection from before that the recording
// goes on: the id that they know us by has left.
func (r *Room) tellAgain() {
	if !r.announce {
		return
	}
	self := r.roster.self
	for _, l := range r.roster.links {
		if c := l.conn.(*connection); l.worked {
			r.others.Go(func() { c.tell(*r.state.Load(), self) })
		}
	}
}

// The states of a recording that a room is told by itself: when we come, and when
// we leave.
const (
	Started = "started"
	Stopped = "stopped"
)

// Announce tells all participants, and those who come later, that the state of
// the recording is another one, such as "paused". It does nothing without
// Config.Announce. It may be called by any goroutine and does not block.
func (r *Room) Announce(state string) {
	if !r.announce {
		return
	}
	r.state.Store(&state)
	r.inbox.put(func(time.Time) {
		for _, number := range slices.Sorted(maps.Keys(r.roster.links)) {
			l := r.roster.links[number]
			l.conn.(*connection).tell(state, r.roster.self)
		}
	})
}

// accept implements world.
func (r *Room) accept(c conn, number int, answer message.Description) {
	r.others.Go(func() {
		err := c.(*connection).Accept(answer)
		r.inbox.put(func(now time.Time) { r.roster.accepted(number, err, now) })
	})
}

// hangUp implements world.
func (r *Room) hangUp(c conn, number int) {
	r.others.Go(func() {
		c.(*connection).hangUp()
		r.inbox.put(func(time.Time) { r.roster.closed(number) })
	})
}

// inbox is what the loop is to do, put there by any goroutine without blocking:
// callbacks of a connection must not wait for a loop that may be waiting for
// the connection.
type inbox struct {
	wake chan struct{}
	mu   sync.Mutex
	todo []func(now time.Time)
}

func (b *inbox) put(f func(now time.Time)) {
	b.mu.Lock()
	b.todo = append(b.todo, f)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// putAndWait returns when f has run, or ctx is done: who has much to say is
// slowed down to the pace of the loop.
func (b *inbox) putAndWait(ctx context.Context, f func(now time.Time)) {
	done := make(chan struct{})
	b.put(func(now time.Time) { f(now); close(done) })
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (b *inbox) take() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	todo := b.todo
	b.todo = nil
	return todo
}
