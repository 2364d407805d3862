package netsim_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// call is a room of one connection.
type call struct{ *signaling.Queue }

func (call) Close() error { return nil }

// observed is a muxer that tells of each frame first.
type observed struct {
	output.Muxer
	tell func(media.Frame)
}

func (m observed) WriteFrame(track int, f media.Frame) error {
	m.tell(f)
	return m.Muxer.WriteFrame(track, f)
}

// record makes a session that writes WebM files into dir, and tells of each
// frame when tell is not nil.
func record(t *testing.T, dir string, tell func(media.Frame)) *recorder.Session {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	s, err := recorder.NewSession(recorder.Config{
		Store: output.OpenDir(root, output.DirOptions{NoSync: true}),
		NewMuxer: func(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
			m, err := webm.NewWriter(w, webm.Config{Chunk: o.Chunk, UID: o.UID})
			if err != nil || tell == nil {
				return m, err
			}
			return observed{m, tell}, nil
		},
		Ext:   func([]media.Codec) string { return ".webm" },
		Start: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read gives the frames of a file, which may be growing, by kind.
func read(file string) map[media.Kind][][]byte {
	frames := map[media.Kind][][]byte{}
	b, err := os.ReadFile(file)
	if err != nil {
		return frames // not yet
	}
	r := webm.NewReader(bytes.NewReader(b))
	for {
		block, err := r.Next()
		if err != nil {
			return frames
		}
		for _, track := range r.Tracks() {
			if track.Number == block.Track {
				kind := track.Codec.Kind()
				frames[kind] = append(frames[kind], bytes.Clone(block.Data))
			}
		}
	}
}

// TestNothingIsMissing records calls, ten of each kind: from the first keyframe
// and the first Opus packet to the last ones that were sent before the sender
// hung up, everything must be in the file byte for byte, and the first keyframe
// half a second after the track began. What a network loses is sent again.
func TestNothingIsMissing(t *testing.T) {
	for name, cfg := range map[string]netsim.Config{
		"perfect": {Delay: 20 * time.Millisecond},
		"lossy":   {Delay: 20 * time.Millisecond, Loss: 0.03, Duplicate: 0.02, Reorder: 0.02},
	} {
		for run := range 10 {
			codec := []media.Codec{media.VP8, media.VP9}[run%2]
			t.Run(fmt.Sprintf("%s/%v/%d", name, codec, run), func(t *testing.T) {
				cfg := cfg
				cfg.Seed = uint64(run)
				dir := t.TempDir()
				netsim.Run(t, cfg, func(n *netsim.Net) { nothingIsMissing(n, codec, dir, cfg.Loss > 0) })
			})
		}
	}
}

func nothingIsMissing(n *netsim.Net, codec media.Codec, dir string, lossy bool) {
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
	s, done := record(t, dir, nil), make(chan error, 1)
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
	time.Sleep(500 * time.Millisecond)
	file := filepath.Join(dir, "p.webm")
	if got := read(file)[media.Video]; !lossy && len(got) == 0 {
		t.Error("half a second after the track began no keyframe is in the file")
	}
	if p.Heard().KeyframeAsked == 0 {
		t.Error("no keyframe was asked for")
	}
	time.Sleep(5 * time.Second)
	p.Stop()
	if lossy {
		time.Sleep(3 * time.Second) // for what is to be sent again
	}
	p.Close()
	time.Sleep(100 * time.Millisecond) // for what is on its way
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	room.Queue.Close(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	got := read(file)
	// What is lost before anything has come, or after everything has, is not
	// known to be missing.
	slack := 0
	if lossy {
		slack = 10
	}
	compare(t, "video", got[media.Video], p.SentVideo(), slack)
	compare(t, "audio", got[media.Audio], p.SentAudio(), slack)
}

// compare fails the test unless got is want, but for slack frames at either end.
func compare(t *testing.T, what string, got [][]byte, want []netsim.Sent, slack int) {
	t.Helper()
	first := 0
	for len(got) > 0 && first < min(slack, len(want)) && !bytes.Equal(got[0], want[first].Data) {
		first++
	}
	if missing := len(want) - first - len(got); missing < 0 || missing > slack {
		t.Errorf("%s: %d frames in the file, %d were sent", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)-first) {
		if !bytes.Equal(got[i], want[first+i].Data) {
			t.Errorf("%s: frame %d is not the one that was sent", what, i)
			return
		}
	}
}
