package unit

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomtape/roomtape/signaling/health"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/forward"
)

// Client is somebody in a Room.
type Client struct {
	room   *Room
	id     string
	number int // of all clients, for names
	send   func(message.Message)
	over   func()
	events *events

	ctx    context.Context // done when it has left
	cancel context.CancelFunc
	tasks  chan func()   // for the loop
	awake  chan struct{} // the loop is to look at the subscriptions
	loops  sync.WaitGroup

	// Guarded by the room's lock.
	published     map[string]*publication
	subscriptions map[subject]*subscription
	count         int // of both, for names
	speaking      bool

	naming  sync.Mutex
	streams []string // MediaStream ids of the publisher, for names

	conn atomic.Pointer[peer.Conn] // set by the loop
	poor atomic.Bool               // so is this: what is sent to it suffers

	// What follows belongs to the loop.
	chooser forward.Chooser
	judge   health.Judge
	open    map[*subscription]*peer.Outlet
	began   time.Time // when it came
	heard   bool      // it has offered
	dirty   bool      // an offer is to be made
	offered time.Time // when ours was sent that has no answer; zero: none
}

var clients atomic.Int64

func newClient(r *Room, id string, send func(message.Message), over func()) *Client {
	c := &Client{
		room: r, id: id, number: int(clients.Add(1)), send: send, over: over,
		tasks: make(chan func(), 16), awake: make(chan struct{}, 1),
		published: map[string]*publication{}, subscriptions: map[subject]*subscription{},
		open: map[*subscription]*peer.Outlet{}, began: time.Now(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.events = newEvents(c)
	c.loops.Go(c.loop)
	c.loops.Go(c.events.run)
	return c
}

// stop ends what belongs to a client that has left.
func (c *Client) stop() {
	c.cancel()
	c.loops.Wait()
	if conn := c.conn.Load(); conn != nil {
		_ = conn.Close() // its errors change nothing
	}
	for s := range c.open {
		c.room.unit.ledger.end(s)
	}
	c.events.clear()
}

// streamNumber names a MediaStream of the publisher's for subscribers.
func (c *Client) streamNumber(stream string) string {
	c.naming.Lock()
	defer c.naming.Unlock()
	for i, s := range c.streams {
		if s == stream {
			return strconv.Itoa(i + 1)
		}
	}
	if len(c.streams) < maxTracks {
		c.streams = append(c.streams, stream)
	}
	return strconv.Itoa(len(c.streams))
}

func (c *Client) wake() {
	select {
	case c.awake <- struct{}{}:
	default:
	}
}

// describe gives a description or candidate to the loop, unless ctx is done before.
func (c *Client) describe(ctx context.Context, m message.Message) (refusal *Refusal, taken bool) {
	var f func()
	switch {
	case m.Type == message.Offer && m.Offer != nil:
		f = func() { c.offer(*m.Offer) }
	case m.Type == message.Answer && m.Answer != nil:
		f = func() { c.answer(*m.Answer) }
	case m.Type == message.ICECandidate && m.Candidate != nil:
		f = func() { c.candidate(*m.Candidate) }
	default:
		return refuse(message.CodeBadMessage, "a message of type %q needs its payload", string(m.Type)), true
	}
	select {
	case c.tasks <- f:
	case <-ctx.Done():
		return nil, false
	case <-c.ctx.Done():
	}
	return nil, true
}

// loop is the one goroutine that negotiates, and that chooses encodings.
func (c *Client) loop() {
	t := time.NewTicker(chooseEvery)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case f := <-c.tasks:
			f()
			c.negotiate()
		case <-c.awake:
			c.settle()
			c.negotiate()
		case now := <-t.C:
			if !c.heard && now.Sub(c.began) >= firstOffer {
				c.heard = true // it waits for ours
				c.settle()
				c.negotiate()
			}
			c.choose(now)
			if !c.offered.IsZero() && now.Sub(c.offered) > answerTimeout {
				c.refuse("the offer has no answer")
				c.replace()
			}
		}
	}
}

func (c *Client) refuse(text string) {
	c.send(message.Message{Type: message.Error, Code: message.CodeBadMessage, Text: text})
}

// connect gives the connection, which is made when there is none.
func (c *Client) connect() *peer.Conn {
	if conn := c.conn.Load(); conn != nil {
		return conn
	}
	conn, err := c.room.unit.factory.Connect(peer.Options{
		Participant: c.id,
		Sink:        c.events.put,
		// Nobody else asks for what is lost on the way here.
		Behind: func(time.Time) time.Duration { return time.Hour },
		OnCandidate: func(m message.Candidate) {
			c.send(message.Message{Type: message.ICECandidate, From: message.SFU, Candidate: &m})
		},
		OnMessage: c.relay,
		OnState: func(state peer.State) {
			if state == peer.Failed || state == peer.Closed {
				c.over()
			}
		},
	})
	if err != nil {
		c.room.unit.log.Warn("cannot make a connection", "peer", c.id, "err", err)
		return nil
	}
	c.conn.Store(conn)
	return conn
}

// Works tells whether there is a connection that has come about and has not ended,
// though it may be interrupted now. It may be called by any goroutine.
func (c *Client) Works() bool {
	conn := c.conn.Load()
	return conn != nil && conn.Works()
}

