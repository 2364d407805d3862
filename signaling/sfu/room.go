package sfu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/resume"
)

// Room is a forwarded room that we are in. It implements signaling.Room.
type Room struct {
	way     *mesh.ForwardedError
	cfg     mesh.Config
	log     *slog.Logger
	factory *peer.Factory
	queue   *signaling.Queue

	ctx    context.Context // done when the room is being closed
	cancel context.CancelFunc
	loops  sync.WaitGroup
	others sync.WaitGroup
	wake   chan struct{}

	mu   sync.Mutex
	todo []func(now time.Time)

	closing sync.Once
	failed  error

	// What follows belongs to the loop, and to Close after it has ended.
	self      string
	recording string // its state, as the room is told
	link      *mesh.Link
	dialling  bool
	attempt   int
	retryAt   time.Time
	lostAt    time.Time // since when there is no link; zero: there is one
	rejoined  time.Time
	// from is where another link can go on, and sent what it may be asked for.
	from         mesh.Resume
	sent         resume.Log[message.Message]
	stay         *stay
	participants map[string]*participant
	numbers      int
}

// stay is one peer connection with the server.
type stay struct {
	conn   *peer.Conn
	tracks *tracks
	ready  bool // our offer is answered
	// published is set when the server knows of what we publish.
	published bool
	waiting   []message.Message
	state     peer.State
	since     time.Time     // of the state
	done      chan struct{} // closed when the latest work is done
}

// participant is somebody in the room.
type participant struct {
	connection int
	named      bool      // by the server, since we joined last
	left       time.Time // zero: is there
	tracks     map[string]bool
}

// Enter goes on in a room that mesh.Dial has joined. Errors wrap
// signaling.ErrJoin.
func Enter(way *mesh.ForwardedError) (*Room, error) {
	cfg := way.Config
	r := &Room{
		way: way, cfg: cfg, log: cfg.Logger, self: cfg.PeerID, recording: mesh.Started, queue: signaling.NewQueue(0),
		wake: make(chan struct{}, 1), participants: map[string]*participant{},
	}
	cfg.Peer.Forwarding = true
	factory, err := peer.NewFactory(cfg.Peer)
	if err != nil {
		way.Close()
		return nil, fmt.Errorf("%w: prepare connections: %w", signaling.ErrJoin, err)
	}
	r.factory = factory
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.log.Info("joined a forwarded room", "as", r.self)
	r.dial()
	r.loops.Go(r.run)
	return r, nil
}

// Next waits for what happens next; see signaling.Room.
func (r *Room) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	return r.queue.Next(ctx, deadline)
}

// Close tells the participants that the recording has stopped, if they were told
// that it had started, leaves the room and ends every goroutine of it, within
// about a second.
func (r *Room) Close() error {
	r.closing.Do(func() {
		r.cancel()
		r.loops.Wait()
		if s := r.stay; s != nil && r.cfg.Announce && s.state == peer.Connected {
			r.tell(s, mesh.Stopped, "")
			time.Sleep(farewell)
		}
		if r.link != nil {
			r.others.Go(r.link.Close)
		}
		r.failed = r.factory.Close()
		r.others.Wait()
		r.queue.Close(nil)
	})
	return r.failed
}

// do has the loop do something. It never blocks.
func (r *Room) do(f func(now time.Time)) {
	r.mu.Lock()
	r.todo = append(r.todo, f)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Room) run() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		todo := r.todo
		r.todo = nil
		r.mu.Unlock()
		for _, f := range todo {
			f(time.Now())
		}
		if r.ctx.Err() != nil {
			return
		}
		if err := r.due(time.Now()); err != nil {
			r.log.Error("the room is lost", "error", err)
			r.queue.Close(err)
			return
		}
		select {
		case <-r.ctx.Done():
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// dial opens a link, in a goroutine.
func (r *Room) dial() {
	id, from := r.self, r.from
	r.dialling = true
	r.others.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, joinTimeout)
		defer cancel()
		link, err := r.way.Open(ctx, id, from)
		taken := make(chan struct{})
		r.do(func(now time.Time) {
			if r.ctx.Err() == nil {
				close(taken)
				r.arrived(link, err, now)
			}
		})
		select {
		case <-taken:
			return
		case <-r.ctx.Done():
		}
		r.loops.Wait()
		select {
		case <-taken: // the end of the room sees to it
		default:
			if link != nil {
				link.Close()
			}
		}
	})
}

