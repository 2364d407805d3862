package peer

import "time"

// Times of asking for lost packets on behalf of a receiver that has stopped
// reading.
const (
	// behindAfter is for how long events must have waited unread.
	behindAfter = 150 * time.Millisecond
	// unreadEvery is the least time between two requests, and unreadAge how
	// old the newest packet was, at most, when what is asked for was missed.
	unreadEvery = 100 * time.Millisecond
	unreadAge   = 3 * time.Second
)

// remembered is how many sequence numbers of a track are.
const remembered = 8192

// arrived knows which packets of a track have come. The receiver of the events
// asks for what is missing, by Nack; but while it waits for its disk, say, it
// asks for nothing, and senders keep packets for a second only. So the
// connection asks in its place.
type arrived struct {
	began  bool
	first  uint16 // after the last beginning
	newest uint16
	got    [remembered / 64]uint64 // a bit for each sequence number

	asked time.Time
	// marks are the newest sequence number at past times, in their order.
	marks []mark
}

type mark struct {
	at     time.Time
	newest uint16
}

// has tells whether a packet is known to have come.
func (a *arrived) has(n uint16) bool {
	return a.began && a.newest-n < remembered && a.got[n%remembered/64]&(1<<(n%64)) != 0
}

// note takes the sequence number of a packet that has come.
func (a *arrived) note(n uint16) {
	ahead := int(int16(n - a.newest))
	switch {
	case !a.began, ahead > remembered/2, ahead < -remembered/2: // or begun anew
		*a = arrived{began: true, first: n, newest: n, marks: a.marks[:0]}
	case ahead > 0:
		for a.newest != n {
			a.newest++
			a.got[a.newest%remembered/64] &^= 1 << (a.newest % 64)
		}
	}
	a.got[n%remembered/64] |= 1 << (n % 64)
}

// mark remembers where the track is; it is called regularly, or more often.
func (a *arrived) mark(now time.Time) {
	last := len(a.marks) - 1
	if !a.began || last >= 0 && now.Sub(a.marks[last].at) < reportEvery/2 {
		return
	}
	if last < 0 {
		a.marks = append(a.marks, mark{now, a.first})
	}
	old := 0
	for old+1 < len(a.marks) && now.Sub(a.marks[old+1].at) > unreadAge {
		old++
	}
	a.marks = append(a.marks[:0], a.marks[old:]...)
	a.marks = append(a.marks, mark{now, a.newest})
}

// missing appends the sequence numbers that are to be asked for in place of a
// receiver that is behind. What the newest packets may have overtaken is left
// for the next time.
func (a *arrived) missing(now time.Time, roundTrip time.Duration, to []uint16) []uint16 {
	if len(a.marks) < 2 || now.Sub(a.asked) < max(unreadEvery, roundTrip+roundTrip/4) {
		return to
	}
	a.asked = now
	// The newest are those that senders still have.
	last := a.marks[len(a.marks)-1].newest
	first := last - min(last-a.marks[0].newest, maxNacks)
	for n := first; n != last && len(to) < maxNacks; n++ {
		if !a.has(n) {
			to = append(to, n)
		}
	}
	return to
}
