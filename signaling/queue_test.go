package signaling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomtape/roomtape/media"
)

var rtp = []byte{0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}

func packet(t testing.TB, at time.Time) Event {
	p, err := media.NewPacket(rtp, at)
	if err != nil {
		t.Fatal(err)
	}
	return Event{Kind: PacketArrived, Time: at, Packet: p}
}

func TestQueueTicksAtTheDeadlineAndGivesEventsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, start := NewQueue(0), time.Now()
		deadline := start.Add(time.Second)
		e, err := q.Next(t.Context(), deadline)
		if err != nil || e.Kind != Tick || !e.Time.Equal(deadline) || !time.Now().Equal(deadline) {
			t.Fatalf("got %+v, %v at %v", e, err, time.Since(start))
		}
		q.Push(packet(t, time.Now()))
		if e, _ := q.Next(t.Context(), deadline); e.Kind != PacketArrived {
			t.Errorf("with both due, got %v", e.Kind)
		}
		if e, _ := q.Next(t.Context(), deadline); e.Kind != Tick || e.Time.Before(deadline) {
			t.Errorf("got %+v, want a tick for a deadline that has gone by", e)
		}
	})
}

func TestQueueWakesAtOnceForRareEventsAndLaterForPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(10 * time.Millisecond)
		type got struct {
			kind EventKind
			at   time.Duration
		}
		start := time.Now()
		var mu sync.Mutex
		var gots []got
		done := make(chan error)
		go func() {
			for {
				e, err := q.Next(context.Background(), time.Time{})
				if err != nil {
					done <- err
					return
				}
				mu.Lock()
				gots = append(gots, got{e.Kind, time.Since(start)})
				mu.Unlock()
			}
		}()
		synctest.Wait()
		q.Push(packet(t, time.Now())) // nothing came for long: at once
		synctest.Wait()
		time.Sleep(time.Millisecond)
		q.Push(packet(t, time.Now())) // in company
		time.Sleep(time.Millisecond)
		q.Push(packet(t, time.Now()))
		time.Sleep(20 * time.Millisecond)
		q.Push(packet(t, time.Now()))
		time.Sleep(2 * time.Millisecond)
		q.Push(Event{Kind: Joined, Time: time.Now()}) // rare: at once, with what waits
		synctest.Wait()
		q.Close(nil)
		if err := <-done; err != io.EOF {
			t.Errorf("ended by %v", err)
		}
		ms := time.Millisecond
		want := []got{{PacketArrived, 0}, {PacketArrived, 10 * ms}, {PacketArrived, 10 * ms}, {PacketArrived, 22 * ms}, {Joined, 24 * ms}}
		if len(gots) != len(want) {
			t.Fatalf("got %v", gots)
		}
		for i, g := range gots {
			// The fourth may come anywhere until the fifth wakes for it.
			if g.kind != want[i].kind || g.at != want[i].at && (i != 3 || g.at < want[i].at || g.at > 24*ms) {
				t.Errorf("event %d: %v, want %v", i, g, want[i])
			}
		}
	})
}

func TestQueueTimeNeverFalls(t *testing.T) {
	q, now := NewQueue(0), time.Now()
	q.Push(packet(t, now.Add(time.Second)))
	q.Push(packet(t, now.Add(time.Millisecond)))
	if e, _ := q.Next(t.Context(), time.Time{}); e.Time != now.Add(time.Millisecond) {
		t.Error("two that wait together are not in order")
	}
	first, _ := q.Next(t.Context(), time.Time{})
	q.Push(packet(t, now))
	second, _ := q.Next(t.Context(), time.Time{})
	if second.Time != first.Time || second.Packet.Arrival != second.Time {
		t.Errorf("%v, then %v with a packet of %v", first.Time, second.Time, second.Packet.Arrival)
	}
	tick, _ := q.Next(t.Context(), now)
	if tick.Kind != Tick || tick.Time.Before(first.Time) {
		t.Errorf("then %+v", tick)
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := NewQueue(0)
	at := time.Now()
	for range QueueLimit + 10 {
		q.Push(packet(t, at))
	}
	if !q.Push(Event{Kind: TrackEnded, Time: at}) {
		t.Error("a track's end was dropped")
	}
	if n := q.Dropped(); n != 10 {
		t.Errorf("dropped %d, want 10", n)
	}
	for q.Push(Event{Kind: Joined, Time: at}) {
	}
	n := 0
	for {
		if _, err := q.Next(t.Context(), time.Time{}); err != nil {
			if !errors.Is(err, ErrLost) {
				t.Error(err)
			}
			break
		}
		n++
	}
	if n != queueHardLimit {
		t.Errorf("gave %d events, want %d", n, queueHardLimit)
	}
}

func TestQueueGivesWhatCameBeforeTheEnd(t *testing.T) {
	type stop = context.CancelFunc
	for name, end := range map[string]func(*Queue, stop) error{
		"closed":    func(q *Queue, _ stop) error { q.Close(nil); return io.EOF },
		"lost":      func(q *Queue, _ stop) error { q.Close(ErrLost); return ErrLost },
		"cancelled": func(_ *Queue, cancel stop) error { cancel(); return context.Canceled },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q := NewQueue(0)
		q.Push(packet(t, time.Now()))
		q.Push(packet(t, time.Now()))
		want := end(q, cancel)
		for range 2 {
			if e, err := q.Next(ctx, time.Time{}); err != nil || e.Kind != PacketArrived {
				t.Errorf("%s: %+v, %v", name, e, err)
			}
		}
		for range 2 {
			if _, err := q.Next(ctx, time.Now()); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		if name != "cancelled" && q.Push(packet(t, time.Now())) {
			t.Errorf("%s: took a packet after the end", name)
		}
	}
}

func TestQueueWaitEndsWithContextAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, end := range []func(*Queue, context.CancelFunc){
			func(q *Queue, _ context.CancelFunc) { q.Close(nil) },
			func(_ *Queue, cancel context.CancelFunc) { cancel() },
		} {
			q := NewQueue(0)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := q.Next(ctx, time.Now().Add(time.Hour))
				done <- err
			}()
			synctest.Wait()
			end(q, cancel)
			if err := <-done; err == nil {
				t.Error("no error")
			}
			cancel()
		}
	})
}