// arrived begins to use a link, or waits before another attempt.
func (r *Room) arrived(link *mesh.Link, err error, now time.Time) {
	r.dialling = false
	if err != nil {
		wait := min(retryFirst<<min(r.attempt, 10), retryMax)
		r.attempt++
		r.retryAt = now.Add(wait)
		r.log.Info("cannot join again", "error", err, "next", wait)
		return
	}
	missed, ok := r.sent.Since(link.Received)
	if link.Resumed && (!ok || r.from.Token == "") {
		// What it would go on with is over here.
		r.from = mesh.Resume{}
		r.others.Go(link.Close)
		r.arrived(nil, errors.New("the server goes on where we can't"), now)
		return
	}
	r.link, r.attempt, r.lostAt = link, 0, time.Time{}
	if !link.Resumed {
		r.anew(now)
	}
	r.serve(link)
	if !link.Resumed {
		r.begin(now)
		return
	}
	r.log.Info("the room's server is back; all goes on")
	for _, m := range missed {
		link.Send(m)
	}
	if s := r.stay; s != nil && s.state == peer.Disconnected {
		s.since = now // what the server has to say comes first
	}
}

// anew is called when we have joined, and nothing goes on.
func (r *Room) anew(now time.Time) {
	r.rejoined, r.from, r.sent = now, mesh.Resume{Token: r.link.Token}, resume.Log[message.Message]{For: keepSent}
	for _, p := range r.participants {
		p.named = false
	}
}

// serve has the loop take what comes by a link.
func (r *Room) serve(link *mesh.Link) {
	link.Serve(func(m message.Message) {
		done := make(chan struct{})
		r.do(func(now time.Time) {
			defer close(done)
			if r.link == link {
				r.from.Received++
				r.receive(m, now)
			}
		})
		select { // who has much to say is slowed down to the loop's pace
		case <-done:
		case <-r.ctx.Done():
		}
	}, func(err error) {
		r.do(func(now time.Time) {
			if r.link == link {
				r.lose(err, now)
			}
		})
	})
}

// lose gives the link up. Media goes on as long as it does.
func (r *Room) lose(why error, now time.Time) {
	r.log.Warn("lost the room's server", "error", why)
	r.others.Go(r.link.Close)
	replaced := errors.Is(why, mesh.ErrReplaced)
	if replaced {
		r.from = mesh.Resume{}
	}
	if replaced || !r.link.KeepsID && r.from.Token == "" {
		r.self = r.cfg.PeerID + "-" + strconv.Itoa(2+r.numbers)
		r.numbers++
	}
	r.link, r.lostAt, r.retryAt = nil, now, now.Add(retryFirst)
}

// send gives the server a message, now or when another link goes on; when none
// could, it is lost with the link.
func (r *Room) send(m message.Message) {
	if r.from.Token != "" {
		size := 256
		for _, d := range []*message.Description{m.Offer, m.Answer} {
			if d != nil {
				size += len(d.SDP)
			}
		}
		r.sent.Add(m, size, time.Now())
	}
	if r.link != nil {
		r.link.Send(m)
	}
}

