//go:build integration

package netsim_test

import (
	"testing"
	"time"
)

// TestBudgetTable prints how recorders fare behind links of all kinds, with -v, and
// checks those whom something fits.
func TestBudgetTable(t *testing.T) {
	t.Logf("%-6s %5s %9s %6s | %7s %8s %6s %6s %6s | %5s %7s %8s %5s", "layers", "fresh", "link", "queue",
		"missing", "after10s", "first", "480", "960/640", "lost%", "repeats", "lost kB", "PLI")
	for _, layers := range [][]layer{threeLayers, oneLayer} {
		for _, fresh := range []bool{false, true} {
			for _, bitrate := range []int{150_000, 300_000, 1_000_000, 3_000_000, 0} {
				for _, queue := range []time.Duration{200 * time.Millisecond, time.Second} {
					if bitrate == 0 && queue != time.Second {
						continue
					}
					const d = 30 * time.Second
					b := behind(t, layers, bitrate, queue, d, fresh)
					first, top := time.Duration(-1), layers[len(layers)-1].width
					if len(b.seen) > 0 {
						first = b.seen[0].at
					}
					if least := layers[0].bitrate * 5 / 4; bitrate == 0 || bitrate > least {
						if n := b.missing(0); n > 0 || b.err != nil || len(b.seen) < 700 {
							t.Errorf("%d pictures of %d, %d missing: %v", len(b.seen), b.sent, n, b.err)
						}
					}
					t.Logf("%-6d %5v %9d %6v | %7d %8d %6.2f %6.2f %6.2f | %5.1f %7.2f %8.1f %5d | %d seen, top %.2f", len(layers), fresh, bitrate, queue,
						b.missing(0), b.missing(10*time.Second), first.Seconds(), b.first(480).Seconds(), b.first(top).Seconds(),
						100*float64(b.link.Lost)/float64(max(b.link.Offered, 1)), b.repeats(), float64(b.link.Lost)/1000, b.asked, len(b.seen), b.share(top, 10*time.Second))
				}
			}
		}
	}
}
