package jitter

import (
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// gaps gives those of seqs that are not after newest.
func gaps(seqs []uint16, newest uint16) (out []uint16) {
	for _, s := range seqs {
		if int16(s-newest) <= 0 {
			out = append(out, s)
		}
	}
	return out
}

// requests asks until ms whenever it is time to, and gives the milliseconds at
// which a packet up to newest was asked for.
func requests(t *testing.T, b *Buffer, ms int, rtt time.Duration, newest uint16) (when []int) {
	t.Helper()
	for range 1000 {
		next := b.NextNack()
		if next.IsZero() || next.After(at(ms)) {
			return when
		}
		if early := b.Missing(next.Add(-time.Nanosecond), rtt, nil); early != nil {
			t.Errorf("asked for %v before NextNack", early)
		}
		if seqs := gaps(b.Missing(next, rtt, nil), newest); seqs != nil {
			when = append(when, int(next.Sub(epoch)/time.Millisecond))
		}
	}
	t.Fatal("asks for ever")
	return nil
}

func recovered(p *media.Packet) *media.Packet {
	p.Recovered = true
	return p
}

func TestMissingPacketsAreAskedForAtOnceThenWithBackOff(t *testing.T) {
	b := New(Config{MaxWait: 3 * time.Second})
	b.Push(packet(t, 65534, 0))
	drain(b, 0)
	b.Push(packet(t, 1, 0))
	when := requests(t, b, 5000, 100*time.Millisecond, 1)
	want := []int{
		5, 115, 225, 335, // a round trip each
		390, 445, 500, 555, 610, 665, 720, 775, 830, 885, 940, 995, 1050, // while the sender still has it
		1312, 1640, 2050, 2563, // with back-off
	}
	if !slices.Equal(when, want) {
		t.Errorf("asked after %v ms, want %v", when, want)
	}
}

// TestASendersSecondIsUsed: at a round trip of 100 ms, a packet that a sender
// keeps for a second is asked for often enough that a loss of 10 % of the
// packets in both directions loses less than one of a million for good.
func TestASendersSecondIsUsed(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 0))
	when := requests(t, b, 900, 100*time.Millisecond, 3)
	failing := 0.1
	for range when {
		failing *= 1 - 0.9*0.9
	}
	if failing > 1e-6 {
		t.Errorf("asked at %v ms: %g are lost", when, failing)
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
	if when := requests(t, b, 5000, 0, 5); when != nil {
		t.Errorf("asked at %v ms though nothing is missing", when)
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
	if !b.NextNack().IsZero() || b.Missing(at(10), 0, nil) != nil || !b.DoubtAt().IsZero() {
		t.Error("asks for a packet after Flush")
	}
}

// TestWhatOvertakesIsGivenTime: where packets come 30 ms late, one that is 30 ms
// late is not asked for; when that is over, a gap is asked for at once again.
func TestWhatOvertakesIsGivenTime(t *testing.T) {
	b := New(Config{})
	seq, ms, asked := uint16(1), 0, 0
	for i := range 100 {
		b.Push(packet(t, seq, ms))
		b.Push(packet(t, seq+2, ms))
		when := requests(t, b, ms+30, 100*time.Millisecond, seq+2)
		if i > 0 {
			asked += len(when)
		}
		b.Push(packet(t, seq+1, ms+30))
		drain(b, ms+30)
		seq, ms = seq+3, ms+40
	}
	if asked != 0 {
		t.Errorf("asked %d times for packets that were on their way", asked)
	}
	for range 300 {
		b.Push(packet(t, seq, ms))
		b.Push(packet(t, seq+2, ms))
		requests(t, b, ms+100, 100*time.Millisecond, seq+2)
		b.Push(recovered(packet(t, seq+1, ms+190)))
		drain(b, ms+190)
		seq, ms = seq+3, ms+200
	}
	b.Push(packet(t, seq+1, ms))
	if late := b.NextNack().Sub(at(ms)); late > minGrace+time.Millisecond {
		t.Errorf("asks %v after the gap", late)
	}
}

// TestSlowAnswersAreAwaited: a sender whose answers take longer than a round
// trip is not asked again before they can have come.
func TestSlowAnswersAreAwaited(t *testing.T) {
	b := New(Config{})
	seq, ms := uint16(1), 0
	for i := range 40 {
		b.Push(packet(t, seq, ms))
		b.Push(packet(t, seq+2, ms))
		if i == 0 { // when it was asked for twice, nothing can be learnt
			b.Missing(at(ms+5), 80*time.Millisecond, nil)
		} else if when := requests(t, b, ms+135, 80*time.Millisecond, seq+2); i > 20 && len(when) != 1 {
			t.Fatalf("asked at %v ms, want once", when)
		}
		b.Push(recovered(packet(t, seq+1, ms+135)))
		drain(b, ms+135)
		seq, ms = seq+3, ms+1000
	}
}

// TestALongRoundTripLeavesAttempts: at a round trip of 300 ms, too, there are
// several within the second for which senders keep packets.
func TestALongRoundTripLeavesAttempts(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 0))
	if when := requests(t, b, 700, 300*time.Millisecond, 3); len(when) != 6 {
		t.Errorf("asked at %v ms", when)
	}
}

