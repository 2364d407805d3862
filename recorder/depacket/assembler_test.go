package depacket

import "testing"

// Who asks Ready before Next must not make the queue grow.
func TestFramesLeaveTheQueue(t *testing.T) {
	var a assembler
	for range 1000 {
		a.give(Frame{Packets: 1})
		a.give(Frame{Packets: 1})
		n := 0
		for a.Ready() {
			if _, ok := a.Next(); !ok {
				t.Fatal("it is ready and has none")
			}
			n++
		}
		if _, ok := a.Next(); ok || n != 2 || cap(a.queue) > 8 {
			t.Fatalf("%d frames, and a queue of %d", n, cap(a.queue))
		}
	}
}
