package lossy

import (
	"container/heap"
	"net"
	"sync"
	"time"
)

// buffer is a packet on its way.
type buffer struct {
	room   [maxPacket]byte
	packet []byte
	from   *net.UDPConn // the port that it leaves by
	to     *port        // the port whose owner it goes to

	due   time.Time
	order uint64 // of those that are due at the same time
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// send sends the packet and frees the buffer.
func (b *buffer) send() {
	// A packet that a socket does not take is one that the network has lost.
	if _, err := b.from.WriteToUDPAddrPort(b.packet, b.to.addr); err == nil {
		b.to.link.sent(b.packet)
	}
	b.free()
}

func (b *buffer) free() {
	b.packet, b.from, b.to = nil, nil, nil
	buffers.Put(b)
}

// queue orders buffers by their time; it implements heap.Interface.
type queue []*buffer

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(b any)   { *q = append(*q, b.(*buffer)) }

func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].order < q[j].order
	}
	return q[i].due.Before(q[j].due)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	b := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return b
}

// schedule sends packets when their time has come.
type schedule struct {
	wake chan struct{} // the first one has changed, or there is an end
	quit chan struct{}

	mu    sync.Mutex
	queue queue
	order uint64
}

func newSchedule() *schedule {
	return &schedule{wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

func (s *schedule) add(b *buffer, due time.Time) {
	s.mu.Lock()
	s.order++
	b.due, b.order = due, s.order
	heap.Push(&s.queue, b)
	first := s.queue[0] == b
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

func (s *schedule) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := s.flush(time.Now())
		if next <= 0 {
			next = time.Hour
		}
		timer.Reset(next)
		select {
		case <-s.quit:
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// flush sends what is due, and tells how long it is until more is; 0 when there
// is nothing.
func (s *schedule) flush(now time.Time) time.Duration {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return 0
		}
		if wait := s.queue[0].due.Sub(now); wait > 0 {
			s.mu.Unlock()
			return wait
		}
		b := heap.Pop(&s.queue).(*buffer)
		s.mu.Unlock()
		b.send()
	}
}

func (s *schedule) close() { close(s.quit) }
