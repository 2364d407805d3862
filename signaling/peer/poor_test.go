package peer_test

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
)

// TestPoorViewerLowersTheBitrate has a network lose much for a while, and looks at
// what the encoder is asked for.
func TestPoorViewerLowersTheBitrate(t *testing.T) {
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond, Seed: 11}, func(n *netsim.Net) {
		s := newStage(n)
		s.view(n.Host(), false)
		poor := func() bool {
			v := s.pub.Viewers()
			return len(v) == 1 && v[0].Poor
		}
		s.send(5 * time.Second)
		if got := s.bitrate.Load(); got != 1_200_000 || poor() {
			t.Fatalf("%d bit/s, poor %v, before anything is lost", got, poor())
		}
		n.SetLoss(0.3)
		began := time.Now()
		for !poor() && time.Since(began) < 20*time.Second {
			s.send(100 * time.Millisecond)
		}
		took := time.Since(began)
		s.send(200 * time.Millisecond)
		if got := s.bitrate.Load(); took < 3*time.Second || took > 7*time.Second || got > 600_000 {
			t.Errorf("poor after %v: %d bit/s", took, got)
		}
		n.SetLoss(0)
		began = time.Now()
		for poor() && time.Since(began) < 20*time.Second {
			s.send(100 * time.Millisecond)
		}
		if took := time.Since(began); took < 5*time.Second || took > 12*time.Second {
			t.Errorf("recovered after %v", took)
		}
		for began = time.Now(); s.bitrate.Load() < 1_200_000 && time.Since(began) < time.Minute; {
			s.send(100 * time.Millisecond)
		}
		if got := s.bitrate.Load(); got != 1_200_000 {
			t.Errorf("%d bit/s a minute later", got)
		}
		t.Logf("all of it %v after it has recovered", time.Since(began))
	})
}