// TestThePacketsBeforeAPauseAreAskedFor: nothing shows that they were lost.
func TestThePacketsBeforeAPauseAreAskedFor(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 65530, 0))
	drain(b, 0)
	var all [][]uint16
	var when []int
	for next := b.NextNack(); !next.IsZero(); next = b.NextNack() {
		all = append(all, b.Missing(next, 100*time.Millisecond, nil))
		when = append(when, int(next.Sub(epoch)/time.Millisecond))
	}
	if !slices.Equal(when, []int{250, 360, 470}) {
		t.Errorf("asked at %v ms", when)
	}
	for _, seqs := range all {
		if len(seqs) != tailSpan || seqs[0] != 65531 || seqs[tailSpan-1] != 10 {
			t.Errorf("asked for %v", seqs)
		}
	}
	b.Push(recovered(packet(t, 65531, 400)))
	wantPopped(t, drain(b, 400), got{65531, 0})
	if b.Recovered() != 1 {
		t.Errorf("recovered %d, want 1", b.Recovered())
	}
	if b.NextNack() != at(650) {
		t.Errorf("asks next at %v", b.NextNack().Sub(epoch))
	}
}

// TestWhatTheSenderHasNotKeptIsNotAskedForAgain: of an outage the sender answers
// for the newest packets only.
func TestWhatTheSenderHasNotKeptIsNotAskedForAgain(t *testing.T) {
	b := New(Config{MaxWait: 3 * time.Second})
	b.Push(packet(t, 100, 0))
	drain(b, 0)
	b.Push(packet(t, 301, 2000))
	requests(t, b, 2010, 50*time.Millisecond, 301)
	for seq := uint16(201); seq <= 300; seq++ {
		b.Push(recovered(packet(t, seq, 2060)))
	}
	when := requests(t, b, 10_000, 50*time.Millisecond, 301)
	if len(when) > goneTries { // of which one is the pass that finds out
		t.Errorf("asked again at %v ms", when)
	}
	if d := b.Deadline(); d != at(5000) {
		t.Errorf("waits until %v: what is asked for must not change what is waited for", d.Sub(epoch))
	}
	// A single packet that has bad luck is asked for as long as it is waited for.
	b.Flush()
	drain(b, 10_000)
	b = New(Config{MaxWait: 3 * time.Second})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 10, 0))
	requests(t, b, 10, 50*time.Millisecond, 10)
	for seq := uint16(3); seq < 10; seq++ {
		b.Push(recovered(packet(t, seq, 60)))
	}
	if when := requests(t, b, 10_000, 50*time.Millisecond, 10); len(when) < 10 {
		t.Errorf("asked again at %v ms", when)
	}
}

// TestDoubt: what was sent more than a second ago will hardly be sent again.
func TestDoubt(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1, 0))
	drain(b, 0)
	b.Push(packet(t, 3, 500)) // one packet, lost right now
	if d := b.DoubtAt(); d != at(1500) {
		t.Errorf("a lost packet is in doubt after %v", d.Sub(epoch))
	}
	b.Push(packet(t, 2, 550))
	drain(b, 550)
	if !b.DoubtAt().IsZero() {
		t.Error("there is a doubt though nothing is missing")
	}
	b.Push(packet(t, 203, 2549)) // an outage of two seconds
	if d := b.DoubtAt(); d.After(at(1600)) {
		t.Errorf("after an outage, what was sent first is in doubt at %v", d.Sub(epoch))
	}
	b.Missing(at(2560), 400*time.Millisecond, nil)
	if d := b.DoubtAt(); d.Before(at(500 + 1600)) {
		t.Errorf("with a long round trip the doubt comes at %v", d.Sub(epoch))
	}
}

// TestWhatIsAskedChangesNothingThatIsPopped gives a flow that can't begin with its
// first packet to buffers that are told of different round trips, and to one that
// is asked for nothing, as in a replay: all pop the same at the same time.
func TestWhatIsAskedChangesNothingThatIsPopped(t *testing.T) {
	type popped struct {
		seq uint16
		at  time.Duration
	}
	var want []popped
	for _, rtt := range []time.Duration{-1, 0, time.Millisecond, 40 * time.Millisecond, 400 * time.Millisecond} {
		b := New(Config{Begins: func(p *media.Packet) bool { return p.SequenceNumber == 6 }})
		var got []popped
		for ms := range 700 {
			if ms%20 == 0 && ms < 400 {
				b.Push(packet(t, uint16(1+ms/20), ms))
			}
			if rtt >= 0 {
				b.Missing(at(ms), rtt, nil)
			}
			for {
				p, ok := b.Pop(at(ms))
				if !ok {
					break
				}
				got = append(got, popped{p.Packet.SequenceNumber, time.Duration(ms) * time.Millisecond})
				p.Packet.Release()
			}
		}
		if want == nil {
			want = got
		}
		if len(got) != 20 || got[0].at != openAgain || !slices.Equal(got, want) {
			t.Errorf("round trip %v: %v; want %v", rtt, got, want)
		}
	}
}
