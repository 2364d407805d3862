package mesh

import (
	"slices"
	"strings"
	"time"

	"github.com/roomtape/roomtape/signaling/message"
)

// participant is somebody who is or was in the room. They stay on the roster
// until they have left and their last connection is closed.
type participant struct {
	id      string
	present bool
	goneAt  time.Time // since when not present
	// missing is set when they were not there when we came back, rather than
	// that the server said they had left: they may be on their way as well.
	missing bool
	// expelled is set when the server has put them out because their token has
	// expired: they do not linger because their media works.
	expelled bool
	// rebuilds is set when they answer an offer to restart ICE with another
	// connection than the one it was for.
	rebuilds bool
	// links are the connections with them, oldest first: at most one that
	// works, one that we have offered and one that they have. The first of the
	// new ones to connect ends the others, so that nothing that works is given
	// up for a promise, and two offers that cross do no harm.
	links   []*link
	closing int // connections that are being closed

	// early are the latest candidates, for a connection that an offer may
	// still bring.
	early []message.Candidate
	// held is an offer that came too soon after the one before, to be answered
	// at heldUntil.
	held      *message.Description
	heldUntil time.Time

	offers    int       // how often we have offered without lasting success
	retryAt   time.Time // when we offer anew; zero: not
	offeredAt time.Time // when they offered last
}

// linkState is how far a connection has come.
type linkState uint8

const (
	connecting linkState = iota
	connected
	disconnected // no sign of life, but it may come back
	failed
	closed // by the other side
)

func (s linkState) String() string {
	return [...]string{"connecting", "connected", "disconnected", "failed", "closed"}[s]
}

// link is one peer connection of a participant.
type link struct {
	conn   conn
	number int
	owner  *participant
	self   string // our id when it was made
	stay   int    // our stay in the room in which it was made
	state  linkState
	ours   bool      // we made the offer
	busy   bool      // a description of ours is being made
	said   bool      // a description of ours was sent
	asked  bool      // our offer has no answer yet
	worked bool      // it has been connected
	since  time.Time // when it was first connected
	// restartAt is when we restart ICE, or offer anew to those who know no
	// restart; zero: not. restarting is set from then until it works again.
	restartAt  time.Time
	restarting bool
	ailing     time.Time // since when there was no sign of life; zero: there is
	dead       bool      // no sign of life for long, and nothing to be done about it now
	// gathered are our candidates until the description is sent that they
	// belong to.
	gathered []message.Candidate
	// expires is when it is given up: before it has worked, or while it does
	// not any more. Zero: it is not.
	expires time.Time
}

// here is called at each sign that the participant is in the room.
func (p *participant) here() {
	p.present, p.missing, p.expelled, p.goneAt = true, false, false, time.Time{}
}

// working tells whether media can come by the link, now or again soon.
func (l *link) working() bool { return l.worked && !l.dead && l.state != failed }

// free tells whether an offer of ours would be the only one under way, and
// would end nothing that works.
func (p *participant) free() bool {
	return p.present && !slices.ContainsFunc(p.links, func(l *link) bool { return !l.worked || l.state == connected })
}

// lingersUntil is when a link of a participant who has left is closed, if no
// more media comes. Who is merely missing may send nothing for a while, as long
// as the connection lives; who has been put out has a while to come back with a
// fresh token.
func (p *participant) lingersUntil(l *link) time.Time {
	if p.expelled {
		return p.goneAt.Add(ExpelTime)
	}
	since := p.goneAt
	if h := l.conn.heard(); h.After(since) {
		since = h
	}
	if p.missing && l.state == connected {
		return since.Add(MissingTime)
	}
	return since.Add(LingerTime)
}

func (p *participant) deadline(up bool) time.Time {
	var d earliest
	for _, l := range p.links {
		d.add(l.expires)
		if !p.present {
			d.add(p.lingersUntil(l))
		}
	}
	if up {
		for _, l := range p.links {
			if p.present {
				d.add(l.restartAt)
			}
		}
		d.add(p.retryAt)
		if p.held != nil {
			d.add(p.heldUntil)
		}
	}
	return d.t
}

func (r *roster) dueFor(p *participant, now time.Time) {
	for _, l := range slices.Clone(p.links) {
		switch {
		case !p.present && !now.Before(p.lingersUntil(l)):
			r.drop(l, "participant left", now)
		case r.up && p.present && !l.restartAt.IsZero() && !now.Before(l.restartAt):
			r.restart(l, now)
		case l.expires.IsZero() || now.Before(l.expires):
		case l.worked && !r.up:
			// Nothing can be done about it before we are back.
			l.dead, l.expires = true, time.Time{}
		case l.restarting && (l.asked || l.busy):
			r.complain("peer does not answer our offer to restart ICE", "participant", p.id, "connection", l.number)
			r.rebuild(l, now)
		case l.restarting && now.Before(l.ailing.Add(ReviveTime)):
			r.restart(l, now)
		case l.asked:
			r.complain("peer does not answer our offer", "participant", p.id, "after", AnswerTimeout)
			r.drop(l, "no answer", now)
		default:
			r.log.Warn("connection timed out", "participant", p.id, "connection", l.number, "state", l.state)
			r.drop(l, "timed out", now)
			r.retry(p, now)
		}
	}
	if !r.up {
		return
	}
	if p.held != nil && !now.Before(p.heldUntil) {
		r.offered(p, *p.held, now)
	}
	if !p.retryAt.IsZero() && !now.Before(p.retryAt) {
		r.propose(p, now)
	}
}

