package peer

import (
	"slices"
	"testing"
	"time"
)

func TestMissingIsWhatHasNotComeForAWhile(t *testing.T) {
	var a arrived
	now := time.Unix(1000, 0)
	tick := func() []uint16 {
		got := a.missing(now, 50*time.Millisecond, nil)
		a.mark(now)
		now = now.Add(reportEvery)
		return got
	}
	// Over the wrap of the numbers; of each ten the fourth is lost, and comes
	// in the end, all but one.
	n := uint16(65400)
	var lost []uint16
	for range 20 {
		for i := range 10 {
			if n++; i == 3 {
				lost = append(lost, n)
				continue
			}
			a.note(n)
		}
		if i := len(lost); i == 10 {
			a.note(lost[4])
			lost = slices.Delete(lost, 4, 5)
		}
		got := tick()
		// What has just been missed may be late only.
		if want := lost[:max(len(lost)-1, 0)]; len(lost) > 2 && !slices.Equal(got, want) {
			t.Fatalf("at %d missing are %v, want %v", n, got, want)
		}
	}
	for _, x := range []uint16{65401, n, n - 1, lost[0] + 1} {
		if !a.has(x) {
			t.Errorf("%d has come", x)
		}
	}
	for _, x := range []uint16{65400, lost[0], n + 1, n + remembered - 20, n - remembered - 1} {
		if a.has(x) {
			t.Errorf("%d has not come", x)
		}
	}
	// Older than what a receiver waits for.
	for range int(unreadAge/reportEvery) + 2 {
		tick()
	}
	if got := tick(); len(got) > 0 {
		t.Errorf("after %v %v are asked for", unreadAge, got)
	}
	// Not more often than an answer takes.
	a.note(n + 2)
	tick()
	if got := a.missing(now, time.Second, nil); len(got) > 0 {
		t.Errorf("%v are asked for before an answer can be there", got)
	}
	// A sender that begins anew has lost nothing.
	a.note(n + 20_000)
	tick()
	tick()
	if got := tick(); len(got) > 0 || a.has(n) {
		t.Errorf("after a jump %v are asked for", got)
	}
}
