// Package health judges how well a connection carries what is sent by it: the rule
// by which a forwarding server sends a subscriber less, and a publisher encodes
// less. It has no clocks.
//
// How a recording suffers is judged elsewhere, by what is missing for good after
// everything was asked for again. Who sends knows of losses before that, and of
// what it believes to get through.
package health

import (
	"strings"
	"time"
)

const (
	// A connection is poor when, for poorAfter, poorLoss of the packets have been
	// lost, or less gets through than is needed and fineLoss has been lost: an
	// estimate alone may be of a machine that was busy for a while.
	poorAfter = 3 * time.Second
	poorLoss  = 0.1
	// It has recovered when for fineAfter there was neither, and less than
	// fineLoss was lost. Each time it is poor again within relapse, that takes
	// twice as long, up to fineMost.
	fineAfter = 5 * time.Second
	fineLoss  = 0.03
	fineMost  = 2 * time.Minute
	relapse   = 30 * time.Second
	// Sending less may not help: some links lose as much of whatever they are
	// given. If after trial more than half of the loss is left, it is one of those.
	trial = 15 * time.Second
	// severeAfter is how long sending less has not sufficed before even less is
	// sent.
	severeAfter = 3 * time.Second
)

// Judge judges one connection. The zero Judge is ready for use, by one goroutine
// at a time.
type Judge struct {
	poor         bool
	lossy, short bool      // why
	useless      bool      // sending less has not helped against loss
	since        time.Time // since when it is as it would have to be for a change; zero: it is not
	began, ended time.Time
	loss         float64 // when it became poor
	severe       bool
	wait         time.Duration
}

// Look judges at an instant, of which none is before the last: loss is the share
// of packets, from 0 to 1, that were lost of late, and short is set when less gets
// through than is needed. It tells whether Poor has changed. It is to be called
// every second or more often.
func (j *Judge) Look(now time.Time, loss float64, short bool) (changed bool) {
	lossy := loss >= poorLoss
	var other bool // it is not as it was judged
	if j.poor {
		other = loss < fineLoss && !short
	} else {
		short = short && loss >= fineLoss
		other = lossy || short
	}
	if !other {
		j.since = time.Time{}
	} else if j.since.IsZero() {
		j.since = now
	}
	if j.poor {
		j.short = j.short || short
		j.severe = j.severe || short && lossy && now.Sub(j.began) >= severeAfter
		if !j.lossy && lossy {
			j.lossy, j.loss, j.began = true, loss, now
		}
		if j.lossy && !j.useless && now.Sub(j.began) >= trial && loss > j.loss/2 {
			j.useless = true
		}
		if !other || now.Sub(j.since) < j.wait {
			return false
		}
		j.poor, j.severe, j.ended, j.since = false, false, now, time.Time{}
		return true
	}
	if !other || now.Sub(j.since) < poorAfter {
		return false
	}
	switch {
	case j.wait == 0 || now.Sub(j.ended) > max(relapse, j.wait):
		j.wait = fineAfter
	default:
		j.wait = min(2*j.wait, fineMost)
	}
	j.poor, j.lossy, j.short, j.useless = true, lossy, short, false
	j.began, j.loss, j.since = now, loss, time.Time{}
	return true
}

// Poor tells whether the connection is poor.
func (j *Judge) Poor() bool { return j.poor }

// Relief tells whether less is to be sent, since the connection is poor and that
// may help.
func (j *Judge) Relief() bool { return j.poor && (j.short || j.lossy && !j.useless) }

// Severe tells whether it was not enough to send less: much is lost still, and less
// gets through than is needed.
func (j *Judge) Severe() bool { return j.severe && j.Relief() }

// Reasons says why the connection is poor, or was last: "loss", "bitrate" or both.
func (j *Judge) Reasons() string {
	var out []string
	if j.lossy {
		out = append(out, "loss")
	}
	if j.short {
		out = append(out, "bitrate")
	}
	return strings.Join(out, ", ")
}
