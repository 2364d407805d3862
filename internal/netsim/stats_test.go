package netsim_test

import (
	"context"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// TestStatisticsAreWhatTheNetworkDid plays a call with loss, a bad spell from 15 s
// to 20 s in which next to nothing comes back, and 40 ms each way, and holds what
// the recorder says against what was sent and what the network let through.
func TestStatisticsAreWhatTheNetworkDid(t *testing.T) {
	dir := t.TempDir()
	netsim.Run(t, netsim.Config{Seed: 7, Loss: 0.03, Delay: 40 * time.Millisecond}, func(n *netsim.Net) { statistics(n, dir) })
}

func statistics(n *netsim.Net, dir string) {
	t := n.T()
	f, err := peer.NewFactory(peer.Config{Net: n.Host()})
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = f.Close() })
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = root.Close() })
	room := call{signaling.NewQueue(0)}
	c, err := f.Connect(peer.Options{Participant: "p", Connection: 1, Sink: func(e signaling.Event) { room.Push(e) }})
	if err != nil {
		t.Fatal(err)
	}
	var list []recorder.Status
	s, err := recorder.NewSession(recorder.Config{
		Store: output.OpenDir(root, output.DirOptions{NoSync: true}),
		NewMuxer: func(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{Chunk: o.Chunk, UID: o.UID})
		},
		Ext: func([]media.Codec) string { return ".webm" }, Start: time.Now(),
		OnStatus: func(s recorder.Status) { list = append(list, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background(), room) }()
	p := n.Publisher(netsim.PublisherConfig{})
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(p.Answer(offer)); err != nil {
		t.Fatal(err)
	}
	p.Start()
	time.Sleep(15 * time.Second)
	n.SetLoss(0.85)
	time.Sleep(5 * time.Second)
	n.SetLoss(0.03)
	time.Sleep(15 * time.Second)
	p.Stop()
	time.Sleep(4 * time.Second) // for what is to be sent again
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	room.Queue.Close(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}

	var sent, came int64
	for _, frame := range p.SentVideo() {
		for i := range frame.Packets {
			sent++
			if p.VideoDelivered(netsim.Sent{First: frame.First + uint16(i), Packets: 1}) {
				came++
			}
		}
	}
	heard := p.Heard()
	var v recorder.TrackStatus
	var conn recorder.ConnectionStatus
	for _, st := range list {
		for _, who := range st.Participants {
			for _, track := range who.Tracks {
				if track.Kind == media.Video {
					v, conn = track, who.Connections[0]
				}
			}
		}
		// A calm second: 25 pictures of some 5000 bytes, but for those that waited at its
		// beginning or end for what is sent again, up to four round trips.
		if st.Time == 12*time.Second && (math.Abs(v.FrameRate-25) > 8 || v.Bitrate < 680_000 || v.Bitrate > 1_320_000) {
			t.Errorf("%.1f pictures/s, %d bit/s", v.FrameRate, v.Bitrate)
		}
	}
	total := v.Totals
	t.Logf("%d packets sent, %d came by themselves; %d lost, %d recovered, %d missing, jitter %v, round trip %v, %d NACKs, %d PLIs, waited %v",
		sent, came, total.Lost, total.Recovered, total.Missing, v.Jitter, conn.RoundTrip, total.Nacks, total.PLIs, total.Waited/time.Duration(total.Frames))
	// What is lost before the first packet that comes is not known.
	if lost := sent - came; total.Lost > lost || total.Lost < lost-10 {
		t.Errorf("the network has lost %d packets, statistics say %d", lost, total.Lost)
	}
	if total.Recovered+total.Missing < total.Lost-5 || total.Recovered+total.Missing > total.Lost+5 {
		t.Errorf("%d lost are not %d recovered and %d missing", total.Lost, total.Recovered, total.Missing)
	}
	if conn.RoundTrip < 75*time.Millisecond || conn.RoundTrip > 95*time.Millisecond {
		t.Errorf("a round trip of %v by 40 ms each way", conn.RoundTrip)
	}
	if conn.ICEState != "connected" || conn.LocalCandidate == "" || conn.RemoteCandidate == "" || conn.Protocol != "udp" {
		t.Errorf("%+v", conn)
	}
	// What we have sent is more than what has come there.
	if total.Nacks == 0 || int64(heard.KeyframeAsked) > total.PLIs || total.PLIs > 3*int64(heard.KeyframeAsked) {
		t.Errorf("%d NACKs, %d PLIs, of which %d came", total.Nacks, total.PLIs, heard.KeyframeAsked)
	}
	if v.Jitter > 20*time.Millisecond {
		t.Errorf("a jitter of %v", v.Jitter)
	}
	events := s.Manifest().Quality
	if len(events) == 0 {
		t.Fatal("nobody says that quality was poor")
	}
	for _, e := range events {
		t.Logf("%+v", e)
		if e.Event == recorder.QualityPoor && (e.AtMS < 14_000 || e.AtMS > 27_000) {
			t.Errorf("poor without a reason: %+v", e)
		}
	}
	if last := events[len(events)-1]; last.Event != recorder.QualityRecovered {
		t.Errorf("the last event is %+v", last)
	}
}
