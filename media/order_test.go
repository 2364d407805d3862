package media

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// shown pushes times and gives them as Pop does.
func shown(o *Order, times ...time.Duration) (out []time.Duration) {
	for _, t := range times {
		o.Push(t)
		for at, ok := o.Pop(); ok; at, ok = o.Pop() {
			out = append(out, at)
		}
	}
	return out
}

func TestTimesThatRiseAreGivenAtOnce(t *testing.T) {
	var o Order
	for i := range time.Duration(100) {
		if got := shown(&o, i); len(got) != 1 || got[0] != i {
			t.Fatalf("after %v: %v", i, got)
		}
		if o.Least(Opus, 0) != i || o.Latest() != i {
			t.Fatalf("after %v, the next is at %v at least", i, o.Least(Opus, 0))
		}
	}
}

// TestTimesThatFallAreGivenInOrder has groups of pictures as B-pyramids have
// them. From the second on, none is left out.
func TestTimesThatFallAreGivenInOrder(t *testing.T) {
	var o Order
	got := shown(&o, 0)
	for g := time.Duration(0); g < 200; g += 4 {
		got = append(got, shown(&o, g+4, g+2, g+1, g+3)...)
		if len(got) > 2 && got[len(got)-1] > g+4 {
			t.Fatalf("%v is given before %v has come", got[len(got)-1], g+5)
		}
	}
	o.Flush()
	got = append(got, shown(&o)...)
	for at, ok := o.Pop(); ok; at, ok = o.Pop() {
		got = append(got, at)
	}
	want := []time.Duration{0, 4}
	for i := time.Duration(5); i <= 200; i++ {
		want = append(want, i)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	// After Flush it goes on.
	if got := shown(&o, 300, 301, 302); len(got) != 1 || got[0] != 300 {
		t.Errorf("after Flush: %v", got)
	}
}

func TestWhoWaitsGetsAllInOrder(t *testing.T) {
	var o Order
	o.Wait()
	got := shown(&o, 0, 4, 2, 1, 3, 8, 6, 5, 7)
	if len(got) != 0 {
		t.Fatalf("%v", got)
	}
	o.Flush()
	for at, ok := o.Pop(); ok; at, ok = o.Pop() {
		got = append(got, at)
	}
	if want := []time.Duration{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestNoFrameIsBehindMoreThanADecoderHolds(t *testing.T) {
	var o Order
	for i := range time.Duration(MaxReorder) {
		shown(&o, 100+i)
		if got := o.Least(H264, 0); got != 0 {
			t.Fatalf("after %d frames the least time is %v", i+1, got)
		}
	}
	shown(&o, 200)
	if got := o.Least(H264, 0); got != 100 { // one with 16 after it
		t.Errorf("the least time is %v", got)
	}
	shown(&o, 201, 202)
	if got := o.Floor(); got != 102 {
		t.Errorf("the least time is %v", got)
	}
	shown(&o, time.Minute)
	if got := o.Floor(); got != time.Minute-MaxReorderTime {
		t.Errorf("a minute later the least time is %v", got)
	}
}

// TestOrderOfAnyTimes pushes what a broken sender may send.
func TestOrderOfAnyTimes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var o Order
		var got []time.Duration
		spread := 1 + r.Int64N(100)
		n := r.IntN(300)
		for i := range n {
			at := o.Least(H264, time.Duration(int64(i)+r.Int64N(spread)))
			floor := o.Floor()
			got = append(got, shown(&o, at)...)
			if o.Floor() < floor {
				t.Fatalf("the floor falls from %v to %v", floor, o.Floor())
			}
		}
		o.Flush()
		got = append(got, shown(&o)...)
		for at, ok := o.Pop(); ok; at, ok = o.Pop() {
			got = append(got, at)
		}
		if !slices.IsSorted(got) || len(got) > n || n > 0 && got[len(got)-1] != o.Latest() {
			t.Fatalf("%v", got)
		}
	}
}

func BenchmarkOrder(b *testing.B) {
	var o Order
	at := time.Duration(0)
	for b.Loop() {
		for _, n := range []time.Duration{4, 2, 1, 3} {
			o.Push(at + n)
			for _, ok := o.Pop(); ok; _, ok = o.Pop() {
			}
		}
		at += 4
	}
}
