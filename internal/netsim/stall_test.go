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

// stallingStore is a Dir whose disk does nothing for a while, once.
type stallingStore struct {
	*output.Dir
	at   time.Time
	long time.Duration
	done atomic.Bool
}

func (s *stallingStore) stall() {
	if !time.Now().Before(s.at) && !s.done.Swap(true) {
		time.Sleep(s.long)
	}
}

func (s *stallingStore) Create(name, ext string) (output.File, error) {
	f, err := s.Dir.Create(name, ext)
	if err != nil {
		return nil, err
	}
	return stallingFile{f.(seekable), s}, nil
}

type seekable interface {
	output.File
	io.WriterAt
	Truncate(size int64) error
}

type stallingFile struct {
	seekable
	store *stallingStore
}

func (f stallingFile) Write(b []byte) (int, error) {
	f.store.stall()
	return f.seekable.Write(b)
}

// TestStalledDiskLosesNothing lets the disk do nothing for 5 s in the middle of a
// call: every frame is in the file in the end, at its time, and the sender, which
// has answered meanwhile, is still there.
func TestStalledDiskLosesNothing(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		t.Run(codec.String(), func(t *testing.T) {
			dir := t.TempDir()
			netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond}, func(n *netsim.Net) { stalled(n, codec, dir) })
		})
	}
}

func stalled(n *netsim.Net, codec media.Codec, dir string) {
	t := n.T()
	f, err := peer.NewFactory(peer.Config{Net: n.Host()})
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = f.Close() })
	room := call{signaling.NewQueue(0)}
	room.Push(signaling.Event{Kind: signaling.Joined, Time: time.Now(), Participant: "p"})
	c, err := f.Connect(peer.Options{Participant: "p", Connection: 1, Sink: func(e signaling.Event) { room.Push(e) }})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	store := &stallingStore{Dir: output.OpenDir(root, output.DirOptions{NoSync: true}), at: time.Now().Add(4 * time.Second), long: 5 * time.Second}
	s, err := recorder.NewSession(recorder.Config{
		Store: store, Start: time.Now(), RotateEvery: 3 * time.Second,
		NewMuxer: func(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{Chunk: o.Chunk, UID: o.UID})
		},
		Ext: func([]media.Codec) string { return ".webm" },
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background(), room) }()

	p := n.Publisher(netsim.PublisherConfig{Video: codec})
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(p.Answer(offer)); err != nil {
		t.Fatal(err)
	}
	p.Start()
	time.Sleep(13 * time.Second)
	p.Stop()
	p.Close()
	time.Sleep(100 * time.Millisecond) // for what is on its way
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	dropped := room.Dropped()
	room.Queue.Close(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !store.done.Load() || dropped > 0 {
		t.Errorf("stalled: %t, %d events dropped", store.done.Load(), dropped)
	}
	var video, audio [][]byte
	m := s.Manifest()
	for _, e := range m.Files {
		got := read(filepath.Join(dir, e.Path))
		video, audio = append(video, got[media.Video]...), append(audio, got[media.Audio]...)
		for _, tr := range e.Tracks {
			if tr.Packets.Lost > 0 || tr.Packets.Late > 0 || len(tr.Gaps) > 0 {
				t.Errorf("%s: %s: %+v, gaps %+v", e.Path, tr.Kind, tr.Packets, tr.Gaps)
			}
		}
	}
	if len(m.Files) < 3 {
		t.Errorf("%d files", len(m.Files))
	}
	compare(t, "video", video, p.SentVideo(), 0)
	compare(t, "audio", audio, p.SentAudio(), 0)
}
