package mesh

import (
	"slices"
	"time"
)

// changed is called when a connection's state has.
func (r *roster) changed(number int, s linkState, now time.Time) {
	l := r.links[number]
	if l == nil || l.state == s {
		return
	}
	p := l.owner
	l.state = s
	r.log.Debug("connection changed", "participant", p.id, "connection", number, "state", s)
	switch s {
	case connected:
		r.works(l, now)
	case disconnected:
		if l.worked {
			wait := RestartAfter
			if !l.ours {
				wait = TheirRestartAfter
			}
			r.ail(l, wait, now)
		}
	case failed:
		r.log.Warn("connection failed", "participant", p.id, "connection", number)
		if l.worked && p.present && (!l.restarting || now.Before(l.ailing.Add(ReviveTime))) {
			l.restarting = false
			r.ail(l, 0, now)
			return
		}
		r.drop(l, "failed", now)
		r.retry(p, now)
	case closed:
		// Who hangs up has a reason. But who saw us leave, when we had lost
		// the server, waits for an offer from the newcomer.
		r.drop(l, "closed by participant", now)
		if l.stay != r.stays {
			r.retry(p, now)
		}
	}
}

// works is called when a link is connected, for the first time or again.
func (r *roster) works(l *link, now time.Time) {
	p := l.owner
	l.expires, l.restartAt, l.ailing, l.dead = time.Time{}, time.Time{}, time.Time{}, false
	if l.restarting {
		l.restarting = false
		r.log.Info("connection restored", "participant", p.id, "connection", l.number)
	}
	if l.worked {
		return
	}
	l.worked, l.since = true, now
	r.log.Info("connected with participant", "participant", p.id, "connection", l.number)
	for _, old := range slices.Clone(p.links) {
		if old != l {
			r.drop(old, "replaced", now)
		}
	}
}

// ail is called when a link that worked has ceased to, which is mended after
// wait, unless it comes back by itself.
func (r *roster) ail(l *link, wait time.Duration, now time.Time) {
	if l.restarting {
		return
	}
	l.restartAt = now.Add(wait)
	if l.expires.IsZero() {
		l.expires = now.Add(DisconnectTimeout)
	}
	if l.ailing.IsZero() {
		l.ailing = now
	}
}

// moved is called when our addresses have changed, so that a link can't work
// any more, or could again.
func (r *roster) moved(number int, now time.Time) {
	l := r.links[number]
	if l == nil || !l.worked {
		return
	}
	l.restarting = l.restarting && (l.busy || l.asked)
	r.ail(l, 0, now)
	l.restartAt = now
}

// restart has a link that does not work any more connect again. Whoever knows
// us under another id, or is known to know no restart, gets an offer of a new
// connection instead; the old one may still come back before that works.
func (r *roster) restart(l *link, now time.Time) {
	if l.busy || l.asked {
		l.restartAt = now.Add(time.Second) // one negotiation at a time
		return
	}
	l.restartAt = time.Time{}
	if l.self != r.self || l.owner.rebuilds {
		l.expires = now.Add(ConnectTimeout)
		r.propose(l.owner, now)
		return
	}
	l.busy, l.restarting, l.dead = true, true, false
	l.expires = now.Add(RestartTimeout)
	r.log.Info("restarting ICE", "participant", l.owner.id, "connection", l.number)
	r.offer(l.conn, l.number)
}

// rebuild gives a link up whose restart has come to nothing, and offers another
// at once.
func (r *roster) rebuild(l *link, now time.Time) {
	p := l.owner
	p.held = nil // it can only have been for this connection
	r.drop(l, "restart failed", now)
	r.propose(p, now)
}
