package recorder

import (
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// keyframeAsker decides when the sender of a video is asked for a keyframe: as
// soon as the track exists and whenever frames can't be decoded, again with
// back-off until a keyframe comes; and when none came for cueInterval.
type keyframeAsker struct {
	to signaling.Feedback // nil: nobody is there to be asked
	// next is when to ask; zero: not before something comes.
	next time.Time
	// every is the wait after the next request.
	every time.Duration
	// asked is the time of the latest request, got of the latest keyframe.
	asked, got time.Time
	wanted     bool
	// heard is set by each packet and cleared by each request; unheard counts
	// the requests since the latest packet.
	heard   bool
	unheard int
}

// begin asks for the first keyframe.
func (k *keyframeAsker) begin(to signaling.Feedback, now time.Time) {
	k.to = to
	k.update(true, now)
}

// packet notes that the sender sends.
func (k *keyframeAsker) packet(now time.Time) {
	k.heard = true
	k.unheard = 0
	if k.wanted && k.next.IsZero() {
		k.next = now
	}
}

// keyframe notes that a keyframe has come.
func (k *keyframeAsker) keyframe(now time.Time) {
	k.got = now
	k.wanted = false
	k.next = now.Add(cueInterval)
}

// update asks if it is time to. needed tells whether frames are lost until a
// keyframe comes.
func (k *keyframeAsker) update(needed bool, now time.Time) {
	if k.to == nil {
		return
	}
	if needed && !k.wanted {
		k.wanted = true
		k.every = keyframeRetry
		k.next = now
		if again := k.asked.Add(keyframeRetry); !k.asked.IsZero() && again.After(now) {
			k.next = again
		}
	}
	if !reached(k.next, now) {
		return
	}
	switch {
	case !k.wanted && !k.heard: // nothing was sent: nothing to seek to
		k.next = now.Add(cueInterval)
		return
	case !k.wanted:
		k.next = now.Add(cueInterval)
	case !k.heard && k.unheard >= unheardRequests:
		k.next = time.Time{}
		return
	default:
		k.next = now.Add(max(k.every, k.to.RoundTrip()*3/2))
		k.every = min(2*k.every, keyframeRetryMax)
	}
	if !k.heard {
		k.unheard++
	}
	k.heard = false
	k.asked = now
	k.to.RequestKeyframe()
}
