package dump_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// openPipe is dump.Open of what comes through a pipe as stdin.
func openPipe(t *testing.T, ctx context.Context, content []byte, end bool) (*dump.Room, error) { //nolint:revive // as t.Context's
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = w.Write(content) // the reader may go before
		if end {
			_ = w.Close()
		}
	}()
	t.Cleanup(func() {
		_ = r.Close()
		<-written
		_ = w.Close()
	})
	return dump.Open(ctx, []string{dump.Stdin}, dump.Config{Stdin: r})
}

// own is a dump that a Writer writes: two tracks, n packets each.
func own(t *testing.T, n int) []byte {
	t.Helper()
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: n}
	v := call{from: 1, to: 2, port: 6000, ssrc: 2, packets: n, video: true}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, merge(c.frames(), v.frames())))
	if p.err != nil {
		t.Fatal(p.err)
	}
	var b bytes.Buffer
	w, err := dump.NewWriter(&b, dump.WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A pipe gives what a file of the same content does, and leaves nothing behind.
func TestPipesAreFiles(t *testing.T) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 500, cname: "late"}
	foreign := pcap(binary.LittleEndian, true, 101, c.frames())
	for name, content := range map[string][]byte{
		"foreign": foreign, "cut": foreign[:len(foreign)-7], "own": own(t, 100),
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			want := play(t, dump.Config{}, file)
			room, err := openPipe(t, t.Context(), content, true)
			got := take(t, room, err)
			if (got.err == nil) != (want.err == nil) || got.err != nil && !errors.Is(got.err, dump.ErrDamaged) {
				t.Fatalf("%v from a pipe, %v from a file", got.err, want.err)
			}
			if len(got.events) == 0 || !slices.EqualFunc(got.events, want.events, same) {
				t.Errorf("%d events from a pipe, %d from a file, or others", len(got.events), len(want.events))
			}
			if !reflect.DeepEqual(got.summary.Streams, want.summary.Streams) {
				t.Errorf("%+v from a pipe, %+v from a file", got.summary.Streams, want.summary.Streams)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("%v is left (%v)", left, err)
			}
		})
	}
}

func same(a, b signaling.Event) bool {
	if a.Kind != b.Kind || !a.Time.Equal(b.Time) || a.Participant != b.Participant || (a.Packet == nil) != (b.Packet == nil) {
		return false
	}
	return a.Packet == nil || bytes.Equal(a.Packet.Append(nil), b.Packet.Append(nil))
}

// Our own dump is played while it comes.
func TestOwnDumpIsNotWaitedFor(t *testing.T) {
	room, err := openPipe(t, t.Context(), own(t, 100), false)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	for range 100 {
		e, err := room.Next(t.Context(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if e.Packet != nil {
			e.Packet.Release()
		}
	}
}

// Who waits for a pipe that gives nothing can be stopped.
func TestWaitingForPipeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 100}
	go cancel()
	room, err := openPipe(t, ctx, pcap(binary.LittleEndian, true, 101, c.frames()), false)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, %v", room, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	room, err = openPipe(t, ctx, own(t, 20), false)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	for err == nil {
		var e signaling.Event
		if e, err = room.Next(ctx, time.Time{}); e.Kind == signaling.PacketArrived {
			cancel()
			e.Packet.Release()
		}
	}
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What is left of a file that is stdin is read where it stands, as often as need
// be.
func TestStdinMayBeFile(t *testing.T) {
	c := call{from: 1, to: 2, port: 5000, ssrc: 1, packets: 100}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append([]byte("before"), pcap(binary.LittleEndian, true, 101, c.frames())...)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(6, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if p := play(t, dump.Config{Stdin: f}, dump.Stdin); p.err != nil || p.packets[media.Opus] != 100 {
		t.Errorf("%d events, %v", len(p.events), p.err)
	}
}