// newLink makes a connection with p, or gives nil.
func (r *roster) newLink(p *participant, ours bool, now time.Time) *link {
	r.numbers++
	c, err := r.connect(p.id, r.numbers)
	if err != nil {
		r.complain("cannot make a connection", "participant", p.id, "error", err)
		return nil
	}
	l := &link{conn: c, number: r.numbers, owner: p, self: r.self, stay: r.stays, ours: ours, expires: now.Add(ConnectTimeout)}
	p.links = append(p.links, l)
	r.links[l.number] = l
	return l
}

// propose makes an offer to p, unless a connection works or is being made.
func (r *roster) propose(p *participant, now time.Time) {
	p.retryAt = time.Time{}
	if !p.free() || p.offers >= MaxOffers {
		return
	}
	p.offers++
	p.early = nil
	l := r.newLink(p, true, now)
	if l == nil {
		r.retry(p, now)
		return
	}
	l.busy = true
	r.offer(l.conn, l.number)
}

// retry plans another offer to p.
func (r *roster) retry(p *participant, now time.Time) {
	if !p.free() {
		return
	}
	if p.offers >= MaxOffers {
		r.log.Warn("giving up on participant until they offer", "participant", p.id, "offers", p.offers)
		return
	}
	p.retryAt = now.Add(OfferBackoff << p.offers)
}

// offered is called when p has made an offer.
func (r *roster) offered(p *participant, offer message.Description, now time.Time) {
	p.held, p.retryAt = nil, time.Time{}
	i := slices.IndexFunc(p.links, func(l *link) bool { return l.conn.Continues(offer) })
	if i >= 0 && !p.links[i].busy && !p.links[i].asked {
		l := p.links[i]
		if l.restartAt = (time.Time{}); l.state != connected {
			l.dead, l.expires = false, now.Add(ConnectTimeout)
		}
		r.reply(l, offer)
		return
	}
	if next := p.offeredAt.Add(OfferGap); i >= 0 || now.Before(next) {
		p.held, p.heldUntil = &offer, next
		if i >= 0 {
			p.heldUntil = now.Add(OfferGap)
		}
		return
	}
	p.offeredAt = now
	for _, old := range slices.Clone(p.links) {
		if !old.ours && !old.worked {
			r.drop(old, "superseded", now)
		}
	}
	if l := r.newLink(p, false, now); l != nil {
		r.reply(l, offer)
	}
}

// reply has l answer an offer.
func (r *roster) reply(l *link, offer message.Description) {
	l.busy = true
	r.answer(l.conn, l.number, offer)
	l.owner.replay(l, offer)
}

// described is called when a connection has made the offer or answer that it
// was asked for.
func (r *roster) described(number int, d message.Description, err error, now time.Time) {
	l := r.links[number]
	if l == nil {
		return
	}
	p := l.owner
	l.busy = false
	switch {
	case err != nil && l.restarting:
		r.complain("cannot offer to restart ICE", "participant", p.id, "connection", number, "error", printable(err))
		r.rebuild(l, now)
		return
	case err != nil && l.worked:
		// It goes on as it was.
		l.gathered = nil
		r.complain("offer refused", "participant", p.id, "connection", number, "error", printable(err))
		return
	case err != nil && l.ours:
		r.complain("cannot make an offer", "participant", p.id, "error", printable(err))
		r.drop(l, "no offer", now)
		r.retry(p, now)
		return
	case err != nil:
		r.complain("offer refused", "participant", p.id, "error", printable(err))
		r.drop(l, "offer refused", now)
		return
	case l.restarting:
		l.asked, l.expires = true, now.Add(RestartTimeout)
		r.send(message.Message{Type: message.Offer, Target: p.id, Offer: &d})
	case l.ours && !l.said:
		l.asked, l.expires = true, now.Add(AnswerTimeout)
		r.send(message.Message{Type: message.Offer, Target: p.id, Offer: &d})
	default:
		r.send(message.Message{Type: message.Answer, Target: p.id, Answer: &d})
	}
	l.said = true
	for _, c := range l.gathered {
		r.send(message.Message{Type: message.ICECandidate, Target: p.id, Candidate: &c})
	}
	l.gathered = nil
}

