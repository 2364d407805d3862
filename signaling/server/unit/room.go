package unit

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pion/transport/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/forward"
)

// Unit forwards the media of a server's rooms. It may be used by any goroutine.
type Unit struct {
	factory *peer.Factory
	log     *slog.Logger
	ledger  ledger
	closing sync.WaitGroup
}

// New makes a unit. Its connections offer loopback addresses too, since clients
// may be on the same machine. A nil logger discards.
func New(log *slog.Logger) (*Unit, error) { return NewOn(nil, log) }

// NewOn is New with connections on a network of its own; nil: the machine's.
func NewOn(network transport.Net, log *slog.Logger) (*Unit, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	factory, err := peer.NewFactory(peer.Config{
		Codecs:     []media.Codec{media.VP8, media.VP9, media.H264, media.AV1, media.Opus},
		Forwarding: true, Prompt: true, Loopback: true, Net: network, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to forward: %w", err)
	}
	return &Unit{factory: factory, log: log}, nil
}

// Close closes all connections. Clients must have left before.
func (u *Unit) Close() error {
	u.closing.Wait()
	return u.factory.Close()
}

// Room makes a room without clients.
func (u *Unit) Room() *Room { return &Room{unit: u, clients: map[string]*Client{}} }

// Room is a room whose media is forwarded. It may be used by any goroutine.
type Room struct {
	unit *Unit

	mu      sync.Mutex
	clients map[string]*Client
}

// Enter lets a client in, whose id nobody in the room may have, and tells
// everybody. send gives the client a message; it must not block, and may be
// called by any goroutine until Leave has returned, and shortly after. over is called
// on a goroutine of its own when a connection of the client's has ended, Leave included.
func (r *Room) Enter(id string, send func(message.Message), over func()) *Client {
	c := newClient(r, id, send, over)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range slices.Sorted(maps.Keys(r.clients)) {
		other := r.clients[o]
		send(message.Message{Type: message.ParticipantJoined, ParticipantID: o})
		for _, p := range slices.Sorted(maps.Keys(other.published)) {
			send(other.published[p].available())
		}
	}
	r.broadcast(message.Message{Type: message.ParticipantJoined, ParticipantID: id}, nil)
	r.clients[id] = c
	if m := r.speakers(); len(m.Speakers) > 0 {
		send(m)
	}
	return c
}

// broadcast is called locked.
func (r *Room) broadcast(m message.Message, except *Client) {
	for _, c := range r.clients {
		if c != except {
			c.send(m)
		}
	}
}

// Leave takes the client out of the room, and tells everybody. Its connection is
// closed, but not before Leave has returned.
func (c *Client) Leave() {
	r := c.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clients[c.id] != c {
		return
	}
	delete(r.clients, c.id)
	published := slices.Collect(maps.Values(c.published))
	for _, id := range slices.Sorted(maps.Keys(c.published)) {
		r.broadcast(message.Message{Type: message.TrackRemoved, ParticipantID: c.id, TrackID: id}, nil)
	}
	for key, s := range c.subscriptions {
		s.publication.drop(s)
		delete(c.subscriptions, key)
	}
	r.broadcast(message.Message{Type: message.ParticipantLeft, ParticipantID: c.id}, nil)
	if c.speaking {
		r.broadcast(r.speakers(), nil)
	}
	r.unit.closing.Go(func() {
		t := time.NewTimer(linger)
		defer t.Stop()
		<-t.C
		r.mu.Lock()
		for _, p := range published {
			r.end(p)
		}
		r.mu.Unlock()
		c.stop()
	})
}

// end ends a publication and the subscriptions to it. It is called locked.
func (r *Room) end(p *publication) {
	p.end()
	for _, o := range r.clients {
		key := subject{p.owner.id, p.id}
		if s := o.subscriptions[key]; s != nil && s.publication == p {
			delete(o.subscriptions, key)
			o.wake()
		}
	}
}

// Refusal is why a message was not obeyed: a code of package message, and words
// for people.
type Refusal struct{ Code, Text string }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Receive obeys a message of the client's, or gives why not. It may wait while
// the client asks for much, until ctx is done; only then the message may be as if it
// had never come, and is not taken. One goroutine at a time calls it.
func (c *Client) Receive(ctx context.Context, m message.Message) (refusal *Refusal, taken bool) {
	switch m.Type {
	case message.Offer, message.Answer, message.ICECandidate:
		if m.Target != message.SFU {
			return refuse(message.CodeUnknownPeer, "in this room the only peer is %q", message.SFU), true
		}
		return c.describe(ctx, m)
	case message.PublishTrack:
		return c.publish(m), true
	case message.SubscribeTrack:
		return c.subscribe(m), true
	case message.UnsubscribeTrack:
		c.unsubscribe(m)
	}
	return nil, true
}

// badTrackID says what is wrong with a track's id, or "".
func badTrackID(id string) string {
	switch {
	case id == "" || len(id) > maxTrackID:
		return fmt.Sprintf("must have 1 to %d bytes", maxTrackID)
	case strings.ContainsFunc(id, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) || unicode.IsSpace(r) }):
		return "has white space, control characters or broken UTF-8"
	}
	return ""
}

func (c *Client) publish(m message.Message) *Refusal {
	if what := badTrackID(m.TrackID); what != "" {
		return refuse(message.CodeBadMessage, "the track_id %s", what)
	}
	kind := media.Video
	switch m.TrackType {
	case "video":
	case "audio":
		kind = media.Audio
	default:
		return refuse(message.CodeBadMessage, "the track_type must be audio or video")
	}
	r := c.room
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.clients[c.id] != c || c.published[m.TrackID] != nil:
		return nil
	case len(c.published) >= MaxPublished:
		return refuse(message.CodeTooManyTracks, "a participant can't publish more than %d tracks", MaxPublished)
	}
	p := newPublication(c, m.TrackID, kind)
	c.published[m.TrackID] = p
	c.events.match(p)
	r.broadcast(p.available(), c)
	return nil
}

// limits are how many encodings the quality that is asked for allows; 0: all.
var limits = map[string]int{"": 0, "best": 0, "medium": 2, "low": 1}

func (c *Client) subscribe(m message.Message) *Refusal {
	limit, ok := limits[m.Quality]
	if !ok {
		return refuse(message.CodeBadMessage, "the quality must be low, medium or best")
	}
	r := c.room
	r.mu.Lock()
	defer r.mu.Unlock()
	owner := r.clients[m.PublisherID]
	if r.clients[c.id] != c {
		return nil
	}
	if owner == nil || owner == c || owner.published[m.TrackID] == nil {
		return refuse(message.CodeUnknownTrack, "there is no such track")
	}
	key := subject{m.PublisherID, m.TrackID}
	s := c.subscriptions[key]
	if s == nil || s.publication != owner.published[m.TrackID] { // that was before they came back
		if len(c.subscriptions) >= MaxSubscriptions {
			return refuse(message.CodeTooManyTracks, "a participant can't subscribe to more than %d tracks", MaxSubscriptions)
		}
		c.count++
		s = &subscription{client: c, key: key, publication: owner.published[m.TrackID], number: c.count, layers: forward.All}
		c.subscriptions[key] = s
		s.publication.add(s)
	}
	if s.limit.Swap(int32(limit)) != int32(limit) {
		s.anew.Store(true)
	}
	c.wake()
	return nil
}

func (c *Client) unsubscribe(m message.Message) {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	key := subject{m.PublisherID, m.TrackID}
	if s := c.subscriptions[key]; s != nil {
		delete(c.subscriptions, key)
		s.publication.drop(s)
		c.wake()
	}
}
