package signaling

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a Queue.
const (
	// QueueLimit is how many packets, reports and messages a Queue holds before it drops
	// what arrives: more than 20 publishers of 2.5 Mbit/s send while a disk
	// stalls for 8 s. Full, it holds some 100 MB.
	QueueLimit = 65536
	// queueHardLimit is how many events of any kind a Queue holds. Joins and
	// tracks are never dropped below it, and the room is lost at it.
	queueHardLimit = QueueLimit + 8192
	// MessageLimit is how many bytes of data channel messages wait in a Queue
	// before PushMessage waits.
	MessageLimit = 16 << 20
	// messagePoll is how often it looks whether it still has to.
	messagePoll = 10 * time.Millisecond
	// queueKeep is the capacity that an empty queue keeps for the next batch.
	queueKeep = 2048

	// DefaultCoalesce is how long a packet waits, at most, for others before
	// the consumer is woken. Arrival is stamped before that, so a recorder
	// loses nothing by it, and wake-ups are about half of what receiving costs.
	DefaultCoalesce = 20 * time.Millisecond
	// wakeBatch is how many waiting events wake the consumer at once.
	wakeBatch = 256
)

// Queue carries events from the many goroutines of a room's connections to the
// one that calls Next. Kinds of room embed it: its Next is Room.Next.
//
// Push may be called by any goroutine, also while Next waits; Next by one.
//
// Packets wake the consumer in batches (see DefaultCoalesce), everything else
// at once. A producer stamps an event before it pushes it, so two producers may
// push in another order than they stamped. Next puts those that wait together in
// order, and raises the Time of one that still comes too late to that of the one
// before it (the packet's Arrival with it), so that Time never falls. One
// producer must push in the order of Time; that order, and the order of equal
// times, stays.
//
// The zero Queue is not ready for use; call NewQueue.
type Queue struct {
	coalesce time.Duration
	wake     chan struct{} // holds a token when the consumer must look

	messages atomic.Int64 // bytes of those that wait

	mu      sync.Mutex
	in      []Event
	waiting waiting
	closed  bool
	err     error // why it was closed; io.EOF without a reason
	dropped uint64

	// What follows belongs to the consumer.
	out    []Event
	next   int
	last   time.Time // Time of the event returned last
	busy   bool      // the last wait ended with an event, so the next may come soon
	timer  *time.Timer
	ending error // returned when out is empty
	failed error // sticky
}

// waiting tells producers what the consumer waits for.
type waiting uint8

const (
	waitingNot   waiting = iota // it will look by itself, soon
	waitingRare                 // anything but a packet, or a whole batch
	waitingEvent                // whatever comes
)

// NewQueue makes a queue that wakes its consumer for packets at most once in
// coalesce; 0 means DefaultCoalesce.
func NewQueue(coalesce time.Duration) *Queue {
	if coalesce <= 0 {
		coalesce = DefaultCoalesce
	}
	return &Queue{coalesce: coalesce, wake: make(chan struct{}, 1)}
}

// Push adds e, whose Time must be set, and takes over e.Packet. It never
// blocks. It reports whether the event was kept: a packet, report or message is dropped
// when QueueLimit events wait, and anything after Close. When events that can't
// be dropped pile up beyond all measure, the queue is closed with ErrLost.
func (q *Queue) Push(e Event) bool {
	q.mu.Lock()
	kept := q.put(&e)
	wake := q.waiting == waitingEvent ||
		q.waiting == waitingRare && (!e.frequent() || len(q.in) >= wakeBatch)
	if wake {
		q.waiting = waitingNot
	}
	q.mu.Unlock()
	if wake {
		q.signal()
	}
	if !kept && e.Packet != nil {
		e.Packet.Release()
	}
	return kept
}

// PushMessage is Push for a MessageArrived. While MessageLimit bytes of messages
// or too many events wait, it does, so that who sends much is slowed down to the
// pace of the consumer and nothing is lost. It gives up when stop is closed.
func (q *Queue) PushMessage(e Event, stop <-chan struct{}) bool {
	for q.messages.Load() >= MessageLimit || q.long() {
		t := time.NewTimer(messagePoll)
		select {
		case <-stop:
			t.Stop()
			return false
		case <-t.C:
		}
	}
	e.Time = time.Now()
	return q.Push(e)
}

// long tells whether the queue has less room than packets may need.
func (q *Queue) long() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.in) >= QueueLimit/2 && !q.closed
}

