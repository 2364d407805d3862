package netsim_test

import (
	"sync"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// TestFramesAreNumbered: what Number reads is what Frame wrote, and damage
// shows.
func TestFramesAreNumbered(t *testing.T) {
	for _, c := range []media.Codec{media.VP8, media.VP9, media.Opus} {
		for _, key := range []bool{true, false} {
			f := netsim.Frame(c, 77, 300, key, 640, 360)
			if n, ok := netsim.Number(c, f); n != 77 || !ok {
				t.Errorf("%v: number %d, %v", c, n, ok)
			}
			f[200] ^= 1
			if _, ok := netsim.Number(c, f); ok {
				t.Errorf("%v: damage went unseen", c)
			}
		}
	}
}

// asker is a small receiver that asks for missing packets, as a recorder does.
type asker struct {
	mu   sync.Mutex
	seen map[*signaling.Track]map[uint16]int // times each sequence number came
	next map[*signaling.Track]uint16
	rec  int
	kind map[media.Kind]*signaling.Track
	sr   int
}

func (a *asker) sink(e signaling.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch e.Kind {
	case signaling.TrackStarted:
		a.seen[e.Track] = map[uint16]int{}
		a.kind[e.Track.Kind] = e.Track
		if e.Track.Kind == media.Video {
			go e.Track.Feedback.RequestKeyframe()
		}
	case signaling.Reported:
		a.sr++
	case signaling.PacketArrived:
		p := e.Packet
		a.seen[e.Track][p.SequenceNumber]++
		if p.Recovered {
			a.rec++
		}
		next, ok := a.next[e.Track]
		if d := int16(p.SequenceNumber - next); !ok || d >= 0 {
			var missing []uint16
			for s := next; ok && s != p.SequenceNumber; s++ {
				missing = append(missing, s)
			}
			a.next[e.Track] = p.SequenceNumber + 1
			if missing != nil {
				go e.Track.Feedback.Nack(missing)
			}
		}
		p.Release()
	}
}

// TestCallInFakeTime: a call of 30 s, with and without loss, in which all
// packets arrive but those whose retransmission was lost as well.
func TestCallInFakeTime(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg      netsim.Config
		minShare float64 // of the packets sent that must arrive
	}{
		"perfect": {netsim.Config{Delay: 20 * time.Millisecond}, 1},
		"lossy":   {netsim.Config{Delay: 20 * time.Millisecond, Loss: 0.05, Seed: 3}, 0.985},
		"unruly":  {netsim.Config{Delay: 20 * time.Millisecond, Duplicate: 0.05, Reorder: 0.05}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			netsim.Run(t, tt.cfg, func(n *netsim.Net) {
				t := n.T()
				f, err := peer.NewFactory(peer.Config{Net: n.Host()})
				if err != nil {
					t.Fatal(err)
				}
				n.Cleanup(func() { _ = f.Close() })
				a := &asker{
					seen: map[*signaling.Track]map[uint16]int{}, next: map[*signaling.Track]uint16{},
					kind: map[media.Kind]*signaling.Track{},
				}
				c, err := f.Connect(peer.Options{Sink: a.sink})
				if err != nil {
					t.Fatal(err)
				}
				p := n.Publisher(netsim.PublisherConfig{})
				offer, err := c.Offer()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Accept(p.Answer(offer)); err != nil {
					t.Fatal(err)
				}
				p.Start()
				time.Sleep(30 * time.Second)
				p.Stop()
				time.Sleep(2 * time.Second)

				a.mu.Lock()
				defer a.mu.Unlock()
				for kind, tr := range a.kind {
					got, lo, hi := 0, 1<<30, 0
					for s := range a.seen[tr] {
						got++
						ext := int(int16(s-a.next[tr])) + 1<<20
						lo, hi = min(lo, ext), max(hi, ext)
					}
					if want := float64(hi-lo+1) * tt.minShare; float64(got) < want || !tr.Retransmits {
						t.Errorf("%v: %d of %d packets", kind, got, hi-lo+1)
					}
				}
				if len(a.kind) != 2 {
					t.Errorf("%d tracks", len(a.kind))
				}
				h := p.Heard()
				if tt.cfg.Loss > 0 && (a.rec == 0 || h.Nacked == 0) {
					t.Errorf("nothing was recovered: %d, %+v", a.rec, h)
				}
				if h.KeyframeAsked == 0 || h.ReceiverReports < 40 || h.Congestion < 250 || a.sr < 40 {
					t.Errorf("heard %+v, %d sender reports", h, a.sr)
				}
				if rtt := a.kind[media.Video].Feedback.RoundTrip(); rtt < 40*time.Millisecond || rtt > 70*time.Millisecond {
					t.Errorf("round trip is %v, want 40ms", rtt)
				}
			})
		})
	}
}
