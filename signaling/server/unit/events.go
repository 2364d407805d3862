package unit

import (
	"sync"
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// events carries what arrives from a client to the goroutine that forwards it.
type events struct {
	client *Client
	ready  chan struct{}

	mu      sync.Mutex
	queue   []signaling.Event
	tracks  []*signaling.Track // those that there are
	matches map[*signaling.Track]*publication
}

func newEvents(c *Client) *events {
	return &events{client: c, ready: make(chan struct{}, 1), matches: map[*signaling.Track]*publication{}}
}

// put is peer.Options.Sink.
func (e *events) put(ev signaling.Event) {
	e.mu.Lock()
	if len(e.queue) >= maxEvents && (ev.Kind == signaling.PacketArrived || ev.Kind == signaling.Reported) {
		e.mu.Unlock()
		if ev.Packet != nil {
			ev.Packet.Release()
		}
		return
	}
	e.queue = append(e.queue, ev)
	e.mu.Unlock()
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

// match gives a publication the tracks that are there already.
func (e *events) match(p *publication) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tracks {
		if t.ID == p.id && e.matches[t] == nil {
			e.matches[t] = p
			p.begin(t)
		}
	}
}

func (e *events) run() {
	var batch []signaling.Event
	for e.client.ctx.Err() == nil {
		e.mu.Lock()
		batch, e.queue = e.queue, batch[:0]
		e.mu.Unlock()
		for i, ev := range batch {
			e.handle(ev)
			batch[i] = signaling.Event{}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-e.client.ctx.Done():
			return
		case <-e.ready:
		}
	}
}

// clear gives up what nobody will forward. The connection is closed.
func (e *events) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.queue {
		if ev.Packet != nil {
			ev.Packet.Release()
		}
	}
	e.queue = nil
}

func (e *events) handle(ev signaling.Event) {
	switch ev.Kind {
	case signaling.TrackStarted:
		e.started(ev.Track)
	case signaling.TrackEnded:
		e.mu.Lock()
		for i, t := range e.tracks {
			if t == ev.Track {
				e.tracks = append(e.tracks[:i], e.tracks[i+1:]...)
				break
			}
		}
		p := e.matches[ev.Track]
		delete(e.matches, ev.Track)
		e.mu.Unlock()
		if p != nil {
			p.finish(ev.Track)
		}
	case signaling.PacketArrived:
		if p := e.of(ev.Track); p != nil && time.Since(ev.Time) < tooLate {
			for _, c := range p.forward(ev.Track, ev.Packet) {
				c.wake()
			}
		}
		ev.Packet.Release()
	case signaling.Reported:
		if p := e.of(ev.Track); p != nil {
			p.report(ev.Track, ev.Report)
		}
	}
}

func (e *events) of(t *signaling.Track) *publication {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.matches[t]
}

func (e *events) started(t *signaling.Track) {
	room := e.client.room
	room.mu.Lock()
	defer room.mu.Unlock()
	p := e.client.published[t.ID]
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.tracks) >= maxTracks {
		return
	}
	e.tracks = append(e.tracks, t)
	if p != nil {
		e.matches[t] = p
		p.begin(t)
	}
}
