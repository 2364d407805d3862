package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// The name and the ending of the dump in a session's folder.
const (
	dumpFile = "dump"
	dumpExt  = ".pcapng"
)

// dumpFlush is how old, in the time of events, what arrived may get before it is
// in the file.
const dumpFlush = time.Second

// dumpedRoom is a Room that writes what arrives to a dump before it gives it to
// the session. An error of the dump does not harm the session: it ends the dump,
// is logged, and is in the manifest.
type dumpedRoom struct {
	signaling.Room
	file output.File
	w    *dump.Writer
	log  *slog.Logger
	// start is when the session began, as read from the clock, and zero the
	// same without its monotonic part. In a dump there is none, and the wall
	// clock may be set: all times that the session sees are zero plus what
	// the monotonic clock says has passed.
	start, zero time.Time
	// waiting is the time of the oldest event that is not in the file; zero:
	// all are.
	waiting time.Time
	err     error
}

// dumpRoom makes a dump of room in the session's folder. When that fails, the
// room is given nonetheless.
func dumpRoom(room signaling.Room, store output.Store, info dump.SessionInfo, start time.Time, log *slog.Logger) *dumpedRoom {
	d := &dumpedRoom{Room: room, log: log, start: start, zero: info.Start}
	var err error
	if d.file, err = store.Create(dumpFile, dumpExt); err == nil {
		d.w, err = dump.NewWriter(d.file, dump.WriterConfig{Session: info})
	}
	d.note(err)
	return d
}

// note ends the dump by an error.
func (d *dumpedRoom) note(err error) {
	if err == nil || d.err != nil {
		return
	}
	d.err = err
	d.log.Warn("what arrives is not dumped any more; the recording goes on", "error", err)
}

// Next is the room's.
func (d *dumpedRoom) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	if flush := d.waiting.Add(dumpFlush); !d.waiting.IsZero() && (deadline.IsZero() || flush.Before(deadline)) {
		deadline = flush
	}
	if !deadline.IsZero() {
		deadline = d.start.Add(deadline.Sub(d.zero))
	}
	e, err := d.Room.Next(ctx, deadline)
	if err != nil {
		return e, err
	}
	e.Time = d.zero.Add(e.Time.Sub(d.start))
	if e.Packet != nil {
		e.Packet.Arrival = e.Time
	}
	if d.err == nil {
		d.write(e)
	}
	return e, nil
}

func (d *dumpedRoom) write(e signaling.Event) {
	if e.Kind != signaling.Tick {
		if d.waiting.IsZero() {
			d.waiting = e.Time
		}
		d.note(d.w.Write(e))
	}
	if !d.waiting.IsZero() && e.Time.Sub(d.waiting) >= dumpFlush {
		d.waiting = time.Time{}
		d.note(d.w.Flush())
	}
}

// finish completes the dump. It is called when the session is over, but before
// its last manifest.
func (d *dumpedRoom) finish() {
	if d.w != nil && d.err == nil {
		d.note(d.w.Close())
	}
	if d.file != nil {
		if err := d.file.Close(); err != nil {
			d.note(fmt.Errorf("closing the dump: %w", err))
		}
	}
}

// state is what the manifest says of the dump.
func (d *dumpedRoom) state() (path string, err error) {
	if d.file != nil {
		path = d.file.Name()
	}
	return path, d.err
}

// sessionInfo is what a dump says of the session.
func (o *recordOptions) sessionInfo(start time.Time) dump.SessionInfo {
	i := dump.SessionInfo{
		Room: o.room, URL: redacted(o.url), Recorder: programName(), Start: start.UTC().Round(0),
		Options: map[string]string{
			optionChunk: o.chunk.String(), optionMaxWaitLoss: o.maxWaitLoss.String(), optionOnChange: "same-file",
		},
	}
	if o.messages {
		i.Options[optionMessages] = "true"
	}
	if o.allowControl {
		i.Options[optionAllowControl] = "true"
	}
	if o.newFileOnChange {
		i.Options[optionOnChange] = "new-file"
	}
	if o.rotate.every > 0 {
		i.Options[optionRotateEvery] = o.rotate.every.String()
	}
	if o.rotate.bytes > 0 {
		i.Options[optionRotateSize] = strconv.FormatInt(o.rotate.bytes, 10)
	}
	if o.only != 0 {
		i.Options[optionOnly] = o.only.String()
	}
	if o.participants != "" {
		i.Options[optionParticipants] = o.participants
	}
	return i
}
