package sfu

import (
	"sync"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// owner is whose track comes by an m-line.
type owner struct {
	participant, track string
	connection         int
}

// tracks gives the events of one connection with the server as those of the
// participants whose tracks they are.
type tracks struct {
	push func(signaling.Event) bool
	// ended is told when a track of a participant has ended.
	ended func(participant string)

	mu     sync.Mutex
	owners map[string]owner // by m-line
	known  map[*signaling.Track]*signaling.Track
	held   map[*signaling.Track][]signaling.Event
}

func newTracks(push func(signaling.Event) bool, ended func(string)) *tracks {
	return &tracks{
		push: push, ended: ended, owners: map[string]owner{},
		known: map[*signaling.Track]*signaling.Track{}, held: map[*signaling.Track][]signaling.Event{},
	}
}

// sink is peer.Options.Sink.
func (t *tracks) sink(e signaling.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Kind == signaling.TrackStarted {
		mid, _ := peer.Encoding(e.Track)
		if o, ok := t.owners[mid]; ok {
			t.name(e.Track, o)
		} else if len(t.held) < maxUnnamed {
			t.held[e.Track] = []signaling.Event{}
		}
	}
	if held, ok := t.held[e.Track]; ok {
		if e.Kind == signaling.TrackEnded {
			release(held)
			delete(t.held, e.Track)
			return
		}
		if len(held) < maxHeld {
			t.held[e.Track] = append(held, e)
			return
		}
	}
	t.give(e)
}

// name makes the participant's track of a connection's. It is called locked.
func (t *tracks) name(track *signaling.Track, o owner) {
	named := *track
	named.Participant, named.ID, named.Connection = o.participant, o.track, o.connection
	t.known[track] = &named
}

// give pushes an event of a track that is known, and drops others. It is called
// locked.
func (t *tracks) give(e signaling.Event) {
	track := e.Track
	named, ok := t.known[track]
	if !ok {
		release([]signaling.Event{e})
		return
	}
	e.Track = named
	t.push(e)
	if e.Kind == signaling.TrackEnded {
		delete(t.known, track)
		go t.ended(named.Participant)
	}
}

func release(events []signaling.Event) {
	for _, e := range events {
		if e.Packet != nil {
			e.Packet.Release()
		}
	}
}

// own takes what the server says: whose track comes by an m-line from now on.
func (t *tracks) own(mid string, o owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owners[mid] = o
	for track, events := range t.held {
		if m, _ := peer.Encoding(track); m != mid {
			continue
		}
		delete(t.held, track)
		t.name(track, o)
		for _, e := range events {
			t.give(e)
		}
	}
}

// has tells whether a participant has tracks by this connection number.
func (t *tracks) has(connection int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, named := range t.known {
		if named.Connection == connection {
			return true
		}
	}
	return false
}

// end ends the tracks of a connection number, whatever may come of them.
func (t *tracks) end(connection int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for mid, o := range t.owners {
		if o.connection == connection {
			delete(t.owners, mid)
		}
	}
	for track, named := range t.known {
		if named.Connection == connection {
			delete(t.known, track)
			t.push(signaling.Event{Kind: signaling.TrackEnded, Time: now, Track: named})
		}
	}
}