// replace gives the connection up. What was subscribed to comes by the next one.
func (c *Client) replace() {
	conn := c.conn.Swap(nil)
	c.judge = health.Judge{}
	c.poor.Store(false)
	for s := range c.open {
		c.room.unit.ledger.end(s)
	}
	clear(c.open)
	c.offered, c.dirty = time.Time{}, false
	c.room.mu.Lock()
	for _, s := range c.subscriptions {
		s.outlet.Store(nil)
		s.told = false
	}
	c.room.mu.Unlock()
	if conn != nil {
		c.room.unit.closing.Go(func() { _ = conn.Close() })
	}
}

func (c *Client) offer(offer message.Description) {
	c.heard = true
	if conn := c.conn.Load(); conn != nil && conn.State() != peer.New && !conn.Continues(offer) {
		c.replace() // they have begun anew
	}
	conn := c.connect()
	if conn == nil {
		c.refuse("no connection can be made now")
		return
	}
	answer, err := conn.Answer(offer)
	switch {
	case errors.Is(err, peer.ErrPending):
		return // the offers have crossed, and the client is the polite one
	case err != nil:
		c.room.unit.log.Info("offer refused", "peer", c.id, "err", err)
		c.refuse("the offer can't be used")
		return
	}
	c.send(message.Message{Type: message.Answer, From: message.SFU, Answer: &answer})
	c.settle()
}

func (c *Client) answer(answer message.Description) {
	conn := c.conn.Load()
	if conn == nil || c.offered.IsZero() {
		return
	}
	c.offered = time.Time{}
	if err := conn.Accept(answer); err != nil {
		c.room.unit.log.Info("answer refused", "peer", c.id, "err", err)
		c.refuse("the answer can't be used")
		c.replace()
	}
}

func (c *Client) candidate(m message.Candidate) {
	if conn := c.connect(); conn != nil {
		if err := conn.AddCandidate(m); err != nil {
			c.room.unit.log.Debug("candidate refused", "peer", c.id, "err", err)
		}
	}
}

// settle opens outlets for subscriptions that have begun, and closes those of
// subscriptions that have ended.
func (c *Client) settle() {
	c.room.mu.Lock()
	now := map[*subscription]bool{}
	for _, s := range c.subscriptions {
		now[s] = true
	}
	c.room.mu.Unlock()
	for s, o := range c.open {
		if now[s] {
			continue
		}
		delete(c.open, s)
		c.dirty = true
		if err := o.Close(); err != nil {
			c.room.unit.log.Debug("closing an outlet", "peer", c.id, "err", err)
		}
		c.room.unit.ledger.end(s)
	}
	if !c.heard {
		return // an offer of ours would cross its first one
	}
	for s := range now {
		codec, stream := s.publication.ready()
		if c.open[s] != nil || codec == 0 {
			continue
		}
		conn := c.connect()
		if conn == nil {
			return
		}
		o, err := conn.AddOutlet(s.outletConfig(codec, stream))
		if err != nil {
			c.room.unit.log.Info("cannot forward a track", "peer", c.id, "err", err)
			continue
		}
		c.open[s], c.dirty = o, true
		c.room.unit.ledger.begin(s, o)
		s.publication.open(s, o, codec)
	}
	c.choose(time.Now())
}

// negotiate makes the offer that is due, unless one waits for its answer.
func (c *Client) negotiate() {
	conn := c.conn.Load()
	if !c.dirty || conn == nil || !c.offered.IsZero() {
		return
	}
	offer, err := conn.Renegotiate()
	if errors.Is(err, peer.ErrPending) {
		return
	}
	c.dirty = false
	if err != nil {
		c.room.unit.log.Info("cannot make an offer", "peer", c.id, "err", err)
		return
	}
	for s, o := range c.open {
		if mid := o.MID(); !s.told && mid != "" {
			s.told = true
			c.send(message.Message{Type: message.Subscribed, PublisherID: s.key.publisher, TrackID: s.key.track, MID: mid})
		}
	}
	c.offered = time.Now()
	c.send(message.Message{Type: message.Offer, From: message.SFU, Offer: &offer})
}

// choose gives each subscription the encoding that the client can receive.
func (c *Client) choose(now time.Time) {
	c.room.mu.Lock()
	published := make([]*publication, 0, len(c.published))
	for _, p := range c.published {
		published = append(published, p)
	}
	c.speak(now)
	c.room.mu.Unlock()
	for _, p := range published {
		p.remind(now)
	}
	conn := c.conn.Load()
	if conn == nil || len(c.open) == 0 {
		return
	}
	// Those that were asked for first come first.
	all := slices.SortedFunc(maps.Keys(c.open), func(a, b *subscription) int { return a.number - b.number })
	demands := make([]*forward.Demand, 0, len(all))
	for _, s := range all {
		demands = append(demands, s.publication.demand(s))
	}
	conn.Want(forward.Most(demands))
	c.relieve(now, conn, demands)
	c.chooser.Hold(now, conn.Climbing())
	c.chooser.Choose(now, conn.Receivable(), demands)
	for i, s := range all {
		if len(demands[i].Encodings) > 0 {
			s.publication.choose(s, demands[i].Wanted, demands[i].Layers, demands[i].Paused)
		}
	}
}
