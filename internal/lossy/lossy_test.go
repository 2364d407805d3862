package lossy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// rtp is a packet that looks like RTP and has a number.
func rtp(n int) []byte {
	b := make([]byte, 100)
	b[0], b[1] = 0x80, 96
	binary.BigEndian.PutUint32(b[12:], uint32(n))
	return b
}

// near tells whether n of total is what probability p makes likely: within five
// standard deviations.
func near(n uint64, total int, p float64) bool {
	mean := float64(total) * p
	return math.Abs(float64(n)-mean) <= 5*math.Sqrt(mean*(1-p))
}

func TestFatesHaveTheirOdds(t *testing.T) {
	const total = 100_000
	odds := Odds{
		Loss: 0.1, Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond,
		Reorder: 0.05, HoldBack: time.Second, Duplicate: 0.02, Corrupt: 0.01,
	}
	l := newLink(7, "a", "b", odds)
	var lost, late, twice, changed uint64
	for i := range total {
		b := rtp(i)
		delays, n := l.fate(b, time.Time{})
		switch {
		case n == 0:
			lost++
			if !bytes.Equal(b, rtp(i)) {
				t.Fatal("a lost packet is changed")
			}
			continue
		case n == 2:
			twice++
		}
		if !bytes.Equal(b, rtp(i)) {
			changed++
		}
		d := delays[0]
		if d >= time.Second {
			late++
			d -= time.Second
		}
		if d < 50*time.Millisecond || d > 70*time.Millisecond {
			t.Fatalf("a packet takes %v", delays[0])
		}
	}
	kept := total - int(lost)
	c := l.counts
	for what, ok := range map[string]bool{
		"lost":       near(lost, total, 0.1) && lost == c.Lost && lost == c.MediaLost,
		"held back":  near(late, kept, 0.05) && late == c.Reordered,
		"duplicated": near(twice, kept, 0.02) && twice == c.Duplicated,
		"corrupted":  near(changed, kept, 0.01) && changed == c.Corrupted,
		"counted":    c.Packets == total && c.Media == total && c.Bytes == total*100,
	} {
		if !ok {
			t.Errorf("%s is not what was asked: %+v", what, c)
		}
	}
}

func TestFatesAreASeedsAndADirections(t *testing.T) {
	fates := func(seed uint64, from, to string, o Odds) []bool {
		l := newLink(seed, from, to, o)
		var kept []bool
		for i := range 1000 {
			_, n := l.fate(rtp(i), time.Time{})
			kept = append(kept, n > 0)
		}
		return kept
	}
	o := Odds{Loss: 0.5}
	first := fates(1, "a", "b", o)
	if !slices.Equal(first, fates(1, "a", "b", Odds{Loss: 0.5, Jitter: time.Second, Reorder: 0.5, Duplicate: 0.5, Corrupt: 0.5})) {
		t.Error("other odds change which packets are lost")
	}
	if slices.Equal(first, fates(2, "a", "b", o)) || slices.Equal(first, fates(1, "b", "a", o)) {
		t.Error("another seed or the other direction loses the same packets")
	}
}

