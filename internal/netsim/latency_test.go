package netsim_test

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
)

// TestWaitingCostsNothingWithoutLoss: how long a frame takes from its capture to
// the file is the same whether the recorder could wait for packets or not, when
// there is nothing to wait for; and with loss it is bounded.
func TestWaitingCostsNothingWithoutLoss(t *testing.T) {
	slowest := func(s scenario) (most time.Duration) {
		s.tell = func(c *connected, f media.Frame) {
			sent := c.pub.SentAudio()
			n, ok := netsim.Number(media.Opus, f.Data)
			if !ok {
				sent = c.pub.SentVideo()
				if n, ok = netsim.Number(media.VP8, f.Data); !ok {
					t.Error("an unknown frame")
					return
				}
			}
			// In the first seconds the two tracks find their places.
			if took := time.Since(sent[n].At); n >= 100 {
				most = max(most, took)
			}
		}
		s.play(t, 10*time.Second, 1)
		return most
	}
	waiting := slowest(scenario{})
	not := slowest(scenario{pub: netsim.PublisherConfig{History: -1}})
	t.Logf("the slowest frame takes %v, without retransmission %v", waiting, not)
	if waiting != not || waiting > rtt100+encodeTime+60*time.Millisecond {
		t.Errorf("the slowest frame takes %v, without retransmission %v", waiting, not)
	}
	lossy := slowest(scenario{net: netsim.Config{Loss: 0.1}})
	t.Logf("at a loss of 10 %% it takes %v", lossy)
	if lossy <= waiting || lossy > rtt100+encodeTime+3500*time.Millisecond {
		t.Errorf("at a loss of 10 %% the slowest frame takes %v", lossy)
	}
}
