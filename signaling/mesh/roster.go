package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// world is what a roster acts on. The Room implements it with a socket and peer
// connections, tests with a record of what was asked. None of its methods calls
// back into the roster before it returns.
type world interface {
	// send gives a message to the server, or drops it when there is no socket.
	send(message.Message)
	// connect makes a peer connection. What happens to it comes back by
	// roster.changed and roster.gathered with the same number.
	connect(participant string, number int) (conn, error)
	// offer and answer have the connection make a description, which comes
	// back by roster.described; accept has it take the peer's answer, and
	// roster.accepted tells how that went. They take their time.
	offer(c conn, number int)
	answer(c conn, number int, offer message.Description)
	accept(c conn, number int, answer message.Description)
	// hangUp closes a connection, also one that is busy with the above;
	// roster.closed says when that is done and its tracks have ended.
	hangUp(c conn, number int)
	// emit tells the one who records. It sets e.Time.
	emit(e signaling.Event)
	// dial joins again under the given id; roster.rejoined or roster.dialFailed
	// says how it went.
	dial(id string)
}

// conn is one peer connection, as much as a roster asks of it directly.
type conn interface {
	// Continues tells whether an offer belongs to this connection: an ICE
	// restart or a change of its media.
	Continues(offer message.Description) bool
	// AddCandidate takes a candidate of the peer's, also before there is a
	// description.
	AddCandidate(message.Candidate) error
	// heard is when the latest media packet came; zero: never.
	heard() time.Time
}

// roster is who is in the room and how we are connected with each of them: the
// protocol, without sockets, goroutines or a clock. Every input takes the time
// it happened; between inputs, due is called at deadline. It is used by one
// goroutine.
type roster struct {
	world
	log      *slog.Logger
	maxPeers int
	giveUp   time.Duration
	// emptyFor is giveUp once media has come and ended; 0: the same.
	emptyFor time.Duration
	jitter   func() float64 // in [0,1)

	first, self string // our first id and our id now
	stem        string // what the ids after the first begin with
	joins       int    // how many ids we have used
	stays       int    // how often we have come back
	keepID      bool   // the server lets us come back under our id

	participants map[string]*participant
	links        map[int]*link
	closing      map[int]*participant // whose connections are being closed
	strangers    strangers
	numbers      int // the connection made last
	complaints   map[string]int

	// up is set while we are in the room. While it is not, lostAt is since
	// when, attempts how often we have tried to come back, and redialAt when
	// we try next; it is zero while an attempt is under way.
	up       bool
	lostAt   time.Time
	attempts int
	redialAt time.Time
	lastErr  error
	// idleSince is since when no connection works that there was; zero: one
	// does, or there never was one.
	idleSince time.Time
	met       bool // a connection has worked
}

func newRoster(w world, log *slog.Logger, self string, maxPeers int, giveUp time.Duration, jitter func() float64) *roster {
	return &roster{
		world: w, log: log, maxPeers: maxPeers, giveUp: giveUp, jitter: jitter,
		first: self, self: self, stem: stem(self), joins: 1,
		participants: make(map[string]*participant),
		links:        make(map[int]*link),
		closing:      make(map[int]*participant),
		complaints:   make(map[string]int),
	}
}

// stem shortens an id so that there is room for a suffix.
func stem(id string) string {
	end := min(len(id), MaxPeerID-8)
	for end < len(id) && end > 0 && !utf8.RuneStart(id[end]) {
		end--
	}
	return id[:end]
}

// isSelf tells the ids that we have used: the one of before may still be in the
// room as somebody whose socket has not timed out.
func (r *roster) isSelf(id string) bool {
	if id == r.first || id == r.self {
		return true
	}
	suffix, ok := strings.CutPrefix(id, r.stem+"-")
	if !ok {
		return false
	}
	n, err := strconv.Atoi(suffix)
	return err == nil && n >= 2 && n <= r.joins && suffix == strconv.Itoa(n)
}

// complain logs what a stranger did wrong, so that a flood of it is no flood of
// the log.
func (r *roster) complain(what string, args ...any) {
	r.complaints[what]++
	switch n := r.complaints[what]; {
	case n < maxComplaints:
		r.log.Warn(what, args...)
	case n == maxComplaints:
		r.log.Warn(what, append(args, "note", "further ones are not logged")...)
	}
}

