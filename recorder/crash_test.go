package recorder

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
)

// TestEverythingIsWrittenWithinAChunk stops the world at every moment of a
// script: what was complete a chunk before must be in the bytes that are
// written, in the right track and order.
func TestEverythingIsWrittenWithinAChunk(t *testing.T) {
	for _, chunk := range []time.Duration{ms(200), time.Second, 3 * time.Second} {
		t.Run(chunk.String(), func(t *testing.T) {
			room := &script{end: t0.Add(20 * time.Second)}
			var video, audio, screen []sent
			v := room.start(0, &signaling.Track{Participant: "a", Stream: "s", ID: "v", Connection: 1, SSRC: 1, Kind: media.Video})
			a := room.start(0, &signaling.Track{Participant: "a", Stream: "s", ID: "a", Connection: 1, SSRC: 2, Kind: media.Audio})
			w := room.start(0, &signaling.Track{Participant: "a", Stream: "s", ID: "w", Connection: 1, SSRC: 3, Kind: media.Video})
			v.log, a.log, w.log = &video, &audio, &screen
			// Sound that stops before the picture, a picture that stops for a
			// while, a second one that moves once in a while.
			a.audio(ms(13), ms(6000))
			v.video(ms(200), ms(4000))
			v.rtp += 5 * 90000
			v.video(ms(9000), ms(11000))
			for at := ms(300); at < ms(15000); at += ms(1300) {
				w.frame(at, at == ms(300))
				w.rtp += 117000
			}
			m := newMemory()
			cfg := config(m)
			cfg.Chunk = chunk
			done := map[int]int{}
			room.before = func(now time.Time) {
				f := m.files["a.webm"]
				if f == nil {
					if past := t0.Add(ms(13)).Add(chunk); now.After(past) {
						t.Fatalf("no file at %v", now.Sub(t0))
					}
					return
				}
				for i, log := range [][]sent{audio, video, screen} {
					n := done[i]
					for n < len(log) && !log[n].at.Add(chunk).After(now) {
						n++
					}
					if n == done[i] {
						continue
					}
					done[i] = n
					got := 0
					for _, frame := range readBack(t, f.data) {
						if frame.track == i+1 {
							if got < len(log) && frame.data != log[got].data {
								t.Fatalf("at %v frame %d of track %d is not what was sent", now.Sub(t0), got, i+1)
							}
							got++
						}
					}
					if got < n {
						t.Fatalf("at %v track %d has %d frames, of %d that were complete %v before", now.Sub(t0), i+1, got, n, chunk)
					}
				}
			}
			if _, err := run(t, cfg, room); err != nil {
				t.Fatal(err)
			}
			f := m.files["a.webm"]
			if got := len(readBack(t, f.data)); got != len(video)+len(audio)+len(screen) {
				t.Errorf("%d frames in the file, want %d", got, len(video)+len(audio)+len(screen))
			}
			if limit := int(16*time.Second/chunk) * 2; f.writes > limit {
				t.Errorf("%d writes, more than %d", f.writes, limit)
			}
			if f.syncs < f.writes-1 {
				t.Errorf("%d syncs for %d writes", f.syncs, f.writes)
			}
		})
	}
}

func TestStopGivesWhatHasArrived(t *testing.T) {
	m := newMemory()
	room, _, _ := call("alice", 10*time.Second)
	room.before = func(now time.Time) {
		if now.Sub(t0) >= 5*time.Second {
			room.events = room.events[:room.next]
			room.ended = context.Canceled
		}
	}
	s, err := NewSession(config(m))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stopped := stoppedRoom{room}
	if err := s.Run(ctx, stopped); err != nil {
		t.Fatal(err)
	}
	checkAccounts(t, s.Manifest())
	sentPackets := int64(0)
	for _, e := range room.events {
		if e.Kind == signaling.PacketArrived {
			sentPackets++
		}
	}
	var got int64
	for _, tr := range s.Manifest().Files[0].Tracks {
		got += tr.Packets.Received
	}
	if got != sentPackets || got == 0 {
		t.Errorf("%d packets received of %d", got, sentPackets)
	}
}

// stoppedRoom gives its events though the context is done, as signaling.Queue
// does with those that had arrived.
type stoppedRoom struct{ *script }

func (r stoppedRoom) Next(_ context.Context, deadline time.Time) (signaling.Event, error) {
	return r.script.Next(context.Background(), deadline)
}

