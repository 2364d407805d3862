package peer

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/roomtape/roomtape/media"
)

// TestLossIsKnownWhileVideoIsPaused has a viewer report on sound only after much of
// the picture was lost: what was lost then is not what is lost now.
func TestLossIsKnownWhileVideoIsPaused(t *testing.T) {
	estimate, err := newEstimator(maxForwarded)
	if err != nil {
		t.Fatal(err)
	}
	defer estimate.close()
	out := &outlets{estimate: estimate}
	for ssrc, codec := range map[uint32]media.Codec{1: media.VP8, 2: media.Opus} {
		out.all = append(out.all, &Outlet{cfg: OutletConfig{Codec: codec}, flow: flow{ssrc: ssrc}})
	}
	now := time.Unix(0, 0)
	second := func(reports ...rtcp.ReceptionReport) {
		now = now.Add(time.Second)
		out.reported(reports, now)
	}
	for range 5 {
		second(rtcp.ReceptionReport{SSRC: 1, FractionLost: 128}, rtcp.ReceptionReport{SSRC: 2})
	}
	if loss := estimate.loss(); loss < 0.4 {
		t.Fatalf("of the picture half is lost, and of all %.2f", loss)
	}
	for range 6 {
		second(rtcp.ReceptionReport{SSRC: 2})
	}
	if loss := estimate.loss(); loss > 0.03 {
		t.Errorf("of the sound nothing is lost, and of all %.2f", loss)
	}
}

// TestMuchIsBelievedAsFarAsItIsSent has a subscriber who is sent little lose half of
// it: what was believed of it without any proof is not believed any more at once.
func TestMuchIsBelievedAsFarAsItIsSent(t *testing.T) {
	for name, c := range map[string]struct{ sent, least, most int }{
		"little": {300_000, 0, unproven},
		"much":   {40_000_000, unproven, maxForwarded * 3 / 4},
	} {
		estimate, err := newEstimator(maxForwarded)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(0, 0)
		for range 2 { // of one second much may be chance
			now = now.Add(time.Second)
			estimate.bytes = c.sent / 8
			estimate.lost(0.5, now)
		}
		if got := estimate.bitrate(); got < c.least || got > c.most {
			t.Errorf("%s: %d bit/s", name, got)
		}
		estimate.close()
	}
}