// find returns the participant with this id, new ones too, or nil when the id
// is ours or not acceptable or the room is full.
func (r *roster) find(id string) *participant {
	if p := r.participants[id]; p != nil {
		return p
	}
	if r.isSelf(id) {
		return nil
	}
	if err := checkName(id, MaxPeerID); err != nil {
		r.complain("peer ignored: its id cannot be used", "id", clip(id), "reason", err)
		return nil
	}
	if len(r.participants) >= r.maxPeers {
		r.complain("peer ignored: the room has too many", "participant", id, "max_peers", r.maxPeers)
		return nil
	}
	p := &participant{id: id, present: true, early: r.strangers.take(id)}
	r.participants[id] = p
	r.log.Info("participant is here", "participant", id)
	r.emit(signaling.Event{Kind: signaling.Joined, Participant: id})
	return p
}

// joined is called when the server has answered our first join, and rejoined
// when it has answered a later one: peers are those who were there before us,
// and who wait for our offers.
func (r *roster) joined(peers []string, now time.Time) {
	r.up, r.attempts = true, 0
	again := !r.lostAt.IsZero()
	listed := make(map[string]bool, min(len(peers), r.maxPeers))
	for _, id := range peers {
		p := r.find(id)
		if p == nil || listed[id] {
			continue
		}
		listed[id] = true
		p.here()
		for _, l := range slices.Clone(p.links) {
			switch {
			case !l.worked || l.asked:
				// What was under way is lost, or was addressed to the one we
				// were before.
				r.drop(l, "superseded", now)
			case l.state != connected:
				l.restartAt = now
			}
		}
		p.offers = 0
		if len(p.links) == 0 {
			r.propose(p, now)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.participants)) {
		if p := r.participants[id]; !listed[id] && p.present {
			p.missing = again
			r.gone(p, now)
		}
	}
}

func (r *roster) rejoined(peers []string, now time.Time) {
	r.stays++
	r.log.Info("joined the room again", "as", r.self, "after", now.Sub(r.lostAt).Round(time.Millisecond))
	r.joined(peers, now)
}

// dialFailed is called when an attempt to join again has failed.
func (r *roster) dialFailed(err error, now time.Time) {
	r.lastErr = err
	r.redialAt = now.Add(r.backoff())
	r.attempts++
	r.complain("cannot join again yet", "error", err)
}

// socketLost is called when the socket has died. Media goes on without it.
func (r *roster) socketLost(err error, now time.Time) {
	r.log.Warn("the room server is gone; media goes on, joining again", "error", err)
	r.up, r.lostAt, r.lastErr = false, now, err
	r.redialAt = now.Add(r.backoff())
	r.attempts++
	if errors.Is(err, ErrReplaced) {
		r.rename()
	}
}

// hurry tries to join again at once, if we are not in the room: our addresses
// have changed.
func (r *roster) hurry(now time.Time) {
	if !r.up && !r.redialAt.IsZero() {
		r.redialAt = now
	}
}

func (r *roster) backoff() time.Duration {
	d := min(RejoinBackoff<<min(r.attempts, 16), MaxRejoinBackoff)
	return d/2 + time.Duration(r.jitter()*float64(d))
}

// receive takes a message from the server, of any type and with anything in it.
func (r *roster) receive(m message.Message, now time.Time) {
	switch m.Type {
	case message.RoomPeers:
		// Unasked for, but it says who is here; they know about us and do as
		// they do with newcomers.
		for _, id := range m.Peers {
			if p := r.find(id); p != nil {
				p.here()
			}
		}
	case message.PeerJoined:
		if p := r.find(m.PeerID); p != nil {
			p.here()
			p.offers = 0
		}
	case message.PeerLeft:
		r.strangers.take(m.PeerID)
		if p := r.participants[m.PeerID]; p != nil {
			p.expelled = m.Code == message.CodeTokenExpired
			r.gone(p, now)
		}
	case message.Offer:
		if m.Offer == nil || len(m.Offer.SDP) > maxSDP {
			r.complain("offer ignored: it has no description, or too long a one", "participant", clip(m.From))
			return
		}
		if p := r.find(m.From); p != nil {
			p.here()
			r.offered(p, *m.Offer, now)
		}
	case message.Answer:
		p := r.participants[m.From]
		if p == nil || m.Answer == nil || len(m.Answer.SDP) > maxSDP {
			r.complain("answer ignored: nobody was asked, or it has no or too long a description", "participant", clip(m.From))
			return
		}
		r.answered(p, *m.Answer, now)
	case message.ICECandidate:
		if m.Candidate == nil || m.Candidate.Candidate == "" || r.isSelf(m.From) {
			return // null or empty: no more will come, which needs no answer
		}
		if size(*m.Candidate) > maxCandidate {
			r.complain("candidate ignored: it is too long", "participant", clip(m.From))
			return
		}
		r.candidate(m.From, *m.Candidate)
	case message.Error:
		r.complain("the room server complains", "code", clip(m.Code), "message", clip(m.Text))
		if p := r.participants[m.PeerID]; p != nil && m.Code == message.CodeUnknownPeer {
			for _, l := range slices.Clone(p.links) {
				if l.asked {
					r.drop(l, "the server does not know them", now)
				}
			}
		}
	}
}

