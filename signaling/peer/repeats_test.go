package peer

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/roomtape/roomtape/media"
)

// asker is an outlet whose packets are asked for again.
type asker struct {
	out *outlets
	o   *Outlet

	mu   sync.Mutex
	sent []uint16 // by RTX
}

// got gives what was sent again so far.
func (a *asker) got() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.sent)
}

func newAsker(limit int) *asker {
	a := &asker{out: newOutlets()}
	a.out.opened.Store(true)
	a.out.estimate.limit = limit
	to := rtpWriter(func(h *rtp.Header, payload []byte) (int, error) {
		if h.SSRC == 2 {
			a.mu.Lock()
			a.sent = append(a.sent, uint16(payload[0])<<8|uint16(payload[1]))
			a.mu.Unlock()
		}
		return len(payload), nil
	})
	a.out.estimate.add(1, 5, to)
	a.out.estimate.add(2, 5, to)
	a.out.estimate.limit = limit
	c := &Conn{}
	c.outlets.Store(a.out)
	a.o = &Outlet{conn: c, cfg: OutletConfig{Codec: media.VP8}, flow: flow{ssrc: 1, rtx: 2, rtxType: 46, clockRate: 90000}}
	a.out.all = append(a.out.all, a.o)
	return a
}

func (a *asker) ask(numbers ...uint16) {
	now := time.Now()
	a.out.ask(a.o.nacked(&rtcp.TransportLayerNack{MediaSSRC: 1, Nacks: rtcp.NackPairsFromSequenceNumbers(numbers)}, now, 50*time.Millisecond))
}

// TestRepeatsHaveTheirShare has a peer ask for a hundred packets again and again: each
// comes once, in order, and all together no faster than their share.
func TestRepeatsHaveTheirShare(t *testing.T) {
	for name, c := range map[string]struct {
		narrow bool
		share  float64
	}{"wide": {false, repeatShare}, "narrow": {true, repeatNarrow}} {
		synctest.Test(t, func(t *testing.T) {
			const limit, size, count = 800_000, 1000, 100
			a := newAsker(limit)
			defer a.out.close()
			var numbers []uint16
			for i := range uint16(count) {
				a.o.Send(OutletPacket{Sequence: 100 + i, Timestamp: uint32(i), Payload: make([]byte, size)})
				numbers = append(numbers, 100+i)
			}
			took := time.Duration(float64(count*8*size) / (limit * c.share / 100) * float64(time.Second))
			for began := time.Now(); time.Since(began) < took/2; time.Sleep(100 * time.Millisecond) {
				if c.narrow {
					a.out.estimate.mu.Lock()
					a.out.estimate.congested = time.Now()
					a.out.estimate.mu.Unlock()
				}
				a.ask(numbers[len(a.got()):]...)
			}
			if n := len(a.got()); n < 40 || n > 55 {
				t.Errorf("%s: %d packets after half of the time", name, n)
			}
			if rate := float64(a.out.repeats.bitrate(time.Now())); rate < 0.7*limit*c.share/100 || rate > 1.2*limit*c.share/100 {
				t.Errorf("%s: %.0f bit/s of repeats", name, rate)
			}
			time.Sleep(took)
			got := a.got()
			for i, n := range got {
				if i > 0 && n != got[i-1]+1 {
					t.Fatalf("%s: %d comes after %d", name, n, got[i-1])
				}
			}
			if len(a.got()) != count || a.o.Stats().Retransmitted != count {
				t.Errorf("%s: %d packets came again of %d", name, len(a.got()), count)
			}
			a.ask(100)
			time.Sleep(10 * time.Millisecond)
			if len(a.got()) != count+1 {
				t.Errorf("%s: what is asked for a second later does not come", name)
			}
			if a.out.estimate.sequence != 2*count+1 {
				t.Errorf("%s: %d packets were numbered for the estimate", name, a.out.estimate.sequence)
			}
		})
	}
}

// TestProbeEndsWithTheConnection closes one that probes and has packets to repeat.
func TestProbeEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(50_000)
		for i := range uint16(100) {
			a.o.Send(OutletPacket{Sequence: i, Payload: make([]byte, 1000)})
			a.ask(i)
		}
		if !a.out.probe(1000) {
			t.Fatal("there is no probe")
		}
		time.Sleep(5 * time.Millisecond)
		a.out.close()
		synctest.Wait()
		sent := len(a.got())
		time.Sleep(10 * time.Second)
		if len(a.got()) != sent {
			t.Error("it goes on after the end")
		}
	})
}
