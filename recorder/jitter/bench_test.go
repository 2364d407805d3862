package jitter

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// benchmark pushes and pops packets, one each millisecond; order gives which of
// the numbers of each group of four comes when, and -1 for one that is lost. One
// operation is one number.
func benchmark(b *testing.B, order [4]int) {
	buf := New(Config{MaxWait: 100 * time.Millisecond})
	raw := make([]byte, 1200)
	raw[0], raw[1] = 0x80, 96
	var asked []uint16
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		now := epoch.Add(time.Duration(n) * time.Millisecond)
		if k := order[n%4]; k >= 0 {
			p, err := media.NewPacket(raw, now)
			if err != nil {
				b.Fatal(err)
			}
			p.SequenceNumber = uint16(n - n%4 + k)
			p.Timestamp = uint32(n * 90)
			if buf.Push(p) != Kept {
				p.Release()
			}
		}
		for {
			p, ok := buf.Pop(now)
			if !ok {
				break
			}
			p.Packet.Release()
		}
		if next := buf.NextNack(); !next.IsZero() && !now.Before(next) {
			asked = buf.Missing(now, 20*time.Millisecond, asked[:0])
		}
		n++
	}
}

func BenchmarkInOrder(b *testing.B)   { benchmark(b, [4]int{0, 1, 2, 3}) }
func BenchmarkReordered(b *testing.B) { benchmark(b, [4]int{0, 2, 1, 3}) }
func BenchmarkLoss(b *testing.B)      { benchmark(b, [4]int{0, -1, 2, 3}) }
