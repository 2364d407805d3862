package recorder

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
)

// crowd is a call of several, who send about 60 kB a second each.
func crowd(d time.Duration) *script {
	room := &script{}
	for i, id := range []string{"alice", "bob", "carol"} {
		in := videoTrack(nil)
		in.Participant, in.Connection = id, i+1
		v := room.start(ms(3*i), in)
		v.size = 2400
		v.video(ms(10+3*i), d)
	}
	return room
}

// Before the disk is full every file is completed, with all that has arrived: no
// write fails.
func TestSessionEndsBeforeTheDiskIsFull(t *testing.T) {
	for _, size := range []int{400_000, 1_000_000, 5_000_000} {
		m := newMemory()
		m.room = size
		cfg := config(m)
		cfg.DiskReserve, cfg.DiskFloor = 200e6, int64(size)/20
		looks := 0
		cfg.Space = func() (output.Space, error) {
			looks++
			return output.Space{Free: int64(m.room), Size: int64(size)}, nil
		}
		room := crowd(60 * time.Second)
		s, err := run(t, cfg, room)
		if !isStorage(err) || !errors.Is(err, syscall.ENOSPC) || errors.Is(err, errFull) {
			t.Errorf("%d bytes: the session ends with %v", size, err)
		}
		man := s.Manifest()
		if man.State != StateIncomplete || len(man.Warnings) != 1 || !strings.Contains(man.Warnings[0], "low") {
			t.Errorf("%d bytes: state %q, warnings %q", size, man.State, man.Warnings)
		}
		sent := 0
		for _, e := range room.events[:room.next] {
			if e.Kind == signaling.PacketArrived && e.Packet != nil && e.Time.Before(room.now) {
				sent++
			}
		}
		var written int64
		for _, f := range man.Files {
			if f.Error == "" {
				t.Errorf("%s does not say why it ends", f.Path)
			}
			for _, tr := range f.Tracks {
				written += tr.Packets.Written
				if n := len(readBack(t, m.files[f.Path].data)); int64(n) != tr.Frames.Written {
					t.Errorf("%s has %d frames of %d", f.Path, n, tr.Frames.Written)
				}
			}
		}
		if len(man.Files) != 3 || written < int64(sent)-6 {
			t.Errorf("%d bytes: %d packets of %d in %d files", size, written, sent, len(man.Files))
		}
		if used := size - m.room; size > 500_000 && used < size/2 {
			t.Errorf("%d bytes of %d are used", used, size)
		}
		t.Logf("%d bytes: %d are left, after %d looks", size, m.room, looks)
	}
}

func TestLowSpaceIsToldOnce(t *testing.T) {
	m := newMemory()
	cfg := config(m)
	cfg.DiskReserve, cfg.DiskFloor = 1000, 100
	free := int64(5000)
	cfg.Space = func() (output.Space, error) {
		free -= 500
		return output.Space{Free: max(free, 50_000_000), Size: 1e9}, nil
	}
	s, err := run(t, cfg, crowd(5*time.Second))
	if err != nil || len(s.Manifest().Warnings) != 0 {
		t.Errorf("%v, warnings %q", err, s.Manifest().Warnings)
	}
	cfg = config(newMemory())
	cfg.DiskReserve = 1000
	cfg.Space = func() (output.Space, error) { free -= 5; return output.Space{Free: free, Size: 1e9}, nil }
	free = 1010
	low := int64(0)
	cfg.OnStatus = func(st Status) {
		if st.LowSpace && low == 0 {
			low = st.FreeSpace
		}
	}
	s, err = run(t, cfg, crowd(10*time.Second))
	if err != nil || len(s.Manifest().Warnings) != 1 || low == 0 || low >= 1000 {
		t.Errorf("%v, warnings %q, low at %d", err, s.Manifest().Warnings, low)
	}
}

// A system that does not say is not asked again, and nothing else changes.
func TestUnknownSpaceIsNoMatter(t *testing.T) {
	cfg := config(newMemory())
	cfg.DiskReserve, cfg.DiskFloor = 1000, 1000
	asked := 0
	cfg.Space = func() (output.Space, error) { asked++; return output.Space{}, errors.ErrUnsupported }
	if s, err := run(t, cfg, crowd(3*time.Second)); err != nil || s.Manifest().Warnings != nil || asked != 1 {
		t.Errorf("%v, %q, asked %d times", err, s.Manifest().Warnings, asked)
	}
}
