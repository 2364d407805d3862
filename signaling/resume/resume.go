// Package resume lets two sides go on with what they say to each other over another
// connection when theirs has broken. What was on its way then may have come or
// not, so each side counts what has come, keeps what it has sent last, and sends
// again what the other one lacks. So everything comes once, and in order.
//
// What is said is in docs/SFU.md.
package resume

import "time"

// What a Log keeps at most. Who lacks more than that begins anew.
const (
	MaxMessages = 1024
	MaxBytes    = 1 << 20
)

// Log has what was sent last to one other side. The zero value keeps messages
// until there are too many of them. It is not safe for concurrent use.
type Log[T any] struct {
	// For is how long a message is kept; 0: for as long as there is room.
	For time.Duration

	sent  uint64 // since the beginning
	kept  []entry[T]
	bytes int
}

type entry[T any] struct {
	message T
	size    int
	at      time.Time
}

// Add keeps a message of size bytes that is sent now.
func (l *Log[T]) Add(m T, size int, now time.Time) {
	l.sent++
	l.kept = append(l.kept, entry[T]{m, size, now})
	l.bytes += size
	l.Forget(now)
}

// Forget drops what is older than For, or too much.
func (l *Log[T]) Forget(now time.Time) {
	n := 0
	for n < len(l.kept) && (len(l.kept)-n > MaxMessages || l.bytes > MaxBytes || l.For > 0 && now.Sub(l.kept[n].at) > l.For) {
		l.bytes -= l.kept[n].size
		n++
	}
	if n > 0 { // without what went before, which the array would keep
		l.kept = append([]entry[T](nil), l.kept[n:]...)
	}
}

// Since gives all messages but the first n. It is not ok when some of them are not
// kept any more, or when fewer were sent.
func (l *Log[T]) Since(n uint64) (missed []T, ok bool) {
	first := l.sent - uint64(len(l.kept)) // how many came before those that are kept
	if n < first || n > l.sent {
		return nil, false
	}
	for _, e := range l.kept[n-first:] {
		missed = append(missed, e.message)
	}
	return missed, true
}