// socket is a participant of a relay in tests.
func socket(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func relay(t *testing.T, seed uint64) *Relay {
	t.Helper()
	r := NewRelay(seed)
	t.Cleanup(r.Close)
	return r
}

func reach(t *testing.T, r *Relay, owner, user string, addr netip.AddrPort) netip.AddrPort {
	t.Helper()
	a, err := r.Via(owner, user, addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// receive waits for a packet.
func receive(t *testing.T, c *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, maxPacket)
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n], from
}

func say(t *testing.T, c *net.UDPConn, b []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

func TestEachSideSeesTheOtherAtTheRelaysAddressOnly(t *testing.T) {
	r := relay(t, 1)
	alice, atAlice := socket(t)
	bot, atBot := socket(t)
	toBot := reach(t, r, "bot", "alice", atBot)
	say(t, alice, rtp(1), toBot)
	b, from := receive(t, bot)
	if !bytes.Equal(b, rtp(1)) || from == atAlice {
		t.Errorf("the bot gets %x from %v", b, from)
	}
	// The address that stands for alice is the one that her candidate gets.
	if got := reach(t, r, "alice", "bot", atAlice); got != from {
		t.Errorf("alice is at %v, and her candidate becomes %v", from, got)
	}
	say(t, bot, rtp(2), from)
	if b, from := receive(t, alice); !bytes.Equal(b, rtp(2)) || from != toBot {
		t.Errorf("alice gets %x from %v, wrote to %v", b, from, toBot)
	}
	// To another participant the same socket of the bot has another address.
	if other := reach(t, r, "bot", "carol", atBot); other == toBot {
		t.Error("two participants share a port")
	}
	if n := r.Ports(); n != 3 {
		t.Errorf("%d ports, want 3", n)
	}
	for _, a := range []string{"[::1]:1", "192.0.2.1:1", "127.0.0.1:0"} {
		if _, err := r.Via("bot", "alice", netip.MustParseAddrPort(a)); !errors.Is(err, ErrAddress) {
			t.Errorf("for %s the error is %v", a, err)
		}
	}
}

func TestOddsAreADirectionsAndChange(t *testing.T) {
	r := relay(t, 1)
	alice, atAlice := socket(t)
	bot, atBot := socket(t)
	toBot, toAlice := reach(t, r, "bot-1", "alice", atBot), reach(t, r, "alice", "bot-1", atAlice)
	r.Set("alice", "bot*", Odds{Loss: 1})
	// What alice says before she hears the bot is lost: her packets pass
	// before the answers to his.
	for i := range 100 {
		say(t, alice, rtp(i), toBot)
		say(t, bot, rtp(i), toAlice)
		receive(t, alice)
	}
	for r.Counts("alice", "*").Packets < 100 {
		say(t, bot, rtp(0), toAlice)
		receive(t, alice)
	}
	if c := r.Counts("alice", "bot-1"); c.Lost != 100 || c.Sent != 0 {
		t.Errorf("in a blackout: %v", c)
	}
	if c := r.Counts("bot*", "*"); c.Lost != 0 || c.Sent < 100 {
		t.Errorf("the other way: %v", c)
	}
	r.Set("*", "*", Odds{Duplicate: 1})
	say(t, alice, rtp(7), toBot)
	for range 2 {
		if b, _ := receive(t, bot); !bytes.Equal(b, rtp(7)) {
			t.Errorf("the bot gets %x", b)
		}
	}
}

func TestDelayKeepsTheOrderAndHoldingBackDoesNot(t *testing.T) {
	r := relay(t, 3)
	alice, _ := socket(t)
	bot, atBot := socket(t)
	toBot := reach(t, r, "bot", "alice", atBot)
	run := func(o Odds) (order []int, took time.Duration) {
		r.Set("*", "*", o)
		start := time.Now()
		for i := range 100 {
			say(t, alice, rtp(i), toBot)
		}
		for range 100 {
			b, _ := receive(t, bot)
			order = append(order, int(binary.BigEndian.Uint32(b[12:])))
			if len(order) == 1 {
				took = time.Since(start)
			}
		}
		return order, took
	}
	order, took := run(Odds{Delay: 30 * time.Millisecond})
	if !slices.IsSorted(order) || took < 30*time.Millisecond {
		t.Errorf("after %v come %v", took, order)
	}
	before := r.Counts("*", "*").Reordered
	order, _ = run(Odds{Reorder: 0.1, HoldBack: 50 * time.Millisecond})
	if n := r.Counts("*", "*").Reordered - before; n == 0 || slices.IsSorted(order) {
		t.Errorf("%d packets are held back: %v", n, order)
	}
}

func TestPortsThatNobodyUsesAreClosed(t *testing.T) {
	r := relay(t, 1)
	alice, _ := socket(t)
	bot, atBot := socket(t)
	toBot := reach(t, r, "bot", "alice", atBot)
	say(t, alice, rtp(1), toBot)
	receive(t, bot)
	r.closeIdle(time.Now().Add(-time.Minute))
	if n := r.Ports(); n != 2 {
		t.Errorf("%d ports in use, want 2", n)
	}
	r.closeIdle(time.Now())
	if n := r.Ports(); n != 0 {
		t.Errorf("%d ports are left", n)
	}
	say(t, alice, rtp(2), reach(t, r, "bot", "alice", atBot))
	if b, _ := receive(t, bot); !bytes.Equal(b, rtp(2)) {
		t.Errorf("the bot gets %x", b)
	}
	r.Close()
	if _, err := r.Via("bot", "alice", atBot); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close the error is %v", err)
	}
}

func TestRateIsKept(t *testing.T) {
	l := newLink(1, "a", "b", Odds{Rate: 80_000, Queue: 100 * time.Millisecond})
	now, start := time.Unix(0, 0), time.Unix(0, 0)
	passed, last := 0, time.Duration(0)
	for range 1000 { // a hundred bytes every millisecond, ten times what goes through
		delays, n := l.fate(make([]byte, 100), now)
		if n == 1 {
			passed++
			at := now.Add(delays[0]).Sub(start)
			if step := at - last; passed > 1 && step != 10*time.Millisecond || delays[0] > 110*time.Millisecond {
				t.Fatalf("packet %d comes %v after the one before, after %v", passed, step, delays[0])
			}
			last = at
		}
		now = now.Add(time.Millisecond)
	}
	if c := l.counts; passed < 100 || passed > 112 || c.Lost != uint64(1000-passed) {
		t.Errorf("%d packets go through in a second, want 100 and a queue: %v", passed, c)
	}
	// A pause empties the queue and earns nothing.
	now = now.Add(time.Hour)
	for i := range 3 {
		if delays, n := l.fate(make([]byte, 100), now); n != 1 || delays[0] != time.Duration(i+1)*10*time.Millisecond {
			t.Errorf("after a pause packet %d takes %v", i, delays[0])
		}
	}
}
