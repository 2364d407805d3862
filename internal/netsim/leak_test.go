package netsim_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestNoGoroutineIsLeftInTheRoom has 120 people come and go, by goodbye and
// without, while the server restarts 12 times, the recorder moves 6 times and
// connections are restarted: what that leaves running must not grow.
func TestNoGoroutineIsLeftInTheRoom(t *testing.T) {
	counts := map[int]int{}
	inVenue(t, func(v *venue) {
		resident := v.enter("resident", true)
		resident.pub().Stop() // its connection lives on without media
		for n := range 120 {
			p := v.enter("guest", n%2 == 0)
			time.Sleep(100 * time.Millisecond)
			switch {
			case n%10 == 3:
				v.shut()
				time.Sleep(time.Second)
				v.open()
				resident.join(false)
			case n%20 == 7:
				v.Move(v.host)
				time.Sleep(2 * time.Second)
			}
			if n%3 == 0 {
				p.drop()
				time.Sleep(100 * time.Millisecond)
			}
			p.hangUp()
			time.Sleep(4 * time.Second)
			if n%40 == 39 {
				time.Sleep(2 * time.Minute) // whatever has a timeout is over
				synctest.Wait()
				counts[n+1] = runtime.NumGoroutine()
			}
		}
		if len(resident.pubs) != 1 {
			v.t.Errorf("the resident was asked for %d more connections", len(resident.pubs)-1)
		}
	})
	t.Logf("goroutines after so many guests: %v", counts)
	if counts[120] > counts[40]+5 { // one may be on its way out
		t.Errorf("%d goroutines after 40 guests, %d after 120", counts[40], counts[120])
	}
}
