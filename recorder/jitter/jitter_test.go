package jitter

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

// packet makes a packet that arrives after ms milliseconds and whose timestamp
// runs with the time.
func packet(t testing.TB, seq uint16, ms int) *media.Packet {
	return packetTS(t, seq, ms, uint32(90*ms))
}

func packetTS(t testing.TB, seq uint16, ms int, ts uint32) *media.Packet {
	t.Helper()
	var b [16]byte
	b[0], b[1] = 0x80, 96
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	p, err := media.NewPacket(b[:], at(ms))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type got struct {
	seq  uint16
	lost int
}

// drain pops all that is ready at ms.
func drain(b *Buffer, ms int) []got {
	var out []got
	for {
		p, ok := b.Pop(at(ms))
		if !ok {
			return out
		}
		out = append(out, got{p.Packet.SequenceNumber, p.Lost})
		if p.Restarted {
			out[len(out)-1].lost = -1 - p.Lost
		}
		p.Packet.Release()
	}
}

func wantPopped(t *testing.T, have []got, want ...got) {
	t.Helper()
	if !slices.Equal(have, want) {
		t.Errorf("popped %v, want %v", have, want)
	}
}

func wantVerdict(t *testing.T, have, want Verdict) {
	t.Helper()
	if have != want {
		t.Errorf("verdict %v, want %v", have, want)
	}
}

// checkBooks verifies that every packet pushed is accounted for.
func checkBooks(t testing.TB, b *Buffer) {
	t.Helper()
	s := b.Stats()
	if s.Received != s.Popped+s.Duplicate+s.Late+s.Overflow+s.Wild+s.Probation+uint64(b.Len()) {
		t.Fatalf("the books do not close: %+v, %d held", s, b.Len())
	}
}

func TestAFlowWithoutLossIsNotDelayed(t *testing.T) {
	b := New(Config{})
	seq := uint16(65000) // wraps on the way
	for i := range 2000 {
		wantVerdict(t, b.Push(packet(t, seq, i)), Kept)
		wantPopped(t, drain(b, i), got{seq, 0})
		if !b.Deadline().IsZero() || b.NextNack().Before(at(i).Add(tailAfter)) || !b.DoubtAt().IsZero() {
			t.Fatal("there is something to wait for in a flow without loss")
		}
		seq++
	}
	checkBooks(t, b)
}

func TestReorderedPacketsComeInOrder(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 65534, 0))
	wantPopped(t, drain(b, 0), got{65534, 0})
	b.Push(packet(t, 1, 1))
	b.Push(packet(t, 0, 2))
	wantPopped(t, drain(b, 2))
	b.Push(packet(t, 65535, 3))
	wantPopped(t, drain(b, 3), got{65535, 0}, got{0, 0}, got{1, 0})
	if b.Recovered() != 0 || b.Lost() != 0 {
		t.Errorf("recovered %d and lost %d of packets that were only reordered", b.Recovered(), b.Lost())
	}
}

func TestAMissingPacketIsWaitedForUntilItsDeadline(t *testing.T) {
	b := New(Config{MaxWait: time.Second})
	b.Push(packet(t, 10, 0))
	drain(b, 0)
	b.Push(packet(t, 13, 100))
	wantPopped(t, drain(b, 1099))
	if d := b.Deadline(); !d.Equal(at(1100)) {
		t.Errorf("deadline %v, want %v", d, at(1100))
	}
	wantPopped(t, drain(b, 1100), got{13, 2})
	if !b.Deadline().IsZero() {
		t.Error("a deadline is left")
	}
	wantVerdict(t, b.Push(packetTS(t, 12, 1101, 900)), Late)
	wantVerdict(t, b.Push(packetTS(t, 13, 1101, 9000)), Duplicate)
	wantVerdict(t, b.Push(packetTS(t, 10, 1101, 0)), Duplicate)
	checkBooks(t, b)
}

func TestEachGapHasItsOwnDeadline(t *testing.T) {
	b := New(Config{MaxWait: time.Second})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 100))
	b.Push(packet(t, 5, 600))
	wantPopped(t, drain(b, 1100), got{1, 0}, got{3, 1})
	wantPopped(t, drain(b, 1600), got{5, 1})
}

func TestWithoutWaitingGapsPassAtOnce(t *testing.T) {
	b := New(Config{MaxWait: -1})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 1))
	wantPopped(t, drain(b, 1), got{1, 0}, got{3, 1})
	wantVerdict(t, b.Push(packet(t, 2, 2)), Late)
}

func TestAPacketOlderThanTheFirstIsTakenBeforeThatIsPopped(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 5, 0))
	wantVerdict(t, b.Push(packet(t, 2, 1)), Kept)
	wantVerdict(t, b.Push(packet(t, 4, 2)), Kept)
	wantVerdict(t, b.Push(packet(t, 3, 3)), Kept)
	wantPopped(t, drain(b, 3), got{2, 0}, got{3, 0}, got{4, 0}, got{5, 0})
	wantVerdict(t, b.Push(packet(t, 1, 4)), Late)
	checkBooks(t, b)
}

func TestTooManyPacketsGiveUpTheOldestGap(t *testing.T) {
	b := New(Config{MaxPackets: 10})
	b.Push(packet(t, 0, 0))
	drain(b, 0)
	b.Push(packet(t, 2, 1)) // 1 is missing
	b.Push(packet(t, 4, 2)) // 3 is missing
	for seq := uint16(5); seq < 13; seq++ {
		b.Push(packet(t, seq, 3))
		wantPopped(t, drain(b, 3))
	}
	b.Push(packet(t, 13, 4))
	wantPopped(t, drain(b, 4), got{2, 1})
	if b.Len() != 10 {
		t.Errorf("%d packets held, want 10", b.Len())
	}
}

func TestWithoutPopTheBufferOverflows(t *testing.T) {
	b := New(Config{MaxPackets: 10})
	var kept int
	for i := range 20000 {
		if b.Push(packet(t, uint16(i), i)) == Kept {
			kept++
		}
	}
	s := b.Stats()
	if kept != b.Len()+int(s.Wild+s.Probation) || int64(b.Len()) > b.maxSpan {
		t.Errorf("kept %d packets, holds %d, may hold %d", kept, b.Len(), b.maxSpan)
	}
	checkBooks(t, b)
}

func TestFlushGivesAllThatIsHeld(t *testing.T) {
	b := New(Config{})
	b.Push(packet(t, 1, 0))
	b.Push(packet(t, 3, 0))
	b.Push(packet(t, 40000, 0)) // on probation
	b.Push(packet(t, 6, 0))
	b.Flush()
	wantPopped(t, drain(b, 0), got{1, 0}, got{3, 1}, got{6, 2})
	b.Push(packet(t, 9, 1))
	wantPopped(t, drain(b, 1), got{9, 2})
	if s := b.Stats(); s.Wild != 1 || s.Probation != 0 {
		t.Errorf("after Flush %+v", s)
	}
	checkBooks(t, b)
}
