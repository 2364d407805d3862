package peer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling/message"
)

// Continues tells whether a description comes from the peer connection that
// this one is connected to. Answer can take such an offer, as an ICE restart or
// a changed set of tracks, and Accept such an answer to an offer to restart.
// Any other needs a new Conn.
func (c *Conn) Continues(remote message.Description) bool {
	d, err := parse(remote.SDP)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.described && !c.closed && c.state != Closed && identify(d) == c.remote
}

// expect prepares for descriptions that begin ICE anew: candidates of the next
// generation wait for theirs, on both sides.
func (c *Conn) expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending, c.trickling = true, false
}

// resume tells our candidates that have waited for the description that they
// belong to.
func (c *Conn) resume() {
	c.mu.Lock()
	c.trickling = true
	held := c.held
	c.held = nil
	for i := range held {
		c.name(&held[i])
	}
	c.mu.Unlock()
	for _, h := range held {
		c.opts.OnCandidate(h)
	}
}

// name says which generation a candidate of ours belongs to. It is called
// locked.
func (c *Conn) name(own *message.Candidate) {
	if ufrag := c.ufrag; own.UsernameFragment == nil && ufrag != "" {
		own.UsernameFragment = &ufrag
	}
}

// AddCandidate takes a candidate of the peer's; before the remote description
// that it belongs to is set, it is kept until then. The empty candidate, which
// ends the candidates, does nothing. A bad one gives an error that wraps
// ErrCandidate and does no harm.
func (c *Conn) AddCandidate(cand message.Candidate) error {
	if strings.TrimPrefix(cand.Candidate, "candidate:") == "" {
		return nil
	}
	if len(cand.Candidate) > 4096 {
		return fmt.Errorf("%w: %w: %d bytes", ErrCandidate, ErrLimit, len(cand.Candidate))
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if c.accepted >= MaxCandidates {
		c.mu.Unlock()
		return fmt.Errorf("%w: %w: more than %d", ErrCandidate, ErrLimit, MaxCandidates)
	}
	c.accepted++
	if c.early(cand) {
		c.candidates = append(c.candidates, cand)
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	return c.add(cand)
}

// early tells whether a candidate belongs to a description that has not come
// yet. Those that don't say which they belong to are the next one's, if one is
// to come. It is called locked.
func (c *Conn) early(cand message.Candidate) bool {
	if u := fragment(cand); u != "" && c.described {
		return !slices.Contains(c.ufrags, u)
	}
	return !c.described || c.pending
}

func (c *Conn) add(cand message.Candidate) error {
	err := c.pc.AddICECandidate(webrtc.ICECandidateInit{
		Candidate: cand.Candidate, SDPMid: cand.SDPMid, SDPMLineIndex: cand.SDPMLineIndex,
		UsernameFragment: cand.UsernameFragment,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCandidate, c.or(err))
	}
	return nil
}

// fragment gives the username fragment that a candidate says it belongs to, or
// "".
func fragment(cand message.Candidate) string {
	if cand.UsernameFragment != nil {
		return *cand.UsernameFragment
	}
	_, after, _ := strings.Cut(cand.Candidate, " ufrag ")
	u, _, _ := strings.Cut(after, " ")
	return u
}

// ufrags gives the username fragments of a description (RFC 8839 §5.4).
func ufrags(d *sdp.SessionDescription) []string {
	var all []string
	if v, ok := d.Attribute("ice-ufrag"); ok {
		all = append(all, v)
	}
	for _, m := range d.MediaDescriptions {
		if v, ok := m.Attribute("ice-ufrag"); ok && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// trickle tells one of our candidates.
func (c *Conn) trickle(cand *webrtc.ICECandidate) {
	if cand == nil {
		c.factory.gathered(int(c.relays.Swap(0)))
		return
	}
	if cand.Typ == webrtc.ICECandidateTypeRelay {
		c.relays.Add(1)
	}
	if c.opts.OnCandidate == nil {
		return
	}
	j := cand.ToJSON()
	out := message.Candidate{
		Candidate: j.Candidate, SDPMid: j.SDPMid, SDPMLineIndex: j.SDPMLineIndex, UsernameFragment: j.UsernameFragment,
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	if !c.trickling {
		c.held = append(c.held, out)
		c.mu.Unlock()
		return
	}
	c.name(&out)
	c.mu.Unlock()
	c.opts.OnCandidate(out)
}
