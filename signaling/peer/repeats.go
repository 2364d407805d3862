package peer

import (
	"sync"
	"time"
)

const (
	// What is asked for again may take repeatShare of what gets through, in per cent,
	// and repeatNarrow of it where too much was sent a moment ago: new pictures need
	// the rest.
	repeatShare, repeatNarrow = 50, 25
	// repeatBurst is how much of that may go at once.
	repeatBurst = 100 * time.Millisecond
	// maxRepeats is how many packets wait to be sent again.
	maxRepeats = 2048
	// repeatsOver is over how long it is measured how much was sent again.
	repeatsOver = time.Second
)

// again is a packet that waits to be sent again.
type again struct {
	outlet *Outlet
	number uint16
}

// repeats are what the peer of a connection has asked for again, in the order in which
// it did. It is sent as fast as its share of what gets through allows. Who asks twice
// for what waits gets it once.
type repeats struct {
	mu      sync.Mutex
	queue   []again
	running bool
	closed  bool
	tokens  float64 // bytes
	last    time.Time
	stop    chan struct{}

	bytes int // since from
	from  time.Time
	rate  int // bit/s
}

// ask puts packets into the queue, and sends what may be sent.
func (out *outlets) ask(list []again) {
	r := &out.repeats
	r.mu.Lock()
	room := max(maxRepeats-len(r.queue), 0)
	refused := list[min(room, len(list)):]
	r.queue = append(r.queue, list[:len(list)-len(refused)]...)
	run := !r.running && !r.closed && len(r.queue) > 0
	r.running = r.running || run
	r.mu.Unlock()
	for _, a := range refused {
		a.outlet.forget(a.number)
	}
	if !run {
		return
	}
	if wait := out.repeat(time.Now()); wait > 0 {
		go func() {
			t := time.NewTimer(wait)
			defer t.Stop()
			for wait > 0 {
				t.Reset(wait)
				select {
				case <-r.stop:
					return
				case now := <-t.C:
					wait = out.repeat(now)
				}
			}
		}()
	}
}

// repeat sends what may be sent now, and gives when there may be more; 0: nothing
// waits.
func (out *outlets) repeat(now time.Time) time.Duration {
	r := &out.repeats
	share := repeatShare
	if out.estimate.narrow(now) {
		share = repeatNarrow
	}
	pace := float64(out.estimate.bitrate()) / 8 * float64(share) / 100 // bytes/s
	for {
		r.mu.Lock()
		r.tokens = min(r.tokens+now.Sub(r.last).Seconds()*pace, pace*repeatBurst.Seconds())
		r.last = now
		if r.closed || len(r.queue) == 0 {
			r.queue, r.running = nil, false
			r.mu.Unlock()
			return 0
		}
		if r.tokens < 0 {
			wait := time.Duration(-r.tokens / pace * float64(time.Second))
			r.mu.Unlock()
			return max(wait, time.Millisecond)
		}
		a := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		size := a.outlet.resend(a.number, now)
		r.mu.Lock()
		r.tokens -= float64(size)
		r.count(size, now)
		r.mu.Unlock()
	}
}

// count is called locked.
func (r *repeats) count(size int, now time.Time) {
	if took := now.Sub(r.from); took >= repeatsOver {
		r.rate = int(float64(8*r.bytes) / took.Seconds())
		r.bytes, r.from = 0, now
	}
	r.bytes += size
}

// bitrate gives how much was sent again of late, in bit/s.
func (r *repeats) bitrate(now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(0, now)
	return r.rate
}

func (r *repeats) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.stop)
	}
}
