package recorder

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/roomtape/roomtape/output"
)

const (
	// diskInterval is the time between two looks at the free space; a quarter
	// of Config.DiskFloor that came in is looked after sooner.
	diskInterval = time.Second
	// fileEnd and indexEntry are about what completing a file takes besides the
	// frames that are held: in all, and for each keyframe and chunk.
	fileEnd    = 4096
	indexEntry = 32
)

// diskState is what the session knows of the disk.
type diskState struct {
	due time.Time
	// taken are the bytes that have come since the latest look.
	taken int64
	// free is what was left then; less than 0: not known.
	free int64
	// off is set where the system does not say.
	off bool
	// low is what the manifest says once space is low, full why the session
	// ends.
	low  string
	full error
}

// intake notes that size bytes have come in.
func (s *Session) intake(size int) {
	s.disk.taken += int64(size)
	if s.cfg.Space != nil && s.disk.taken >= s.cfg.DiskFloor/4 {
		s.wake(s.now)
	}
}

// serviceDisk looks at the free space if it is time to, warns when it is low,
// and ends the session when what is held might not fit any more.
func (s *Session) serviceDisk() {
	d := &s.disk
	if s.cfg.Space == nil || d.off || s.over {
		return
	}
	if floor := s.cfg.DiskFloor; d.due.IsZero() || reached(d.due, s.now) || floor > 0 && d.taken >= floor/4 {
		d.due, d.taken = s.later(diskInterval), 0
		space, err := s.cfg.Space()
		if err != nil {
			d.off, d.free = true, -1
			if !errors.Is(err, errors.ErrUnsupported) {
				s.log.Warn("free disk space is not watched", "error", err)
			}
			return
		}
		s.judge(space)
	}
	s.wake(d.due)
}

// judge decides what free space means.
func (s *Session) judge(space output.Space) {
	d := &s.disk
	d.free = space.Free
	if floor := s.cfg.DiskFloor; floor > 0 {
		if need := max(floor, s.heldBytes()+floor/4); space.Free < need {
			d.full = fmt.Errorf("%w: %w: %d of %d bytes are free, and finishing the files may take %d",
				ErrStorage, syscall.ENOSPC, space.Free, space.Size, need)
			s.over, s.why = true, d.full
			s.log.Error("the disk is nearly full: finishing all files", "free", space.Free, "floor", need)
			return
		}
	}
	if space.Free < s.cfg.DiskReserve && d.low == "" {
		d.low = fmt.Sprintf("disk space is low: %d of %d bytes are free, less than the reserve of %d", space.Free, space.Size, s.cfg.DiskReserve)
		s.log.Warn("disk space is low", "free", space.Free, "reserve", s.cfg.DiskReserve)
		s.soon(manifestUrgent)
	}
}

// heldBytes gives about what would be written if the session ended now.
func (s *Session) heldBytes() int64 {
	var n int64
	for _, r := range s.recordings {
		if r.closed {
			continue
		}
		n += fileEnd + int64(r.order.bytes) + r.unwritten
		if r.sink != nil {
			n += int64(r.sink.writes) * indexEntry
		}
		for _, l := range r.order.lanes {
			n += l.progress.key * indexEntry
		}
	}
	return n
}

// closeAll completes the recordings, and says of each why it ends if that is the
// disk.
func (s *Session) closeAll() {
	open := slices.DeleteFunc(slices.Clone(s.recordings), func(r *recording) bool { return r.closed })
	for n := 0; n < len(s.recordings); { // closing one may add another
		s.recordings[n].close(s.now)
		n++
	}
	for _, r := range open {
		if r.err == nil && s.disk.full != nil {
			r.err = s.disk.full
		}
	}
}
