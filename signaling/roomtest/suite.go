package roomtest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// Run runs the suite as subtests of t. Most of them run in parallel.
func Run(t *testing.T, venue Maker) {
	// The count of goroutines means something only while nothing else runs.
	t.Run("CloseLeavesNoGoroutine", func(t *testing.T) { testGoroutines(t, venue) })
	for _, c := range []struct {
		name string
		test func(*testing.T, Venue)
	}{
		{"ParticipantsFromBefore", testBefore},
		{"ParticipantsFromAfter", testAfter},
		{"LeaverIsCompleteAndDisturbsNobody", testLeave},
		{"ComingBackIsANewConnection", testBack},
		{"ReloadIsANewConnection", testReload},
		{"SenderReports", testReports},
		{"Ticks", testTicks},
		{"EventsBeforeTicks", testEventsFirst},
		{"ContextEndsNext", testContext},
		{"CloseEndsNext", testClose},
		{"TracksEndBeforeTheRoom", testRemaining},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := venue(t)
			t.Cleanup(func() {
				if err := v.Close(); err != nil {
					t.Errorf("closing the venue: %v", err)
				}
			})
			c.test(t, v)
		})
	}
}

func testBefore(t *testing.T, v Venue) {
	enter(t, v, "alice", media.VP8, media.Opus)
	enter(t, v, "bob", media.Opus)
	w := join(t, v)
	w.until("packets of both", both(w.hears("alice", 2, 20), w.hears("bob", 1, 20)))
	checkTracks(t, w, "alice", media.Video, media.Audio)
	checkTracks(t, w, "bob", media.Audio)
}

func testAfter(t *testing.T, v Venue) {
	w := join(t, v)
	enter(t, v, "alice", media.VP8, media.Opus)
	w.until("packets of the first", w.hears("alice", 2, 20))
	enter(t, v, "bob", media.VP8)
	w.until("packets of both", both(w.hears("alice", 2, 20), w.hears("bob", 1, 20)))
	checkTracks(t, w, "alice", media.Video, media.Audio)
	checkTracks(t, w, "bob", media.Video)
	if a, b := w.of("alice")[0].Connection, w.of("bob")[0].Connection; a == b {
		t.Errorf("two participants have connection %d", a)
	}
}

func both(a, b func() bool) func() bool { return func() bool { return a() && b() } }

// checkTracks checks that a participant has tracks of these kinds, and that all
// their packets have come.
func checkTracks(t *testing.T, w *witness, id string, kinds ...media.Kind) {
	t.Helper()
	tracks := w.of(id)
	for _, kind := range kinds {
		n := 0
		for _, k := range tracks {
			if k.Kind != kind || k.packets == 0 {
				continue
			}
			n++
			if k.missing() > 0 {
				t.Errorf("%d packets of %q are missing from an %v track", k.missing(), id, kind)
			}
		}
		if n != 1 {
			t.Errorf("%q has %d %v tracks with packets, want 1", id, n, kind)
		}
	}
}

func testLeave(t *testing.T, v Venue) {
	alice := enter(t, v, "alice", media.VP8, media.Opus)
	enter(t, v, "bob", media.VP8)
	w := join(t, v)
	w.until("packets of both", both(w.hears("alice", 2, 20), w.hears("bob", 1, 20)))
	sent := leave(t, alice)
	w.until("the leaver to have left", func() bool { return !w.present["alice"] })
	for i, kind := range []media.Kind{media.Video, media.Audio} {
		for _, k := range w.of("alice") {
			if k.Kind == kind && k.packets > 0 && k.next != sent[i] {
				t.Errorf("the last %v packet of the leaver that came is %d, of %d sent", kind, k.next, sent[i])
			}
		}
	}
	checkTracks(t, w, "alice", media.Video, media.Audio)
	w.until("more of who stays", w.hears("bob", 1, 50))
	checkTracks(t, w, "bob", media.Video)
}

func testBack(t *testing.T, v Venue) {
	w := join(t, v)
	alice := enter(t, v, "alice", media.Opus)
	w.until("packets", w.hears("alice", 1, 20))
	first := w.of("alice")[0]
	leave(t, alice)
	w.until("them to have left", func() bool { return !w.present["alice"] })
	enter(t, v, "alice", media.Opus)
	w.until("packets of another connection", func() bool {
		k := w.of("alice")[0]
		return k.Connection > first.Connection && k.packets >= 20
	})
}

func testReload(t *testing.T, v Venue) {
	w := join(t, v)
	enter(t, v, "alice", media.Opus)
	w.until("packets", w.hears("alice", 1, 20))
	first := w.of("alice")[0]
	enter(t, v, "alice", media.Opus)
	w.until("packets of another connection, and the end of the first", func() bool {
		k := w.of("alice")[0]
		return k.Connection > first.Connection && k.packets >= 20 && first.ended
	})
	if !w.present["alice"] {
		t.Error("who came back has left")
	}
}

