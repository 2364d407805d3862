package jitter

import "testing"

func TestARestartOfTheSenderIsFollowedWithoutLosingAPacket(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 100, 0))
	b.Push(packet(t, 103, 1))
	wantPopped(t, drain(b, 1), got{100, 0})
	wantVerdict(t, b.Push(packetTS(t, 30000, 40, 5)), Kept)
	wantPopped(t, drain(b, 40))
	wantVerdict(t, b.Push(packetTS(t, 30001, 41, 5)), Kept)
	wantPopped(t, drain(b, 41), got{103, 2}, got{30000, -1}, got{30001, 0})
	wantVerdict(t, b.Push(packetTS(t, 30002, 42, 5)), Kept)
	wantPopped(t, drain(b, 42), got{30002, 0})
	checkBooks(t, b)
}

func TestAReorderedRestartIsPutIntoOrder(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 100, 0))
	drain(b, 0)
	b.Push(packetTS(t, 30003, 40, 5))
	b.Push(packetTS(t, 30001, 40, 5))
	wantPopped(t, drain(b, 40))
	b.Push(packetTS(t, 30002, 41, 5))
	wantPopped(t, drain(b, 41), got{30001, -1}, got{30002, 0}, got{30003, 0})
}

func TestARestartJustBehindIsToldByItsTimestamps(t *testing.T) {
	b := New(Config{})
	for i := range 50 {
		b.Push(packet(t, uint16(1000+i), i))
	}
	drain(b, 50)
	b.Push(packetTS(t, 990, 60, 1<<31))
	b.Push(packetTS(t, 991, 61, 1<<31))
	wantPopped(t, drain(b, 61), got{990, -1}, got{991, 0})
}

func TestARestartJustAheadIsToldByItsTimestamps(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1000, 0))
	drain(b, 0)
	b.Push(packetTS(t, 1200, 60, 1<<31))
	b.Push(packetTS(t, 1201, 61, 1<<31))
	wantPopped(t, drain(b, 61), got{1200, -1}, got{1201, 0})
}

func TestWildPacketsDoNotDisturbTheFlow(t *testing.T) {
	b := New(Config{})
	wild := uint16(20000)
	for i := range 1000 {
		b.Push(packet(t, uint16(i), i))
		wantPopped(t, drain(b, i), got{uint16(i), 0})
		if i%10 == 5 {
			wild += 7919
			if d := int16(wild - uint16(i)); d > -200 && d < 200 {
				continue
			}
			b.Push(packetTS(t, wild, i, uint32(wild)<<16))
			wantPopped(t, drain(b, i))
		}
	}
	b.Flush()
	if s := b.Stats(); s.Wild+s.Late < 90 || s.Lost != 0 {
		t.Errorf("wild packets: %+v", s)
	}
	checkBooks(t, b)
}

func TestALongOutageIsLossAndNoRestart(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1000, 0))
	drain(b, 0)
	b.Push(packet(t, 51001, 60000)) // 50000 packets and a minute later
	b.Push(packet(t, 51002, 60001))
	wantPopped(t, drain(b, 60001), got{51001, 50000}, got{51002, 0})
	if b.Lost() != 50000 || len(b.ring) > 4*firstSlots {
		t.Errorf("lost %d in a ring of %d", b.Lost(), len(b.ring))
	}
	for b.NextNack().Before(at(70000)) && !b.NextNack().IsZero() {
		for _, seq := range b.Missing(b.NextNack(), 0, nil) {
			if seq <= 51002 {
				t.Fatal("packets of a long outage are asked for")
			}
		}
	}
	checkBooks(t, b)
}

func TestAPauseIsNoRestart(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1000, 0))
	drain(b, 0)
	b.Push(packet(t, 1002, 600000)) // ten minutes, one packet lost
	b.Push(packet(t, 1001, 600001))
	wantPopped(t, drain(b, 600001), got{1001, 0}, got{1002, 0})
}

func TestARetransmissionThatIsTooOldIsLate(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 20000, 100000))
	drain(b, 0)
	for i := range 3 {
		p := packet(t, uint16(10000+i), 0)
		p.Recovered = true
		wantVerdict(t, b.Push(p), Late)
	}
	checkBooks(t, b)
}
