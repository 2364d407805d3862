package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
	"github.com/roomtape/roomtape/signaling/peer"
)

// queueRoom is a room that others push events into.
type queueRoom struct{ *signaling.Queue }

// Close ends the room.
func (r queueRoom) Close() error {
	r.Queue.Close(nil)
	return nil
}

// A call over a network that loses and reorders, recorded and dumped, and then
// replayed: the files are the same byte for byte.
func TestLossyCallReplays(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		t.Run(codec.String(), func(t *testing.T) {
			dir := t.TempDir()
			netsim.Run(t, netsim.Config{Seed: uint64(codec), Loss: 0.05, Delay: 25 * time.Millisecond, Reorder: 0.05, Duplicate: 0.02}, func(n *netsim.Net) {
				lossyCall(n, codec, dir)
			})
			live, err := os.ReadFile(filepath.Join(dir, "p.webm"))
			if err != nil {
				t.Fatal(err)
			}
			r, again := replayFile(t, filepath.Join(dir, "dump.pcapng"))
			if len(r.Files) != 1 || r.Files[0].DurationMS < 4000 {
				t.Fatalf("%d files: %+v", len(r.Files), r.Files)
			}
			past, err := os.ReadFile(filepath.Join(again, r.Files[0].Path))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(live, past) {
				t.Errorf("%d bytes live, and other %d bytes in the replay", len(live), len(past))
			}
		})
	}
}

func lossyCall(n *netsim.Net, codec media.Codec, dir string) {
	t := n.T()
	f, err := peer.NewFactory(peer.Config{Net: n.Host()})
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = f.Close() })
	room := queueRoom{signaling.NewQueue(0)}
	room.Push(signaling.Event{Kind: signaling.Joined, Time: time.Now(), Participant: "p"})
	c, err := f.Connect(peer.Options{Participant: "p", Connection: 1, Sink: func(e signaling.Event) { room.Push(e) }})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	store := output.OpenDir(root, output.DirOptions{NoSync: true})
	start := time.Now()
	info := dump.SessionInfo{Room: "netsim", Recorder: programName(), Start: start.UTC().Round(0)}
	dumped := dumpRoom(room, store, info, start, netsim.Logger())
	s, err := recorder.NewSession(recorder.Config{
		Room: info.Room, Recorder: info.Recorder, Start: info.Start, Store: store,
		NewMuxer: newWebM, Ext: formats[0].ext, Fsync: recorder.FsyncNever,
		OnStatus: func(recorder.Status) {}, // as on a terminal
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, dumped) }()

	p := n.Publisher(netsim.PublisherConfig{Video: codec})
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(p.Answer(offer)); err != nil {
		t.Fatal(err)
	}
	p.Start()
	time.Sleep(5*time.Second + 137*time.Millisecond)
	stop() // as by a signal, in the middle of it all
	if err := <-done; err != nil {
		t.Error(err)
	}
	dumped.finish()
	p.Close()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	room.Queue.Close(nil)
}
