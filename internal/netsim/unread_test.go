package netsim_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
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

// slowDisk keeps whoever syncs waiting, once, for stall.
type slowDisk struct {
	output.Store
	stall time.Duration
	from  time.Time
	done  atomic.Bool
}

func (s *slowDisk) Create(name, ext string) (output.File, error) {
	f, err := s.Store.Create(name, ext)
	if err != nil {
		return nil, err
	}
	return slowFile{f, f.(io.WriterAt), s}, nil
}

type slowFile struct {
	output.File
	io.WriterAt
	disk *slowDisk
}

func (f slowFile) Sync() error {
	if time.Now().After(f.disk.from) && !f.disk.done.Swap(true) {
		time.Sleep(f.disk.stall)
	}
	return f.File.Sync()
}

// TestWhatIsLostWhileADiskStallsIsAskedFor: while the session waits for its disk, the
// network goes on losing packets, and senders do not keep them for long.
func TestWhatIsLostWhileADiskStallsIsAskedFor(t *testing.T) {
	for _, stall := range []time.Duration{time.Second, 5 * time.Second, 7 * time.Second} {
		t.Run(stall.String(), func(t *testing.T) {
			dir := t.TempDir()
			netsim.Run(t, netsim.Config{Delay: 50 * time.Millisecond, Loss: 0.05, Seed: 3}, func(n *netsim.Net) { stalls(n, dir, stall) })
		})
	}
}

func stalls(n *netsim.Net, dir string, stall time.Duration) {
	t := n.T()
	f, err := peer.NewFactory(peer.Config{Net: n.Host()})
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = f.Close() })
	room := call{signaling.NewQueue(0)}
	room.Push(signaling.Event{Kind: signaling.Joined, Time: time.Now(), Participant: "p"})
	c, err := f.Connect(peer.Options{
		Participant: "p", Connection: 1,
		Sink:   func(e signaling.Event) { room.Push(e) },
		Behind: room.Behind,
	})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := recorder.NewSession(recorder.Config{
		Store: &slowDisk{Store: output.OpenDir(root, output.DirOptions{NoSync: true}), stall: stall, from: time.Now().Add(5 * time.Second)},
		NewMuxer: func(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{Chunk: o.Chunk, UID: o.UID})
		},
		Ext:   func([]media.Codec) string { return ".webm" },
		Start: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background(), room) }()
	p := n.Publisher(netsim.PublisherConfig{Video: media.VP8})
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(p.Answer(offer)); err != nil {
		t.Fatal(err)
	}
	p.Start()
	time.Sleep(20 * time.Second)
	p.Stop()
	time.Sleep(3 * time.Second) // for what is to be sent again
	p.Close()
	time.Sleep(100 * time.Millisecond)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	room.Queue.Close(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if room.Dropped() > 0 {
		t.Errorf("%d events were dropped", room.Dropped())
	}
	got := read(filepath.Join(dir, "p.webm"))
	compare(t, "video", got[media.Video], p.SentVideo(), 10)
	compare(t, "audio", got[media.Audio], p.SentAudio(), 10)
	m := s.Manifest()
	for _, track := range m.Files[0].Tracks {
		t.Logf("%v of stall: %s %+v", stall, track.Kind, track.Packets)
		if track.Packets.Lost > 0 {
			t.Errorf("%s: %d packets are lost, with gaps %+v", track.Kind, track.Packets.Lost, track.Gaps)
		}
	}
}