// put is called locked.
func (q *Queue) put(e *Event) bool {
	switch {
	case q.closed:
		return false
	case len(q.in) >= QueueLimit && e.frequent():
		q.dropped++
		return false
	case len(q.in) >= queueHardLimit:
		q.closed = true
		q.err = fmt.Errorf("%w: more than %d events wait", ErrLost, queueHardLimit)
		return false
	}
	q.in = append(q.in, *e)
	if e.Message != nil {
		q.messages.Add(int64(e.Message.Size()))
	}
	return true
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// frequent tells the kinds that may be dropped and that wait for company.
func (e *Event) frequent() bool {
	return e.Kind == PacketArrived || e.Kind == Reported || e.Kind == MessageArrived
}

// Dropped counts the packets, reports and messages that Push has dropped because the
// queue was full.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Behind tells for how long, at a time, the oldest event that Next has not looked
// at has waited; 0 when there is none. Any goroutine may call it.
func (q *Queue) Behind(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.in) == 0 {
		return 0
	}
	return max(now.Sub(q.in[0].Time), 0)
}

// Close ends the queue: Next still returns what was pushed before, then err, or
// io.EOF when err is nil. Only the first call counts.
func (q *Queue) Close(err error) {
	if err == nil {
		err = io.EOF
	}
	q.mu.Lock()
	if !q.closed {
		q.closed, q.err = true, err
	}
	q.waiting = waitingNot
	q.mu.Unlock()
	q.signal()
}

// Next does what Room.Next says. When ctx is done, the events that had been
// pushed by then are still returned, and then ctx's error.
func (q *Queue) Next(ctx context.Context, deadline time.Time) (Event, error) {
	for {
		if q.next < len(q.out) {
			return q.pop(), nil
		}
		if q.failed != nil {
			return Event{}, q.failed
		}
		if q.ending != nil {
			q.failed = q.ending
			return Event{}, q.failed
		}
		if q.take(ctx) {
			continue
		}
		if q.ending != nil {
			continue
		}
		now := time.Now()
		if !deadline.IsZero() && !now.Before(deadline) {
			return Event{Kind: Tick, Time: q.clamp(now)}, nil
		}
		q.wait(ctx, now, deadline)
	}
}

// pop returns the next event of the batch. The batch is not empty.
func (q *Queue) pop() Event {
	e := q.out[q.next]
	q.out[q.next] = Event{}
	q.next++
	if e.Message != nil {
		q.messages.Add(-int64(e.Message.Size()))
	}
	if t := q.clamp(e.Time); t != e.Time {
		e.Time = t
		if e.Packet != nil {
			e.Packet.Arrival = t
		}
	}
	return e
}

func (q *Queue) clamp(t time.Time) time.Time {
	if t.Before(q.last) {
		return q.last
	}
	q.last = t
	return t
}

// take swaps in the batch that has gathered, and reports whether there is one.
// It sets ending when no batch will follow.
func (q *Queue) take(ctx context.Context) bool {
	done := ctx.Err()
	empty := q.out[:0]
	if cap(empty) > queueKeep {
		empty = nil
	}
	q.mu.Lock()
	q.waiting = waitingNot
	q.out, q.in, q.next = q.in, empty, 0
	if q.closed {
		q.ending = q.err
	}
	q.mu.Unlock()
	if done != nil {
		q.ending = done
	}
	byTime := func(a, b Event) int { return a.Time.Compare(b.Time) }
	if !slices.IsSortedFunc(q.out, byTime) {
		slices.SortStableFunc(q.out, byTime)
	}
	return len(q.out) > 0
}

// wait returns when there may be something to do. While packets flow it looks
// every q.coalesce, which costs producers nothing; when none came for that
// long, it asks to be woken by the next.
func (q *Queue) wait(ctx context.Context, now time.Time, deadline time.Time) {
	q.mu.Lock()
	pending := len(q.in) > 0 || q.closed
	if !pending {
		q.waiting = waitingEvent
		if q.busy {
			q.waiting = waitingRare
		}
	}
	q.mu.Unlock()
	if pending {
		return
	}

	var timeout <-chan time.Time
	d := q.coalesce
	if !deadline.IsZero() && (!q.busy || deadline.Sub(now) < d) {
		d = deadline.Sub(now)
	}
	if q.busy || !deadline.IsZero() {
		if q.timer == nil {
			q.timer = time.NewTimer(d)
		} else {
			q.timer.Reset(d)
		}
		timeout = q.timer.C
	}
	select {
	case <-q.wake:
	case <-timeout:
	case <-ctx.Done():
	}
	if timeout != nil {
		q.timer.Stop()
	}
	q.mu.Lock()
	q.waiting = waitingNot
	q.busy = len(q.in) > 0
	q.mu.Unlock()
}
