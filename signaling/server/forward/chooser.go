package forward

import "time"

const (
	// headroom is how much of an estimate is used, in per cent: the rest is for
	// headers, retransmissions and keyframes.
	headroom = 90
	// raiseAfter is how long a subscriber keeps what it has before it is given
	// more. Each time that turns out to have been too much within regret, the
	// wait doubles, up to raiseMax; after calm without that it is as at first.
	raiseAfter = 3 * time.Second
	raiseMax   = 2 * time.Minute
	regret     = 15 * time.Second
	calm       = time.Minute
	// holdMost is how long somebody at most is given no more since it will soon be known
	// how much it can receive: one step up is better than one after the other.
	holdMost = 2 * time.Second
)

// Encoding is one of the encodings of a track, which is being sent.
type Encoding struct {
	Source  uint32 // SSRC
	Bitrate int    // bit/s, as measured, of what is kept; 0: not known, and not chosen but as the least
	// Layers are those of the source that are kept. A source with layers is as
	// many encodings as there are steps between them.
	Layers Layers
}

// Demand is what a subscriber wants of one track.
type Demand struct {
	// Encodings are those that are sent, the least first. Limit is how many of
	// them may be chosen, from the least; 0: all.
	Encodings []Encoding
	Limit     int
	// Anew is set when the wish is a new one, which is granted at once if it can
	// be.
	Anew bool
	// Wanted and Layers are the encoding that was chosen before, and is after
	// Choose.
	Wanted uint32
	Layers Layers
	// Video may be left out where it does not get through; Paused tells that it is.
	Video, Paused bool
}

// Least is what the least encodings of all tracks come to, in bit/s: nobody can be
// sent all of them by less than that.
func Least(demands []*Demand) int {
	sum := 0
	for _, d := range demands {
		if len(d.Encodings) > 0 {
			sum += d.Encodings[0].Bitrate
		}
	}
	return sum
}

// Most is what somebody must be able to receive, in bit/s, to be sent all that is
// wanted.
func Most(demands []*Demand) int {
	sum := 0
	for _, d := range demands {
		most := 0
		for i, e := range d.Encodings {
			if d.Limit == 0 || i < d.Limit {
				most = max(most, e.Bitrate)
			}
		}
		sum += most
	}
	return sum*100/headroom + 100
}

// Fits tells whether so much fits into an estimate of what can be received, both
// in bit/s.
func Fits(sum, estimate int) bool { return sum <= estimate/100*headroom }

// Relieve prepares Choose for somebody whose connection is poor: of no video there
// is more than the least encoding. With pause, while that does not fit, the last of
// them are paused. What is paused stays so as long as Relieve is called.
func Relieve(estimate int, pause bool, demands []*Demand) {
	sum := 0
	for _, d := range demands {
		if d.Video {
			d.Limit = 1
		}
		if !d.Paused {
			sum += Least([]*Demand{d})
		}
	}
	for i := len(demands) - 1; pause && i >= 0 && !Fits(sum, estimate); i-- {
		if d := demands[i]; d.Video && !d.Paused {
			d.Paused = true
			sum -= Least([]*Demand{d})
		}
	}
}

// index gives the place of the encoding that was chosen before, or -1.
func (d *Demand) index() int {
	for i, e := range d.Encodings {
		if e.Source == d.Wanted && e.Layers == d.Layers {
			return i
		}
	}
	return -1
}

// Chooser shares what one subscriber can receive among the tracks that it wants.
// The zero Chooser is ready for use, by one goroutine at a time.
type Chooser struct {
	wait          time.Duration
	raised, moved time.Time
	held          time.Time // since when
	hold          bool
}

// Hold tells whether it will soon be known how much more the subscriber can receive:
// until then it is not given more.
func (c *Chooser) Hold(now time.Time, soon bool) {
	if !soon {
		c.held = time.Time{}
	} else if c.held.IsZero() {
		c.held = now
	}
	c.hold = soon && now.Sub(c.held) < holdMost
}

// Choose sets the Wanted of each demand, for somebody who can receive so many
// bit/s. Nobody gets less than the least encoding; what is left is given to
// those whose next encoding is in reach, all of them one step before any of them
// two, the first of them first.
func (c *Chooser) Choose(now time.Time, estimate int, demands []*Demand) {
	budget := estimate / 100 * headroom
	chosen := make([]int, len(demands))
	sum, most := 0, 0
	for _, d := range demands {
		if len(d.Encodings) > 0 && !d.Paused {
			sum += d.Encodings[0].Bitrate
			most = max(most, len(d.Encodings))
		}
	}
	for level := 1; level < most; level++ {
		for i, d := range demands {
			if d.Paused || level >= len(d.Encodings) || d.Limit > 0 && level >= d.Limit || chosen[i] != level-1 {
				continue
			}
			more := d.Encodings[level].Bitrate - d.Encodings[level-1].Bitrate
			if d.Encodings[level].Bitrate > 0 && sum+more <= budget {
				chosen[i], sum = level, sum+more
			}
		}
	}
	if c.wait == 0 {
		c.wait = raiseAfter
	}
	raised, lowered := false, false
	for i, d := range demands {
		if len(d.Encodings) == 0 || d.Paused {
			continue
		}
		old := d.index()
		switch {
		case old < 0: // new, or its encoding has ended
		case d.Anew:
		case chosen[i] > old && (c.hold || now.Sub(c.moved) < c.wait):
			continue
		case chosen[i] > old:
			raised = true
		case chosen[i] < old && (d.Limit == 0 || old < d.Limit):
			lowered = true
		}
		d.Wanted, d.Layers = d.Encodings[chosen[i]].Source, d.Encodings[chosen[i]].Layers
	}
	switch {
	case lowered && now.Sub(c.raised) < regret:
		c.wait = min(2*c.wait, raiseMax)
	case now.Sub(c.moved) > max(calm, 2*c.wait):
		c.wait = raiseAfter
	}
	if lowered {
		c.moved = now
	}
	if raised {
		c.raised, c.moved = now, now
	}
}
