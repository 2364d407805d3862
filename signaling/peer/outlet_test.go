package peer

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/roomtape/roomtape/media"
)

// TestLossIsKnownWhileVideoIsPaused has a viewer report on sound only after much of
// the picture was lost: what was lost then is not what is lost now.
func TestLossIsKnownWhileVideoIsPaused(t *testing.T) {
	out := newOutlets()
	estimate := out.estimate
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
	if loss := estimate.loss(now); loss < 0.4 {
		t.Fatalf("of the picture half is lost, and of all %.2f", loss)
	}
	for range 6 {
		second(rtcp.ReceptionReport{SSRC: 2})
	}
	if loss := estimate.loss(now); loss > 0.03 {
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
		estimate := newEstimator(maxForwarded, maxForwarded)
		now := time.Unix(0, 0)
		for range 2 { // of one second much may be chance
			now = now.Add(time.Second)
			estimate.bytes = c.sent / 8
			estimate.lost(0.5, now)
		}
		if got := estimate.bitrate(); got < c.least || got > c.most {
			t.Errorf("%s: %d bit/s", name, got)
		}
	}
}

// rtpWriter is a webrtc.TrackLocalWriter.
type rtpWriter func(h *rtp.Header, payload []byte) (int, error)

func (w rtpWriter) WriteRTP(h *rtp.Header, payload []byte) (int, error) { return w(h, payload) }
func (rtpWriter) Write([]byte) (int, error)                             { return 0, errors.ErrUnsupported }

// TestDependencyDescriptorsPass: a descriptor with a structure, which only the two-byte
// form of header extensions has room for, is there beside others, and again when the
// packet is sent again.
func TestDependencyDescriptorsPass(t *testing.T) {
	out := newOutlets()
	out.opened.Store(true)
	const ssrc, rtx, captureID, dependID = 1, 2, 3, 4
	var sent []*media.Packet
	to := rtpWriter(func(h *rtp.Header, payload []byte) (int, error) {
		b, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
		if err != nil {
			return 0, err
		}
		p, err := media.NewPacket(b, time.Time{})
		sent = append(sent, p)
		return len(b), err
	})
	out.estimate.sent[ssrc], out.estimate.sent[rtx] = to, to
	c := &Conn{}
	c.outlets.Store(out)
	o := &Outlet{conn: c, flow: flow{ssrc: ssrc, rtx: rtx, rtxType: 46, clockRate: 90000, captureID: captureID, dependID: dependID}}
	capture, depend := make([]byte, 8), bytes.Repeat([]byte{0x5a}, 60)
	o.Send(OutletPacket{Sequence: 7, Payload: []byte{1, 2}, Capture: capture, Dependency: depend})
	o.Send(OutletPacket{Sequence: 8, Payload: []byte{3}, Dependency: depend[:3]})
	out.ask(o.nacked(&rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{7, 8})}, time.Unix(100, 0), 0))
	if len(sent) != 4 {
		t.Fatalf("%d packets", len(sent))
	}
	for i, p := range sent {
		want := depend
		if i%2 == 1 {
			want = depend[:3]
		}
		if got := p.Extension(dependID); !bytes.Equal(got, want) {
			t.Errorf("packet %d of source %d has the descriptor %x", i, p.SSRC, got)
		}
	}
	if got := sent[0].Extension(captureID); !bytes.Equal(got, capture) {
		t.Errorf("the capture time is %x", got)
	}
}
