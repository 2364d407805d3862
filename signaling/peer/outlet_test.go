package peer

import (
	"testing"

	"github.com/pion/rtcp"
)

// TestReportsCountOnce gives a report to each source that it is about, as SRTP
// does.
func TestReportsCountOnce(t *testing.T) {
	report := &rtcp.ReceiverReport{SSRC: 9, Reports: []rtcp.ReceptionReport{{SSRC: 1}, {SSRC: 2}, {SSRC: 3}}}
	for _, p := range []rtcp.Packet{
		report,
		&rtcp.SenderReport{SSRC: 9, Reports: report.Reports},
		&rtcp.FullIntraRequest{SenderSSRC: 9, FIR: []rtcp.FIREntry{{SSRC: 1}, {SSRC: 2}}},
		&rtcp.ReceiverEstimatedMaximumBitrate{SSRCs: []uint32{1, 2, 3}},
		&rtcp.TransportLayerNack{SenderSSRC: 9, MediaSSRC: 1},
	} {
		count := 0
		for _, ssrc := range p.DestinationSSRC() {
			if first(p, ssrc) {
				count++
			}
		}
		if count != 1 {
			t.Errorf("%T counts %d times", p, count)
		}
	}
}