// begin makes a connection with the server in place of any there was.
func (r *Room) begin(now time.Time) {
	r.end()
	s := &stay{since: now, state: peer.New}
	s.tracks = newTracks(r.queue.Push, func(string) { r.do(func(time.Time) {}) })
	conn, err := r.factory.Connect(peer.Options{
		Participant: message.SFU,
		Sink:        s.tracks.sink,
		Behind:      r.queue.Behind,
		OnMessage:   r.said,
		OnCandidate: func(m message.Candidate) {
			r.do(func(time.Time) {
				if r.stay == s {
					r.send(message.Message{Type: message.ICECandidate, Target: message.SFU, Candidate: &m})
				}
			})
		},
		OnState: func(state peer.State) {
			r.do(func(now time.Time) {
				if r.stay == s {
					r.changed(s, state, now)
				}
			})
		},
		OnStranded: func() {
			r.do(func(now time.Time) {
				if r.stay == s && s.ready {
					r.offer(s)
				}
			})
		},
	})
	if err != nil {
		r.log.Error("cannot make a connection", "error", err)
		return
	}
	s.conn = conn
	r.stay = s
	r.offer(s)
}

// end closes the connection. Its tracks have ended when the goroutine has.
func (r *Room) end() {
	if s := r.stay; s != nil {
		r.stay = nil
		r.others.Go(func() { _ = s.conn.Close() })
	}
}

// offer makes an offer, the first or one that restarts ICE.
func (r *Room) offer(s *stay) {
	s.ready = false
	r.work(s, func() {
		d, err := s.conn.Offer()
		if errors.Is(err, peer.ErrPending) {
			return
		}
		r.do(func(now time.Time) {
			switch {
			case r.stay != s:
			case err != nil:
				r.renew(fmt.Errorf("making an offer: %w", err), now)
			default:
				r.send(message.Message{Type: message.Offer, Target: message.SFU, Offer: &d})
			}
		})
	})
}

// work does what takes its time with a connection, one thing after the other.
func (r *Room) work(s *stay, f func()) {
	before := s.done
	done := make(chan struct{})
	s.done = done
	r.others.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		f()
	})
}

// renew joins anew, since the connection is of no use.
func (r *Room) renew(why error, now time.Time) {
	r.from = mesh.Resume{}
	if r.link != nil {
		r.lose(why, now)
	}
	r.end()
}

func (r *Room) changed(s *stay, state peer.State, now time.Time) {
	s.state, s.since = state, now
	switch state {
	case peer.Connected:
		if r.cfg.Announce {
			r.tell(s, r.recording, "")
		}
	case peer.Failed, peer.Closed:
		r.renew(fmt.Errorf("the connection with it is %v", state), now)
	}
}

// due does what is to be done by now.
func (r *Room) due(now time.Time) error {
	if r.link == nil && !r.dialling && !now.Before(r.retryAt) {
		r.dial()
	}
	if s := r.stay; s != nil && r.link != nil {
		quiet := now.Sub(s.since)
		switch {
		case s.state == peer.Disconnected && s.ready && quiet > restartAfter:
			s.since = now
			r.offer(s)
		case (s.state == peer.New || s.state == peer.Connecting) && quiet > connectTimeout:
			r.renew(errors.New("no connection comes about"), now)
		}
	}
	for id, p := range r.participants {
		switch {
		case !p.left.IsZero() && (r.stay == nil || !r.stay.tracks.has(p.connection) || now.Sub(p.left) > linger):
			r.gone(id, now)
		case p.left.IsZero() && !p.named && r.link != nil && now.Sub(r.rejoined) > missing:
			p.left = now
		}
	}
	if r.lostAt.IsZero() || r.stay != nil && r.stay.state == peer.Connected {
		return nil
	}
	giveUp := r.cfg.GiveUp
	if r.cfg.UntilEmpty > 0 && len(r.participants) > 0 {
		giveUp = min(giveUp, r.cfg.UntilEmpty)
	}
	if now.Sub(r.lostAt) > giveUp {
		return fmt.Errorf("%w: no answer for %v", signaling.ErrLost, giveUp)
	}
	return nil
}
