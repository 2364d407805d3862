package roomtest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// Recorded gives a venue like v, whose room is written to a dump as well. When
// it is closed, the dump is read and must give the very same events, but for
// ticks.
func Recorded(t *testing.T, v Venue) Venue { return &recorded{Venue: v, t: t} }

type recorded struct {
	Venue
	t    *testing.T
	room *recordedRoom
}

// recordedRoom notes what a room gives.
type recordedRoom struct {
	signaling.Room
	t      *testing.T
	file   bytes.Buffer
	dump   *dump.Writer
	events []heard
}

// heard is an event, with a copy of its packet.
type heard struct {
	event  signaling.Event
	packet []byte
}

func (v *recorded) Join(ctx context.Context) (signaling.Room, error) {
	room, err := v.Venue.Join(ctx)
	if err != nil {
		return nil, err
	}
	r := &recordedRoom{Room: room, t: v.t}
	if r.dump, err = dump.NewWriter(&r.file, dump.WriterConfig{}); err != nil {
		return nil, err
	}
	v.room = r
	return r, nil
}

func (r *recordedRoom) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	e, err := r.Room.Next(ctx, deadline)
	if err != nil {
		return e, err
	}
	if err := r.dump.Write(e); err != nil {
		r.t.Errorf("recording: %v", err)
	}
	if e.Kind == signaling.Tick {
		return e, nil
	}
	h := heard{event: e}
	if e.Packet != nil {
		h.packet = e.Packet.Append(nil)
	}
	h.event.Packet = nil
	r.events = append(r.events, h)
	return e, nil
}

func (v *recorded) Close() error {
	if v.room != nil {
		v.room.check()
	}
	return v.Venue.Close()
}

// check reads the dump.
func (r *recordedRoom) check() {
	t := r.t
	if err := r.dump.Close(); err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(path, r.file.Bytes(), 0o600); err != nil {
		t.Error(err)
		return
	}
	room, err := dump.Open(context.Background(), []string{path}, dump.Config{})
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = room.Close() }() // it was only read
	tracks := map[*signaling.Track]*signaling.Track{}
	for i, want := range r.events {
		got, err := room.Next(context.Background(), time.Time{})
		if err != nil {
			t.Errorf("event %d of %d: %v", i, len(r.events), err)
			return
		}
		if want.event.Kind == signaling.TrackStarted {
			tracks[want.event.Track] = got.Track
		}
		var packet []byte
		if got.Packet != nil {
			packet = got.Packet.Append(nil)
			got.Packet.Release()
		}
		if got.Kind != want.event.Kind || !got.Time.Equal(want.event.Time) || got.Participant != want.event.Participant ||
			got.Report != want.event.Report || got.Track != tracks[want.event.Track] || !bytes.Equal(packet, want.packet) {
			t.Errorf("event %d of the dump is %+v, was %+v", i, got, want.event)
			return
		}
	}
}
