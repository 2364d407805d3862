package media_test

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

func TestOpusDuration(t *testing.T) {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	const silk10, silk60, hybrid20, celt25, celt20 = 0 << 3, 3 << 3, 13 << 3, 16 << 3, 31 << 3
	pad := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		name string
		b    []byte
		want time.Duration // 0: refused
	}{
		{"nothing", nil, 0},
		{"DTX of one byte", []byte{celt20}, ms(20)},
		{"DTX of two bytes", []byte{celt20, 0}, ms(20)},
		{"one frame of 10 ms", []byte{silk10, 1, 2}, ms(10)},
		{"one frame of 2.5 ms", []byte{celt25, 1}, ms(2.5)},
		{"one frame of 60 ms", []byte{silk60, 1}, ms(60)},
		{"hybrid", []byte{hybrid20, 1}, ms(20)},
		{"one frame of 1275 bytes", append([]byte{celt20}, pad(1275)...), ms(20)},
		{"one frame of 1276 bytes", append([]byte{celt20}, pad(1276)...), 0},
		{"two frames", []byte{celt20 | 1, 1, 2}, ms(40)},
		{"two empty frames", []byte{celt20 | 1}, ms(40)},
		{"two frames of an odd size", []byte{celt20 | 1, 1, 2, 3}, 0},
		{"two frames of 60 ms", []byte{silk60 | 1, 1, 2}, ms(120)},
		{"two sizes", []byte{celt20 | 2, 1, 9, 8, 8}, ms(40)},
		{"two sizes, none given", []byte{celt20 | 2}, 0},
		{"two sizes, first too large", []byte{celt20 | 2, 4, 9, 8, 8}, 0},
		{"two sizes, size cut", []byte{celt20 | 2, 252}, 0},
		{"two sizes, first of 252", append([]byte{celt20 | 2, 252, 0}, pad(252)...), ms(40)},
		{"three frames", []byte{celt20 | 3, 3, 1, 2, 3}, ms(60)},
		{"three frames of no size", []byte{celt20 | 3, 3}, ms(60)},
		{"three frames of 4/3 bytes", []byte{celt20 | 3, 3, 1, 2, 3, 4}, 0},
		{"no count", []byte{celt20 | 3}, 0},
		{"no frames", []byte{celt20 | 3, 0, 1}, 0},
		{"six frames of 20 ms", []byte{celt20 | 3, 6}, ms(120)},
		{"seven frames of 20 ms", []byte{celt20 | 3, 7}, 0},
		{"48 frames of 2.5 ms", []byte{celt25 | 3, 48}, ms(120)},
		{"49 frames of 2.5 ms", []byte{celt25 | 3, 49}, 0},
		{"padding", []byte{celt20 | 3, 0x40 | 1, 2, 7, 0, 0}, ms(20)},
		{"long padding", append([]byte{celt20 | 3, 0x40 | 1, 255, 1, 7}, pad(255)...), ms(20)},
		{"padding cut", []byte{celt20 | 3, 0x40 | 1, 255}, 0},
		{"too much padding", []byte{celt20 | 3, 0x40 | 1, 3, 0, 0}, 0},
		{"sizes", []byte{celt20 | 3, 0x80 | 3, 1, 2, 9, 8, 8, 7}, ms(60)},
		{"sizes too large", []byte{celt20 | 3, 0x80 | 3, 1, 4, 9, 8, 8, 7}, 0},
		{"sizes cut", []byte{celt20 | 3, 0x80 | 3, 1}, 0},
	} {
		got, ok := media.OpusDuration(c.b)
		if ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.name, got, ok, c.want)
		}
	}
}