// replay gives l the candidates that came before the offer, but for those that
// say they belong to another one.
func (p *participant) replay(l *link, offer message.Description) {
	for _, c := range p.early {
		if c.UsernameFragment == nil || strings.Contains(offer.SDP, "a=ice-ufrag:"+*c.UsernameFragment) {
			_ = l.conn.AddCandidate(c) // one bad candidate leaves the others
		}
	}
	p.early = nil
}

// answered is called when p has answered.
func (r *roster) answered(p *participant, answer message.Description, now time.Time) {
	i := slices.IndexFunc(p.links, func(l *link) bool { return l.asked })
	if i < 0 {
		if len(p.links) == 0 && p.present {
			// It was long in coming, but now we know that they do answer.
			r.log.Info("participant answers late; offering anew", "participant", p.id)
			r.retry(p, now)
		}
		return
	}
	l := p.links[i]
	if l.restarting && !l.conn.Continues(answer) {
		// Clients in the field make a new connection of each offer. This one
		// can't take over what we have here, so they get one of ours.
		r.log.Info("participant knows no ICE restart; offering anew", "participant", p.id, "connection", l.number)
		p.rebuilds = true
		r.rebuild(l, now)
		return
	}
	l.asked, l.expires = false, now.Add(ConnectTimeout)
	if l.restarting {
		l.expires = now.Add(RestartTimeout)
	}
	r.accept(l.conn, l.number, answer)
}

// accepted is called when a connection has taken its peer's answer, or not.
func (r *roster) accepted(number int, err error, now time.Time) {
	l := r.links[number]
	if l == nil || err == nil {
		return
	}
	r.complain("answer refused", "participant", l.owner.id, "connection", number, "error", printable(err))
	if l.restarting {
		r.rebuild(l, now)
		return
	}
	r.drop(l, "answer refused", now)
}

// candidate is called when somebody, of the roster or not, has sent one.
func (r *roster) candidate(from string, c message.Candidate) {
	p := r.participants[from]
	if p == nil {
		if checkName(from, MaxPeerID) == nil {
			r.strangers.add(from, c)
		}
		return
	}
	p.early = keep(p.early, c)
	for _, l := range p.links {
		if err := l.conn.AddCandidate(c); err != nil {
			r.complain("candidate refused", "participant", p.id, "connection", l.number, "error", printable(err))
		}
	}
}

// gathered is called when the connection has a candidate of ours. They follow
// the description they belong to.
func (r *roster) gathered(number int, c message.Candidate) {
	l := r.links[number]
	switch {
	case l == nil || l.self != r.self:
	case l.said && !l.busy:
		r.send(message.Message{Type: message.ICECandidate, Target: l.owner.id, Candidate: &c})
	case len(l.gathered) < maxGathered:
		l.gathered = append(l.gathered, c)
	}
}

// drop takes a connection off the roster and has it closed.
func (r *roster) drop(l *link, why string, now time.Time) {
	p := l.owner
	delete(r.links, l.number)
	p.links = slices.DeleteFunc(p.links, func(x *link) bool { return x == l })
	p.closing++
	if l.worked && now.Sub(l.since) >= SteadyTime {
		p.offers = 0
	}
	r.closing[l.number] = p
	r.log.Debug("closing connection", "participant", p.id, "connection", l.number, "reason", why)
	r.hangUp(l.conn, l.number)
}

// closed is called when a dropped connection is closed and its tracks have
// ended.
func (r *roster) closed(number int) {
	if p := r.closing[number]; p != nil {
		delete(r.closing, number)
		p.closing--
		r.settle(p)
	}
}

// strangers keeps the candidates of peers that the room has not announced yet.
type strangers struct {
	ids        []string // oldest first
	candidates map[string][]message.Candidate
}

func (s *strangers) add(id string, c message.Candidate) {
	if _, ok := s.candidates[id]; !ok {
		if len(s.ids) == maxStrangers {
			s.take(s.ids[0])
		}
		if s.candidates == nil {
			s.candidates = make(map[string][]message.Candidate)
		}
		s.ids = append(s.ids, id)
	}
	s.candidates[id] = keep(s.candidates[id], c)
}

// take removes what is kept of a peer and returns it.
func (s *strangers) take(id string) []message.Candidate {
	c, ok := s.candidates[id]
	if ok {
		delete(s.candidates, id)
		s.ids = slices.DeleteFunc(s.ids, func(x string) bool { return x == id })
	}
	return c
}

// size is how many bytes of a stranger's a candidate keeps in memory.
func size(c message.Candidate) int {
	n := len(c.Candidate)
	if c.SDPMid != nil {
		n += len(*c.SDPMid)
	}
	if c.UsernameFragment != nil {
		n += len(*c.UsernameFragment)
	}
	return n
}

// keep appends c, the oldest making room when there are too many.
func keep(list []message.Candidate, c message.Candidate) []message.Candidate {
	if len(list) >= maxEarly {
		list = append(list[:0], list[1:]...)
	}
	return append(list, c)
}
