package dump_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

var _ signaling.Room = (*dump.Room)(nil)

// capture gives the path of a real capture, and skips the test when this machine
// has none.
func capture(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "shared", "captures", filepath.FromSlash(name))
		if _, err := os.Stat(path); err == nil {
			return path
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skipf("capture %s is not on this machine", name)
		}
		dir = up
	}
}

// played is what a dump gives.
type played struct {
	summary dump.Summary
	// packets counts those of each codec.
	packets map[media.Codec]int
	events  []signaling.Event
	err     error
}

// play opens files and takes all there is.
func play(t testing.TB, cfg dump.Config, files ...string) played {
	t.Helper()
	r, err := dump.Open(t.Context(), files, cfg)
	return take(t, r, err)
}

// take takes all that a room has, which opening gave.
func take(t testing.TB, r *dump.Room, err error) played {
	t.Helper()
	p := played{packets: map[media.Codec]int{}}
	var unusable *dump.UnusableError
	if errors.As(err, &unusable) {
		p.summary = unusable.Summary
	}
	if err != nil {
		p.err = err
		return p
	}
	defer r.Close()
	for {
		e, err := r.Next(t.Context(), time.Time{})
		if err == io.EOF {
			p.summary = r.Summary()
			return p
		}
		if err != nil {
			p.err, p.summary = err, r.Summary()
			return p
		}
		if e.Kind == signaling.PacketArrived {
			p.packets[e.Track.Codecs[e.Packet.PayloadType]]++
		}
		p.events = append(p.events, e)
	}
}

func TestTicksComeInTheDumpsTime(t *testing.T) {
	path := capture(t, "algesten-str0m/tests/data/vp8.pcap")
	r, err := dump.Open(t.Context(), []string{path}, dump.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var deadline, last time.Time
	ticks := 0
	for {
		e, err := r.Next(context.Background(), deadline)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Time.Before(last) {
			t.Fatalf("time falls from %v to %v", last, e.Time)
		}
		if e.Kind == signaling.Tick {
			ticks++
			if !e.Time.Equal(deadline) {
				t.Fatalf("a tick at %v for the deadline %v", e.Time, deadline)
			}
		}
		if deadline.IsZero() || e.Kind == signaling.Tick {
			deadline = e.Time.Add(100 * time.Millisecond)
		}
		last = e.Time
	}
	if ticks != 32 { // in 3.3 s
		t.Errorf("%d ticks", ticks)
	}
}
