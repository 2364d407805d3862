package jitter

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// source gives the numbers that decide what happens to the buffer: random ones,
// or those of a fuzzer.
type source interface{ next(n int) int }

type random struct{ *rand.Rand }

func (r random) next(n int) int { return r.IntN(n) }

type scripted struct{ b []byte }

func (s *scripted) next(n int) int {
	if len(s.b) == 0 {
		return 0
	}
	v := int(s.b[0])
	if n > 256 && len(s.b) > 1 {
		v = v<<8 | int(s.b[1])
		s.b = s.b[1:]
	}
	s.b = s.b[1:]
	return v % n
}

// model is what a jitter buffer does, said naively: a set of packets that are
// held, one of those that are settled, and for each gap the time it was noticed.
// It knows true sequence numbers, of 64 bits.
type model struct {
	held    map[int64]bool
	popped  map[int64]bool
	noticed map[int64]time.Duration
	next    int64
	high    int64
	first   int64
	started bool
	moved   bool
	lost    uint64
}

func (m *model) push(n int64, now time.Duration) Verdict {
	if !m.started {
		m.started = true
		m.next, m.high, m.first = n, n, n
		m.held[n] = true
		return Kept
	}
	switch {
	case n > m.high:
		for e := m.high + 1; e < n; e++ {
			m.noticed[e] = now
		}
		m.high = n
	case n < m.next:
		if !m.moved && m.first-n <= maxBeforeFirst {
			for e := n + 1; e < m.next; e++ {
				m.noticed[e] = now
			}
			m.next, m.first = n, n
			break
		}
		if m.popped[n] {
			return Duplicate
		}
		return Late
	case m.held[n]:
		return Duplicate
	}
	delete(m.noticed, n)
	m.held[n] = true
	return Kept
}

func (m *model) pop(now, wait time.Duration) (n int64, lost int, ok bool) {
	for m.started && m.next <= m.high {
		n := m.next
		if m.held[n] {
			delete(m.held, n)
			m.popped[n] = true
			m.next, m.moved = n+1, true
			return n, lost, true
		}
		if now < m.noticed[n]+wait {
			break
		}
		delete(m.noticed, n)
		m.next, m.moved = n+1, true
		m.lost++
		lost++
	}
	// What was given up is reported with the packet that is popped later.
	return 0, lost, false
}

// compare drives a buffer and the model with the same packets and fails where
// they differ.
func compare(t testing.TB, src source, operations int) {
	const wait = 100 * time.Millisecond
	b := New(Config{MaxWait: wait})
	m := &model{held: map[int64]bool{}, popped: map[int64]bool{}, noticed: map[int64]time.Duration{}}
	// Sequence numbers and timestamps wrap early.
	sent := int64(65000 + src.next(500))
	const ts0 = 0xffffff00
	var now time.Duration
	var transit []int64
	pending := 0
	var nacks []uint16

	push := func(n int64) {
		p := packetTS(t, uint16(n), 0, ts0+uint32(n)*300)
		p.Arrival = epoch.Add(now)
		have, want := b.Push(p), m.push(n, now)
		if have != want {
			t.Fatalf("packet %d at %v: %v, want %v", n, now, have, want)
		}
		if have != Kept {
			p.Release()
		}
	}
	pop := func() {
		for {
			have, ok := b.Pop(epoch.Add(now))
			n, lost, wantOK := m.pop(now, wait)
			pending += lost
			if ok != wantOK {
				t.Fatalf("pop at %v: %v, want %v (packet %d)", now, ok, wantOK, n)
			}
			if !ok {
				break
			}
			if have.Packet.SequenceNumber != uint16(n) || have.Lost != pending || have.Restarted {
				t.Fatalf("popped %d with %d lost, restarted %v, want %d with %d",
					have.Packet.SequenceNumber, have.Lost, have.Restarted, uint16(n), pending)
			}
			pending = 0
			have.Packet.Release()
		}
		if d := b.Deadline(); !d.IsZero() && !d.After(epoch.Add(now)) {
			t.Fatalf("deadline %v is due after Pop", d.Sub(epoch))
		} else if d.IsZero() != (len(m.held) == 0) {
			t.Fatalf("deadline %v with %d packets held", d, len(m.held))
		}
		nacks = b.Missing(epoch.Add(now), 20*time.Millisecond, nacks[:0])
		for _, seq := range nacks {
			if ahead := seq - uint16(m.high); ahead > 0 && ahead <= tailSpan {
				continue
			}
			n := m.high - int64(uint16(m.high)-seq)
			if _, missing := m.noticed[n]; !missing {
				t.Fatalf("asked for %d, which is not missing", n)
			}
		}
	}
	newest := sent
	for range operations {
		op := src.next(100)
		if m.started {
			newest = m.high
		}
		if op >= 60 && sent-newest > maxDropout/2 {
			op = 0 // what comes from further away is taken for another sender's
		}
		if m.started && sent-m.next > DefaultMaxPackets/2 {
			now += wait // the model has no limits
		}
		switch {
		case op < 60: // in order
			push(sent)
			sent++
		case op < 75: // overtaken by later ones, or lost
			transit = append(transit, sent)
			sent++
		case op < 85: // arrives after all
			if len(transit) > 0 {
				i := src.next(len(transit))
				if m.high-transit[i] < maxBehind {
					push(transit[i])
				}
				transit = append(transit[:i], transit[i+1:]...)
			}
		case op < 90: // sent twice
			if n := sent - 1 - int64(src.next(200)); m.started {
				push(n)
			}
		case op < 91: // burst of loss
			sent += int64(src.next(200))
		case op < 92:
			now += time.Duration(src.next(200)) * time.Millisecond
		}
		now += time.Duration(src.next(3)) * time.Millisecond
		if len(transit) > 50 {
			transit = transit[25:] // lost
		}
		if src.next(20) > 0 {
			pop()
		}
		if b.Len() != len(m.held) {
			t.Fatalf("holds %d packets, want %d", b.Len(), len(m.held))
		}
	}
	b.Flush()
	for {
		p, ok := b.Pop(epoch.Add(now))
		if !ok {
			break
		}
		n, lost, _ := m.pop(now, -wait)
		pending += lost
		if p.Packet.SequenceNumber != uint16(n) || p.Lost != pending {
			t.Fatalf("popped %d with %d lost at the end, want %d with %d", p.Packet.SequenceNumber, p.Lost, uint16(n), pending)
		}
		pending = 0
		p.Packet.Release()
	}
	checkBooks(t, b)
	s := b.Stats()
	if len(m.held) != 0 || s.Lost != m.lost || b.Len() != 0 {
		t.Fatalf("at the end: model holds %d and lost %d, buffer %+v", len(m.held), m.lost, s)
	}
	if m.started && s.Popped+s.Lost != uint64(m.high-m.first+1) {
		t.Fatalf("%d popped and %d lost of %d numbers", s.Popped, s.Lost, m.high-m.first+1)
	}
}

