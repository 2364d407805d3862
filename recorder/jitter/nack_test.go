package jitter

import (
	"slices"
	"testing"
	"time"
)

func TestMissingPacketsAreAskedForAtOnceThenWithBackOff(t *testing.T) {
	b := New(Config{MaxWait: 3 * time.Second})
	b.Push(packet(t, 65534, 0))
	drain(b, 0)
	b.Push(packet(t, 1, 100))
	const rtt = 50 * time.Millisecond
	var asked []int
	for range 20 {
		next := b.NextNack()
		if next.IsZero() {
			break
		}
		if early := b.Missing(next.Add(-time.Nanosecond), rtt, nil); early != nil {
			t.Errorf("asked for %v before NextNack", early)
		}
		if seqs := b.Missing(next, rtt, nil); !slices.Equal(seqs, []uint16{65535, 0}) {
			t.Errorf("asked for %v, want [65535 0]", seqs)
		}
		asked = append(asked, int(next.Sub(at(100))/time.Millisecond))
	}
	if want := []int{5, 65, 185, 425, 905, 1865, 2865}; !slices.Equal(asked, want) {
		t.Errorf("asked after %v ms, want %v", asked, want)
	}
}

func TestWhatCameIsNotAskedFor(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 5, 0))
	b.Push(packet(t, 3, 4))
	if seqs := b.Missing(at(5), 0, nil); !slices.Equal(seqs, []uint16{2, 4}) {
		t.Errorf("asked for %v, want [2 4]", seqs)
	}
	b.Push(packet(t, 2, 10))
	b.Push(packet(t, 4, 10))
	if b.Recovered() != 2 {
		t.Errorf("recovered %d, want 2", b.Recovered())
	}
	if !b.NextNack().IsZero() {
		t.Error("there is something to ask for though nothing is missing")
	}
}

func TestRequestsThatAreNearlyDueGoAlong(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 0))
	b.Push(packet(t, 5, 3))
	if seqs := b.Missing(at(5), 0, nil); !slices.Equal(seqs, []uint16{2, 4}) {
		t.Errorf("asked for %v, want [2 4]", seqs)
	}
}

func TestNothingIsAskedForThatIsNotWaitedFor(t *testing.T) {
	b := New(Config{MaxWait: -1})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 0))
	if !b.NextNack().IsZero() {
		t.Error("asks for a packet without waiting for it")
	}
	b = New(Config{})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 0))
	b.Flush()
	if !b.NextNack().IsZero() || b.Missing(at(10), 0, nil) != nil {
		t.Error("asks for a packet after Flush")
	}
}
