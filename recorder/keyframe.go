package recorder

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

// keyframeAsker decides when the sender of a video is asked for a keyframe: as
// soon as the track exists and whenever a break can't be mended, again with
// back-off until a keyframe comes; and when none came for cueInterval.
type keyframeAsker struct {
	to signaling.Feedback // nil: nobody is there to be asked
	// next is when to ask; zero: not before something comes.
	next time.Time
	// every is the wait after the next request.
	every time.Duration
	// asked is the time of the latest request.
	asked  time.Time
	wanted bool
	// heard is set by each packet and cleared by each request; unheard counts
	// the requests since the latest packet.
	heard   bool
	unheard int

	// stage is how far the latest keyframe has got whose beginning has arrived,
	// since when, and stamp its timestamp.
	stage keyframeStage
	since time.Time
	stamp uint32
}

// keyframeStage is how far a keyframe has got of which the beginning is here. It
// may have to wait for packets that are missing before it or in it, and it would
// be a waste to ask for another one meanwhile.
type keyframeStage uint8

const (
	keyframeNone    keyframeStage = iota
	keyframeArrived               // it waits in the jitter buffer
	keyframeOpened                // the depacketizer has its first packet
)

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

// arrived notes that the beginning of a keyframe has.
func (k *keyframeAsker) arrived(timestamp uint32, now time.Time) {
	if k.stage != keyframeNone && int32(timestamp-k.stamp) <= 0 {
		return
	}
	k.stage, k.since, k.stamp = keyframeArrived, now, timestamp
	k.wanted = false
	k.next = now.Add(cueInterval)
}

// popped notes that a packet goes to the depacketizer.
func (k *keyframeAsker) popped(timestamp uint32, now time.Time) {
	switch behind := int32(timestamp - k.stamp); {
	case k.stage == keyframeNone || behind < 0:
	case behind > 0: // whatever became of it, there is no waiting for it
		k.stage = keyframeNone
	case k.stage == keyframeArrived:
		k.stage, k.since = keyframeOpened, now
	}
}

// keyframe notes that a keyframe is complete.
func (k *keyframeAsker) keyframe(timestamp uint32, now time.Time) {
	if int32(timestamp-k.stamp) >= 0 {
		k.stage = keyframeNone
	}
	k.wanted = false
	if k.to != nil {
		k.next = now.Add(cueInterval)
	}
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
		if again := k.asked.Add(max(keyframeRetry, k.to.RoundTrip()*3/2)); !k.asked.IsZero() && again.After(now) {
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

// begins tells whether a packet of the track begins a keyframe.
func (t *track) begins(p *media.Packet) bool {
	return depacket.BeginsKeyframe(t.in.Codecs[p.PayloadType], p.Payload)
}

// canBegin tells whether the track can be recorded from a packet on.
func (t *track) canBegin(p *media.Packet) bool {
	return depacket.BeginsStream(t.in.Codecs[p.PayloadType], p.Payload, len(t.in.ParameterSets[p.PayloadType]) > 0)
}

// askKeyframe asks the sender for a keyframe when frames are being lost until
// one comes, or will be (see hopeless), and when the next file is to begin. It
// gives the time to ask next.
func (t *track) askKeyframe(now time.Time) time.Time {
	doubt := t.buf.DoubtAt()
	if !t.nacks && !doubt.IsZero() { // what is missing can only be late
		doubt = t.buf.Noticed().Add(lateDoubt)
	}
	// A keyframe that is on its way is given time, but where nothing is sent
	// again, only until it should be whole.
	patience := t.keys.since.Add(keyframeRetryMax)
	needed := false
	switch t.keys.stage {
	case keyframeArrived:
		if patience = (time.Time{}); !t.nacks {
			patience = t.keys.since.Add(lateDoubt)
		}
		needed = reached(patience, now) && t.hopeless(doubt, now)
	case keyframeOpened:
		needed = t.hopeless(doubt, now) || reached(patience, now)
	default:
		needed = t.dep == nil || t.dep.NeedsKeyframe() || t.unkeyed || t.awaitsReturn() || reached(t.cutAsk(), now) || t.hopeless(doubt, now)
	}
	t.keys.update(needed, now)
	due := t.keys.next
	for _, at := range []time.Time{doubt, patience, t.cutAsk()} {
		if at.After(now) {
			due = earliest(due, at)
		}
	}
	return due
}

// hopeless tells whether the packet that all others wait for will hardly come
// any more, since it was sent so long ago that the sender can't send it again or
// since the sender never does, and whether a keyframe must mend what its loss
// breaks. The packet is waited for all the same.
func (t *track) hopeless(doubt, now time.Time) bool {
	if !reached(doubt, now) {
		return false
	}
	if dep, ok := t.dep.(depacket.Foreseer); ok {
		if after, lost := t.buf.Gap(); after != nil && after.PayloadType == t.payloadType {
			return dep.Breaks(after, lost)
		}
	}
	return true
}