func TestBufferDoesWhatTheModelDoes(t *testing.T) {
	operations := 200_000
	if testing.Short() {
		operations = 50_000
	}
	const run = 20_000
	for i := range operations / run {
		compare(t, random{rand.New(rand.NewPCG(uint64(i), 7))}, run)
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{1, 2, 3, 61, 0, 77, 88, 91, 100, 10, 61, 61, 80})
	f.Fuzz(func(t *testing.T, b []byte) {
		compare(t, &scripted{b}, len(b)/3)
	})
}

// FuzzBuffer pushes packets that have nothing to do with each other: nothing may
// leak, wait beyond its deadline, or grow.
func FuzzBuffer(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00\x00\x01\x02\x00\x01\x40\x00\x00\x01\x02\x40\x01\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, in []byte) { wildOperations(t, &scripted{in}, len(in)/5, 100) })
}

func TestWildInputIsAccountedFor(t *testing.T) {
	for i := range 20 {
		wildOperations(t, random{rand.New(rand.NewPCG(uint64(i), 9))}, 10_000, 1+200*i)
	}
}

func wildOperations(t testing.TB, src source, operations, maxPackets int) {
	const wait = 50 * time.Millisecond
	cfg := Config{MaxWait: wait, MaxPackets: maxPackets}
	if src.next(2) == 0 {
		cfg.Begins = func(p *media.Packet) bool { return p.SequenceNumber%8 == 0 }
	}
	b := New(cfg)
	var now time.Duration
	var seq uint16
	var ts uint32
	inside := map[*media.Packet]bool{}
	popped := uint64(0)
	pop := func() {
		for {
			p, ok := b.Pop(epoch.Add(now))
			if !ok {
				break
			}
			if !inside[p.Packet] {
				t.Fatal("popped a packet that was not pushed, or twice")
			}
			delete(inside, p.Packet)
			if p.Lost < 0 {
				t.Fatalf("%d lost", p.Lost)
			}
			popped++
		}
		if d := b.Deadline(); !d.IsZero() && !d.After(epoch.Add(now)) {
			t.Fatal("a deadline is due after Pop")
		}
		if b.Len() > maxPackets {
			t.Fatalf("%d packets held after Pop, more than %d", b.Len(), maxPackets)
		}
	}
	for range operations {
		switch src.next(8) {
		case 0:
			seq += uint16(src.next(65536))
			ts += uint32(src.next(65536)) << 16
		case 1:
			seq += uint16(src.next(40)) - 20
		case 2:
			seq += uint16(src.next(4000))
		default:
			seq++
			ts += 300
		}
		now += time.Duration(src.next(4)) * time.Millisecond
		// Packets from no pool, since those that the buffer releases would come
		// again with the same address.
		p := &media.Packet{SequenceNumber: seq, Timestamp: ts, Arrival: epoch.Add(now), Recovered: src.next(16) == 0}
		if b.Push(p) == Kept {
			inside[p] = true
		}
		if src.next(4) > 0 {
			pop()
			b.Missing(epoch.Add(now), 0, nil)
		}
		if int64(len(b.ring)) > b.maxSpan {
			t.Fatalf("ring of %d", len(b.ring))
		}
	}
	b.Flush()
	pop()
	checkBooks(t, b)
	s := b.Stats()
	if b.Len() != 0 || s.Probation != 0 || uint64(len(inside)) != s.Wild || popped != s.Popped {
		t.Fatalf("%d packets left, %d popped: %+v", len(inside), popped, s)
	}
}