// TestQueueKeepsEachProducersOrder runs producers against a consumer.
func TestQueueKeepsEachProducersOrder(t *testing.T) {
	const producers, each = 8, 2000
	q := NewQueue(time.Millisecond)
	tracks := make([]Track, producers)
	var wg sync.WaitGroup
	for i := range producers {
		wg.Go(func() {
			for n := range each {
				q.Push(Event{Kind: PacketArrived, Time: time.Now(), Track: &tracks[i], Report: SenderReport{RTP: uint32(n)}})
			}
		})
	}
	go func() { wg.Wait(); q.Close(nil) }()
	next := map[*Track]uint32{}
	var last time.Time
	for {
		e, err := q.Next(t.Context(), time.Time{})
		if err != nil {
			break
		}
		if e.Report.RTP != next[e.Track] || e.Time.Before(last) {
			t.Fatalf("got %d after %d", e.Report.RTP, next[e.Track])
		}
		next[e.Track]++
		last = e.Time
	}
	for tr, n := range next {
		if n != each {
			t.Errorf("%p: %d events, want %d", tr, n, each)
		}
	}
}

// BenchmarkQueue is one packet through the queue, in batches of 64, as 10
// publishers make them. It must not allocate.
func BenchmarkQueue(b *testing.B) {
	q, at := NewQueue(0), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		for range 64 {
			p, err := media.NewPacket(rtp, at)
			if err != nil {
				b.Fatal(err)
			}
			q.Push(Event{Kind: PacketArrived, Time: at, Packet: p})
		}
		for range 64 {
			e, err := q.Next(context.Background(), time.Time{})
			if err != nil {
				b.Fatal(err)
			}
			e.Packet.Release()
		}
	}
}

// Messages wait for the consumer when there are many, and are never dropped; a
// producer that ends does not wait.
func TestQueueHoldsMessagesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(0)
		const size, count = 1 << 20, 40
		var pushed atomic.Int64
		done := make(chan bool)
		go func() {
			for i := range count {
				if !q.PushMessage(Event{Kind: MessageArrived, Message: &Message{Data: make([]byte, size), Label: fmt.Sprint(i)}}, nil) {
					t.Errorf("message %d is dropped", i)
				}
				pushed.Add(1)
			}
			close(done)
		}()
		time.Sleep(time.Minute)
		if n := pushed.Load(); n < MessageLimit/size || n > MessageLimit/size+1 {
			t.Errorf("%d messages of %d bytes wait", n, size)
		}
		stop := make(chan struct{})
		go func() { time.Sleep(time.Second); close(stop) }()
		if q.PushMessage(Event{Kind: MessageArrived, Message: &Message{}}, stop) {
			t.Error("a message is taken though there is no room")
		}
		last := time.Time{}
		for i := range count {
			e, err := q.Next(t.Context(), time.Time{})
			if err != nil || e.Message == nil || e.Message.Label != fmt.Sprint(i) || e.Time.Before(last) {
				t.Fatalf("message %d: %+v, %v", i, e, err)
			}
			last = e.Time
		}
		<-done
	})
}
