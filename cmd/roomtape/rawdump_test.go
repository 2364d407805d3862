package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// fullStore is a Store whose files take only so many writes.
type fullStore struct {
	output.Store
	file fullFile
}

func (s *fullStore) Create(name, ext string) (output.File, error) {
	s.file.name = name + ext
	return &s.file, nil
}

var errDiskFull = errors.New("no space left on device")

type fullFile struct {
	name   string
	writes int
}

func (f *fullFile) Name() string { return f.name }
func (f *fullFile) Sync() error  { return nil }
func (f *fullFile) Close() error { return nil }
func (f *fullFile) Write(b []byte) (int, error) {
	if f.writes++; f.writes > 2 {
		return 0, errDiskFull
	}
	return len(b), nil
}

// A dump that can't be written is told of once, and takes nothing from the
// session.
func TestDumpThatFailsHarmsNothing(t *testing.T) {
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, nil))
	q := queueRoom{signaling.NewQueue(time.Millisecond)}
	start := time.Now()
	const events = 10
	for i := range events {
		q.Push(signaling.Event{Kind: signaling.Joined, Time: start.Add(time.Duration(i) * 700 * time.Millisecond), Participant: "p"})
	}
	q.Queue.Close(nil)
	store := &fullStore{}
	d := dumpRoom(q, store, dump.SessionInfo{Start: start.UTC().Round(0)}, start, log)
	for i := 0; ; i++ {
		e, err := d.Next(context.Background(), time.Time{})
		if err == io.EOF && i == events {
			break
		}
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if want := start.Add(time.Duration(i) * 700 * time.Millisecond); !e.Time.Equal(want) {
			t.Errorf("event %d is at %v, want %v", i, e.Time, want)
		}
	}
	d.finish()
	if path, err := d.state(); path != "dump.pcapng" || !errors.Is(err, errDiskFull) {
		t.Errorf("the manifest gets %q, %v", path, err)
	}
	if n := strings.Count(logged.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, &logged)
	}
	if store.file.writes != 3 {
		t.Errorf("%d writes; after the one that failed there must be none", store.file.writes)
	}
}
