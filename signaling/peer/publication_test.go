package peer_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/transport/v4"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/peer"
)

// stage is a publication in a simulated network, and who encodes for it.
type stage struct {
	n       *netsim.Net
	pub     *peer.Publication
	factory *peer.Factory

	wantKey atomic.Bool
	asked   atomic.Int64
	bitrate atomic.Int64
	number  int
	written map[media.Kind]int
}

func newStage(n *netsim.Net) *stage {
	s := &stage{n: n, written: map[media.Kind]int{}}
	var err error
	s.pub, err = peer.NewPublication(peer.PublicationConfig{
		Video: media.VP8, Audio: media.Opus, MinBitrate: 200_000, MaxBitrate: 1_200_000,
		RequestKeyframe: func() { s.wantKey.Store(true); s.asked.Add(1) },
		SetBitrate:      func(b int) { s.bitrate.Store(int64(b)) },
	})
	if err != nil {
		n.T().Fatal(err)
	}
	s.bitrate.Store(1_200_000)
	s.factory = s.newFactory(peer.Config{Net: n.Host(), Publish: s.pub, SendOnly: true})
	return s
}

func (s *stage) newFactory(cfg peer.Config) *peer.Factory {
	cfg.Codecs = []media.Codec{media.VP8, media.Opus}
	f, err := peer.NewFactory(cfg)
	if err != nil {
		s.n.T().Fatal(err)
	}
	s.n.Cleanup(func() { _ = f.Close() })
	return f
}

// view connects a viewer on a host; offers tells whether it makes the offer.
func (s *stage) view(host transport.Net, offers bool) *witness {
	t := s.n.T()
	t.Helper()
	w := &witness{}
	viewer, err := s.newFactory(peer.Config{Net: host}).Connect(w.options())
	if err != nil {
		t.Fatal(err)
	}
	sender, err := s.factory.Connect(peer.Options{Participant: "viewer"})
	if err != nil {
		t.Fatal(err)
	}
	from, to := sender, viewer
	if offers {
		from, to = viewer, sender
	}
	offer, err := from.Offer()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := to.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Accept(answer); err != nil {
		t.Fatal(err)
	}
	for viewer.State() != peer.Connected || sender.State() != peer.Connected {
		time.Sleep(10 * time.Millisecond)
	}
	return w
}

// send publishes for some time: 25 pictures a second at the bitrate that is
// asked for, and sound.
func (s *stage) send(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s.write(media.Audio, netsim.Frame(media.Opus, s.number, 100, true, 0, 0), true)
		if s.number%2 == 0 {
			size := int(s.bitrate.Load()) / 8 / 25
			key := s.wantKey.Swap(false)
			if key {
				size *= 3
			}
			s.write(media.Video, netsim.Frame(media.VP8, s.number/2, size, key, 640, 360), key)
		}
		s.number++
	}
}

func (s *stage) write(k media.Kind, data []byte, key bool) {
	if err := s.pub.Write(k, media.Frame{Data: data, Key: key}, time.Now()); err != nil {
		s.n.T().Error(err)
	}
	s.written[k]++
}

func TestPublicationReachesAllViewersWhole(t *testing.T) {
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond}, func(n *netsim.Net) {
		s := newStage(n)
		first, second := s.view(n.Host(), false), s.view(n.Host(), true)
		s.send(5 * time.Second)
		synctest.Wait()
		time.Sleep(time.Second)
		for i, w := range []*witness{first, second} {
			video, audio := w.track(media.Video), w.track(media.Audio)
			if video == nil || audio == nil {
				t.Fatalf("viewer %d: no track", i)
			}
			frames, right := w.frames(video)
			if frames < s.written[media.Video]-1 || !right {
				t.Errorf("viewer %d: %d frames of %d, right %v", i, frames, s.written[media.Video], right)
			}
			if got := w.count(audio); got != s.written[media.Audio] {
				t.Errorf("viewer %d: %d audio packets of %d", i, got, s.written[media.Audio])
			}
			if video.AbsCaptureTime == 0 || !video.Retransmits {
				t.Errorf("viewer %d: track %+v", i, video)
			}
		}
		if got := s.bitrate.Load(); got != 1_200_000 {
			t.Errorf("bitrate %d on a network that carries all", got)
		}
	})
}

func TestPublicationSendsLostPacketsAgain(t *testing.T) {
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond, Loss: 0.05, Seed: 3}, func(n *netsim.Net) {
		s := newStage(n)
		w := s.view(n.Host(), false)
		s.send(10 * time.Second)
		time.Sleep(3 * time.Second)
		// Nothing tells of what was lost before the first packet that came.
		if frames, _ := w.frames(w.track(media.Video)); frames < s.written[media.Video]-2 {
			t.Errorf("%d frames of %d", frames, s.written[media.Video])
		}
		if v := s.pub.Viewers(); len(v) != 1 || v[0].Retransmitted == 0 || v[0].RoundTrip < 39*time.Millisecond || v[0].RoundTrip > 80*time.Millisecond {
			t.Errorf("viewers %+v", v)
		}
		if got := s.bitrate.Load(); got < 600_000 {
			t.Errorf("bitrate %d: a little loss is no congestion", got)
		}
	})
}

func TestPublicationFollowsTheSlowestViewer(t *testing.T) {
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond, Seed: 5}, func(n *netsim.Net) {
		s := newStage(n)
		slow := n.Host()
		fast, behind := s.view(n.Host(), false), s.view(slow, false)
		s.send(3 * time.Second)
		if got := s.bitrate.Load(); got != 1_200_000 {
			t.Errorf("bitrate %d before any limit", got)
		}
		n.Limit(slow, 500_000, 0.1)
		began := time.Now()
		for s.bitrate.Load() > 500_000 && time.Since(began) < 10*time.Second {
			s.send(100 * time.Millisecond)
		}
		t.Logf("%d bit/s after %v", s.bitrate.Load(), time.Since(began))
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the encoder was told after %v", took)
		}
		s.send(5 * time.Second)
		seen, written := behind.count(behind.track(media.Video)), s.written[media.Video]
		s.send(10 * time.Second)
		if got := s.bitrate.Load(); got < 200_000 || got > 600_000 {
			t.Errorf("%d bit/s for a link of 500,000", got)
		}
		// The picture is steady, and what was lost came again.
		seen = behind.count(behind.track(media.Video)) - seen
		if written = s.written[media.Video] - written; seen < written*9/10 {
			t.Errorf("%d packets by the slow link in 10 s, of %d pictures", seen, written)
		}
		for _, v := range s.pub.Viewers() {
			t.Logf("%+v", v)
			if v.Dropped > 100 {
				t.Errorf("%d pictures left out", v.Dropped)
			}
		}
		time.Sleep(time.Second)
		frames, right := fast.frames(fast.track(media.Video))
		if frames < s.written[media.Video]-1 || !right {
			t.Errorf("the fast viewer has %d frames of %d, right %v", frames, s.written[media.Video], right)
		}
		n.Limit(slow, 0, 0)
		for began = time.Now(); s.bitrate.Load() < 1_200_000 && time.Since(began) < time.Minute; {
			s.send(100 * time.Millisecond)
		}
		t.Logf("%d bit/s %v after the limit is gone", s.bitrate.Load(), time.Since(began))
		if s.bitrate.Load() < 1_000_000 {
			t.Errorf("%d bit/s a minute after the limit is gone", s.bitrate.Load())
		}
	})
}