// gone is called when the server says that a participant has left. A connection
// that still lacks a description goes at once, since they can't send it any
// more; another stays until it is silent.
func (r *roster) gone(p *participant, now time.Time) {
	if !p.present {
		return
	}
	p.present, p.goneAt = false, now
	p.retryAt, p.held = time.Time{}, nil
	for _, l := range slices.Clone(p.links) {
		if !l.said || l.asked {
			r.drop(l, "participant left", now)
		}
	}
	r.settle(p)
}

// settle tells that a participant has left, once nothing of them is left.
func (r *roster) settle(p *participant) {
	if p.present || len(p.links) > 0 || p.closing > 0 {
		return
	}
	delete(r.participants, p.id)
	r.log.Info("participant has left", "participant", p.id)
	r.emit(signaling.Event{Kind: signaling.Left, Participant: p.id})
}

// due does everything whose time has come. It is called after each input and at
// deadline, and returns an error that wraps signaling.ErrLost when the room is
// lost for good.
func (r *roster) due(now time.Time) error {
	for _, id := range slices.Sorted(maps.Keys(r.participants)) {
		r.dueFor(r.participants[id], now)
	}
	r.updateIdle(now)
	if r.up {
		return nil
	}
	if at := r.givesUpAt(); !at.IsZero() && !now.Before(at) {
		return fmt.Errorf("%w and was not restored within %v: %w", signaling.ErrLost, now.Sub(r.lostAt).Round(time.Second), r.lastErr)
	}
	if !r.redialAt.IsZero() && !now.Before(r.redialAt) {
		r.redialAt = time.Time{}
		if !r.keepID {
			r.rename()
		}
		r.dial(r.self)
	}
	return nil
}

// rename gives us a fresh id. A server may forget the newer of two sockets with
// one id when the older one closes.
func (r *roster) rename() {
	for taken := true; taken; _, taken = r.participants[r.self] {
		r.joins++
		r.self = fmt.Sprintf("%s-%d", r.stem, r.joins)
	}
}

// working tells whether media can come from anybody.
func (r *roster) working() bool {
	for _, l := range r.links {
		if l.working() {
			return true
		}
	}
	return false
}

// updateIdle notes since when no connection works.
func (r *roster) updateIdle(now time.Time) {
	switch {
	case r.working():
		r.met, r.idleSince = true, time.Time{}
	case r.met && r.idleSince.IsZero():
		r.idleSince = now
	}
}

// givesUpAt is when the room counts as lost for good; zero: not as long as things
// are as they are.
func (r *roster) givesUpAt() time.Time {
	if r.up || r.working() {
		return time.Time{}
	}
	at := r.lostAt.Add(r.giveUp)
	if r.emptyFor > 0 && !r.idleSince.IsZero() {
		since := r.lostAt
		if r.idleSince.After(since) {
			since = r.idleSince
		}
		if empty := since.Add(r.emptyFor); empty.Before(at) {
			return empty
		}
	}
	return at
}

// deadline is when due must be called though nothing happens; zero: never.
func (r *roster) deadline() time.Time {
	var d earliest
	for _, p := range r.participants {
		d.add(p.deadline(r.up))
	}
	if !r.up {
		d.add(r.redialAt)
		d.add(r.givesUpAt())
	}
	return d.t
}

// earliest finds the first of several times; the zero time is never.
type earliest struct{ t time.Time }

func (e *earliest) add(t time.Time) {
	if !t.IsZero() && (e.t.IsZero() || t.Before(e.t)) {
		e.t = t
	}
}
