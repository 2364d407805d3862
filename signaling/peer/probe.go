package peer

import "time"

const (
	// A probe is sent within probeFor, in probeLeast packets at least.
	probeFor   = 20 * time.Millisecond
	probeLeast = 5
	// probeStep is the least time between packets that do not go together.
	probeStep = time.Millisecond
	// padding is the payload of a packet of a probe in bytes: as much as padding can be
	// (RFC 3550 §5.1).
	padding = 255
	// probeFirst is by how much more than is known to get through the first probe
	// tries, and probeMore those after one that got through.
	probeFirst, probeMore = 10, 3
	// probeThrough is at how much of its rate a probe must arrive, in per cent.
	probeThrough = 85
	// probeAfter is how long after a congestion a probe is made.
	probeAfter = time.Second
	// probeAgain is how long after one that did not get through another one is made,
	// which doubles each time, up to probeRarely.
	probeAgain  = 4 * time.Second
	probeRarely = 20 * time.Second
	// probeAnswer is for how long the feedback of a probe is waited for.
	probeAnswer = time.Second
)

// probing finds out by a short burst of padding whether more gets through than is
// sent. It is a part of the estimator, which guards it.
type probing struct {
	// send sends a probe of so many packets within probeFor, and calls its probed; it
	// must not block. nil: there can be none.
	send func(packets int) bool
	// wanted is how much would be of use, in bit/s.
	wanted int

	cluster  uint8 // that of packets that are being sent; 0: of none
	underway bool
	launched time.Time
	gotten   bool
	wait     time.Duration
	next     time.Time
}

// want tells how much could be sent, in bit/s: nobody tries for more.
func (e *estimator) want(bitrate int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wanted = min(bitrate, e.max)
}

// probes tells whether probes find out what gets through. It is called locked.
func (e *estimator) probes() bool { return e.send != nil }

// climbing tells whether a probe is under way or about to be, so that it will soon be
// known whether more gets through.
func (e *estimator) climbing(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.probes() && e.extID != 0 && (e.underway || e.due(now))
}

// due is called locked.
func (e *estimator) due(now time.Time) bool {
	return e.wanted > e.limit && now.Sub(e.congested) >= probeAfter && !now.Before(e.next)
}

// judge looks at what became of a probe, and makes the next one. It is called
// locked, when feedback has come.
func (e *estimator) judge(now time.Time) {
	if !e.probes() {
		return
	}
	if e.underway {
		if e.cluster != 0 {
			return // it is still being sent
		}
		sent, arrived, ok := e.path.probed()
		if !ok && now.Sub(e.launched) < probeAnswer {
			return
		}
		e.underway = false
		through := ok && arrived >= sent/100*probeThrough
		if ok {
			e.limit = max(e.limit, min(min(sent, arrived)/100*95, e.max))
		}
		if !through {
			e.later(now)
			return
		}
		e.gotten, e.wait = true, 0
	}
	if !e.due(now) {
		return
	}
	factor := probeFirst
	if e.gotten {
		factor = probeMore
	}
	rate := min(factor*e.limit, max(e.wanted+e.wanted/10, e.limit+e.limit/4), e.max)
	packets := max(int(float64(rate)*probeFor.Seconds()/8)/(padding+wireHeaders), probeLeast)
	cluster := e.path.probing()
	if !e.send(packets) {
		e.next = now.Add(probeAnswer)
		return
	}
	e.underway, e.cluster, e.launched = true, cluster, now
}

// probed ends the sending of a probe.
func (e *estimator) probed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cluster = 0
}

// later waits before another probe. It is called locked.
func (e *estimator) later(now time.Time) {
	e.gotten = false
	e.wait = min(max(2*e.wait, probeAgain), probeRarely)
	e.next = now.Add(e.wait)
}

// abandon gives a probe up since there is too much already. It is called locked.
func (e *estimator) abandon(now time.Time) {
	if e.underway && e.cluster == 0 {
		e.underway = false
		e.later(now)
	}
}

// probe sends padding by a track that has a source for what is sent again, and tells
// whether there is one.
func (out *outlets) probe(packets int) bool {
	var by *Outlet
	out.mu.Lock()
	for _, o := range out.all {
		o.mu.Lock()
		if o.rtx != 0 && o.packets > 0 {
			by = o
		}
		o.mu.Unlock()
	}
	out.mu.Unlock()
	if by == nil {
		return false
	}
	go func() {
		defer out.estimate.probed()
		t := time.NewTimer(0)
		defer t.Stop()
		for began, n := time.Now(), 0; n < packets; {
			select {
			case <-out.repeats.stop:
				return
			case <-t.C:
			}
			// The last one goes at the end of probeFor.
			for due := 1 + int(time.Since(began)*time.Duration(packets-1)/probeFor); n < min(due, packets); n++ {
				by.pad()
			}
			t.Reset(max(time.Until(began.Add(probeFor*time.Duration(n)/time.Duration(max(packets-1, 1)))), probeStep))
		}
	}()
	return true
}

// pad sends a packet that has nothing but padding.
func (o *Outlet) pad() {
	o.mu.Lock()
	h := o.padding()
	o.mu.Unlock()
	if h.SSRC != 0 {
		_ = o.conn.outlets.Load().estimate.write(&h, pad[:])
	}
}