func testReports(t *testing.T, v Venue) {
	enter(t, v, "alice", media.VP8, media.Opus)
	w := join(t, v)
	w.until("a report of each track", func() bool {
		n := 0
		for _, k := range w.of("alice") {
			if k.reports > 0 {
				n++
			}
		}
		return n == 2
	})
}

func testTicks(t *testing.T, v Venue) {
	w := join(t, v)
	now := time.Now()
	for _, d := range []time.Duration{-time.Hour, -1, 0, time.Millisecond, 50 * time.Millisecond} {
		deadline := now.Add(d)
		e, err := w.room.Next(t.Context(), deadline)
		if err != nil || e.Kind != signaling.Tick || e.Time.Before(deadline) || e.Time.Before(w.last) {
			t.Fatalf("Next gives %+v, %v in an empty room, want a tick at %v", e, err, deadline)
		}
		if late := e.Time.Sub(deadline); d > 0 && late > time.Second {
			t.Errorf("a tick is %v late", late)
		}
		w.last = e.Time
	}
	// Ticks and events share one order.
	enter(t, v, "alice", media.Opus)
	heard := w.hears("alice", 1, 50)
	ticks := 0
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !heard() || ticks == 0 {
		deadline := time.Now().Add(3 * time.Millisecond)
		e, err := w.room.Next(ctx, deadline)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != signaling.Tick {
			w.see(e)
			continue
		}
		if e.Time.Before(deadline) || e.Time.Before(w.last) {
			t.Fatalf("a tick of %v for %v, after an event of %v", e.Time, deadline, w.last)
		}
		w.last = e.Time
		ticks++
	}
}

func testEventsFirst(t *testing.T, v Venue) {
	enter(t, v, "alice", media.VP8, media.Opus)
	w := join(t, v)
	w.until("packets", w.hears("alice", 2, 20))
	if err := w.room.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	// The ends of the tracks wait now, and come before a tick that is long due.
	for !w.tracks[0].ended || !w.tracks[1].ended {
		e, err := w.room.Next(t.Context(), time.Now().Add(-time.Hour))
		if err != nil || e.Kind == signaling.Tick {
			t.Fatalf("Next gives %+v, %v while events wait", e, err)
		}
		w.see(e)
	}
}

func testContext(t *testing.T, v Venue) {
	w := join(t, v)
	reason := errors.New("enough")
	for range 2 { // while Next waits, and when it is done already
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(reason) })
		err := within(t, "Next", func() error { return w.drain(ctx) })
		if !errors.Is(err, context.Canceled) && !errors.Is(err, reason) {
			t.Fatalf("Next returns %v when its context is done", err)
		}
		cancel(nil)
	}
	if _, err := w.room.Next(t.Context(), time.Now()); err == nil {
		t.Error("Next returns no error after an error")
	}
}

// within fails the test when f takes too long, and returns its error.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("%s does not return", what)
		return nil
	}
}

func testClose(t *testing.T, v Venue) {
	enter(t, v, "alice", media.Opus)
	w := join(t, v)
	w.until("packets", w.hears("alice", 1, 20))
	var wg sync.WaitGroup
	var slowest time.Duration
	var mu sync.Mutex
	for range 4 {
		wg.Go(func() {
			start := time.Now()
			if err := w.room.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, time.Since(start))
		})
	}
	if err := within(t, "Next", func() error { return w.drain(t.Context()) }); err != io.EOF {
		t.Errorf("Next returns %v after Close, want io.EOF", err)
	}
	_ = within(t, "Close", func() error { wg.Wait(); return nil })
	if slowest > 3*time.Second {
		t.Errorf("Close took %v", slowest)
	}
	if _, err := w.room.Next(t.Context(), time.Now()); err != io.EOF {
		t.Errorf("Next returns %v when the room is over, want io.EOF", err)
	}
}

func testRemaining(t *testing.T, v Venue) {
	enter(t, v, "alice", media.VP8, media.Opus)
	w := join(t, v)
	w.until("packets", w.hears("alice", 2, 20))
	if err := w.room.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := w.drain(t.Context()); err != io.EOF {
		t.Errorf("Next returns %v after Close, want io.EOF", err)
	}
	for _, k := range w.tracks {
		if !k.ended {
			t.Errorf("an %v track has not ended when the room is over", k.Kind)
		}
	}
	checkTracks(t, w, "alice", media.Video, media.Audio)
}

func testGoroutines(t *testing.T, venue Maker) {
	before := runtime.NumGoroutine()
	v := venue(t)
	enter(t, v, "alice", media.VP8, media.Opus)
	room, err := v.Join(t.Context())
	if err != nil {
		t.Fatalf("cannot join: %v", err)
	}
	w := watch(t, room)
	w.until("packets", w.hears("alice", 2, 20))
	enter(t, v, "bob", media.Opus)
	w.until("packets", w.hears("bob", 1, 20))
	w.release()
	if err := room.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("closing the venue: %v", err)
	}
	// Goroutines end a little after what they announce the end by.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience / 4)
	for runtime.NumGoroutine() > before {
		select {
		case <-tick.C:
		case <-late:
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
