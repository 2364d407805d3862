package server

import (
	"sync"

	"github.com/coder/websocket"
)

// The bounds of what waits to be written to one peer. The number leaves room
// for everybody in a full room to come at once with all their candidates; the
// bytes for four messages of the largest kind.
const (
	maxQueued      = 4096
	maxQueuedBytes = 4 << 20
)

// outbox is the bounded queue of messages to one peer: many put, one takes.
type outbox struct {
	ready chan struct{} // has a token when there may be something to take

	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	ended  bool
	status websocket.StatusCode
	reason string
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

// put queues b, which it keeps, and never waits. It returns false when the
// queue is full. After end it does nothing.
func (o *outbox) put(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return true
	}
	// One message always fits, however large the limits allow it to be.
	if len(o.queue) >= maxQueued || (len(o.queue) > 0 && o.bytes+len(b) > maxQueuedBytes) {
		return false
	}
	o.queue = append(o.queue, b)
	o.bytes += len(b)
	o.wake()
	return true
}

// end lets what is queued go out and then closes the socket. The first call
// decides the status and the reason.
func (o *outbox) end(status websocket.StatusCode, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.ended, o.status, o.reason = true, status, reason
		o.wake()
	}
}

// over tells whether end was called.
func (o *outbox) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// take gives the next message, or ok=false when there is none, and then tells
// whether there will ever be one.
func (o *outbox) take() (b []byte, ok, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil, false, o.ended
	}
	b = o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	o.bytes -= len(b)
	return b, true, false
}

func (o *outbox) closing() (websocket.StatusCode, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status, o.reason
}