func TestDiskFullAtAnyByteLeavesFilesThatPlay(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		m := newMemory()
		m.room = rnd.IntN(68_000)
		t.Run(fmt.Sprint(m.room), func(t *testing.T) {
			room, v, a := call("alice", 3*time.Second)
			b := room.start(ms(150), &signaling.Track{Participant: "bob", Stream: "s", Connection: 2, SSRC: 9, Kind: media.Audio})
			b.audio(ms(300), ms(4000))
			v.stop(ms(4000))
			a.stop(ms(4000))
			b.stop(ms(4000))
			s, err := run(t, config(m), room)
			if err == nil {
				t.Fatalf("no error, though only %d bytes fit", m.room)
			}
			if !isStorage(err) {
				t.Errorf("error %v", err)
			}
			got := manifestOf(t, m)
			if got.State != StateIncomplete || got.Reason == "" {
				t.Errorf("state %q, reason %q", got.State, got.Reason)
			}
			for _, f := range s.Manifest().Files {
				var frames int64
				for _, tr := range f.Tracks {
					frames += tr.Frames.Written
				}
				if n := len(readBack(t, m.files[f.Path].data)); int64(n) != frames {
					t.Errorf("%s: %d frames in the file, %d in the manifest", f.Path, n, frames)
				}
			}
		})
	}
}

func TestOneFailingFileDoesNotStopTheOthers(t *testing.T) {
	m := newMemory()
	m.broken = "bob.webm"
	room, v, a := call("alice", 3*time.Second)
	b := room.start(ms(150), &signaling.Track{Participant: "bob", Stream: "s", Connection: 2, SSRC: 9, Kind: media.Audio})
	b.audio(ms(300), ms(4000))
	v.stop(ms(4000))
	a.stop(ms(4000))
	b.stop(ms(4000))
	s, err := run(t, config(m), room)
	if !isStorage(err) {
		t.Errorf("error %v", err)
	}
	got := s.Manifest()
	if n := len(readBack(t, m.files["alice.webm"].data)); n != 225 {
		t.Errorf("%d frames of alice, want 225", n)
	}
	for _, f := range got.Files {
		if (f.Error != "") != (f.Participant == "bob") {
			t.Errorf("file of %s has error %q", f.Participant, f.Error)
		}
	}
	if got.State != StateIncomplete {
		t.Errorf("state %q", got.State)
	}
}

func TestSessionEndsWhenNothingCanBeStored(t *testing.T) {
	m := newMemory()
	m.room = 20_000
	room, _, _ := call("alice", time.Minute)
	s, err := run(t, config(m), room)
	if !isStorage(err) {
		t.Errorf("error %v", err)
	}
	if end := s.Manifest().EndedAt.Sub(t0); end > 5*time.Second {
		t.Errorf("ended after %v", end)
	}
}

func TestFailingManifestAtTheStartEndsTheSession(t *testing.T) {
	cfg := config(newMemory())
	cfg.Store = noManifest{cfg.Store}
	s, err := NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	room, _, _ := call("alice", time.Second)
	if err := s.Run(context.Background(), room); !isStorage(err) {
		t.Errorf("error %v", err)
	}
}

type noManifest struct{ output.Store }

func (noManifest) WriteFile(string, []byte) error { return io.ErrShortWrite }

// TestManifestThatCantBeWrittenIsIncomplete takes the folder away while it is
// recorded into: who has only Manifest must learn of it.
func TestManifestThatCantBeWrittenIsIncomplete(t *testing.T) {
	cfg := config(newMemory())
	gone := &vanishing{Store: cfg.Store, after: t0.Add(time.Second)}
	cfg.Store = gone
	room, v, a := call("alice", 3*time.Second)
	room.before = func(now time.Time) { gone.now = now }
	v.stop(ms(4000))
	a.stop(ms(4000))
	s, err := NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background(), room); !isStorage(err) {
		t.Errorf("error %v", err)
	}
	if m := s.Manifest(); m.State != StateIncomplete || m.Reason == "" {
		t.Errorf("state %q, reason %q", m.State, m.Reason)
	}
}

type vanishing struct {
	output.Store
	now, after time.Time
}

func (v *vanishing) WriteFile(name string, data []byte) error {
	if v.now.After(v.after) {
		return io.ErrShortWrite
	}
	return v.Store.WriteFile(name, data)
}
