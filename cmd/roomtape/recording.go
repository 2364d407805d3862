package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// hashGrace is how long finished files are hashed once we were asked to stop.
const hashGrace = 30 * time.Second

// recordOptions is what record can be asked for. The zero values of times mean
// what the flags' do.
type recordOptions struct {
	kind                                    roomKind
	url, room                               string // as kind.parse gave them
	out, session, name, partialSuffix       string
	format                                  format
	codecs                                  []media.Codec
	only                                    media.Kind
	participants                            string
	chunk, maxWaitLoss                      time.Duration
	fsync                                   recorder.Fsync
	newFileOnChange                         bool
	rotate                                  rotation
	diskReserve, diskFloor                  int64 // diskFloor less than 0: by the disk
	peerID                                  string
	joinTimeout, wait, untilEmpty, duration time.Duration
	iceServers                              []peer.ICEServer
	relayOnly, announce, dumpRTP, stats     bool
	messages, allowControl                  bool
	metrics                                 string // address to serve them at; "": nowhere
	execAfter                               string
	json                                    bool
	publishes                               *sourceOptions         // nil: nothing
	token                                   func() (string, error) // nil: none
}

// record joins a room, records it until it is over or ctx is done, and prints
// the result: the manifest as JSON, or what was written and how to play it.
func record(ctx context.Context, o recordOptions, std stdio, logs logOptions) error {
	var result *recorded
	err := onScreen(std, func(std stdio) (err error) {
		result, err = recordRoom(ctx, o, std, logs.logger(std.err))
		return err
	})
	if result == nil {
		return err
	}
	if o.json {
		return listErrors(err, printJSON(std.out, result.manifest))
	}
	w := std.out
	if o.out == stdoutName {
		w = std.err
	}
	result.print(w)
	return err
}

// recorded is what recordRoom has made.
type recorded struct {
	dir      string // the session's folder; "" when there is none
	manifest recorder.Manifest
}

// recordRoom records a room. The result is nil when it came to no session;
// otherwise it is there beside an error too.
func recordRoom(ctx context.Context, o recordOptions, std stdio, log *slog.Logger) (*recorded, error) {
	sink, err := openSink(o, std)
	if err != nil {
		return nil, err
	}
	defer sink.close()
	if o.out != stdoutName {
		tellOrphans(findOrphans(o.out, o.partialSuffix, time.Now()), log)
	}

	watch := newWatch(o, log)
	defer watch.close()
	joining := o.joining(log)
	var showing *publisher
	if o.publishes != nil {
		showing = newPublisher(publishOptions{room: o.room, source: *o.publishes, minBitrate: defaultMinBitrate}, log)
		if err := showing.open(ctx); err != nil {
			return nil, err
		}
		defer func() { _ = showing.source.Close() }() // it has nothing to lose
		joining.peer.Publish = showing.pub
	}
	if err := watch.listen(o.metrics, joining.peer.Publish); err != nil {
		return nil, err
	}
	// Where only relays are allowed and none works, nothing will ever come.
	var relays relayTrouble
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	joining.peer.OnRelayFailure = func(err error) {
		relays.note(err)
		if errors.Is(err, peer.ErrNoRelay) {
			giveUp(err)
		}
	}
	room, err := join(ctx, joining)
	if err != nil {
		return nil, err
	}
	leave := sync.OnceFunc(func() {
		if err := room.Close(); err != nil {
			log.Debug("leaving the room", "error", err)
		}
	})
	defer leave()

	start := time.Now()
	if err := sink.begin(o, start); err != nil {
		return nil, err
	}
	// A session that writes to stdout is over when its one file is.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	store := sink.store
	if o.out == stdoutName {
		store = onlyStore{store, stop}
	}
	if o.execAfter != "" {
		h := startHook(o.execAfter, sink.dir, std.err, log)
		defer h.Close(hookGrace)
		store = hookStore{store, h}
	}
	if o.stats && sink.dir != "" {
		watch.keep(sink.store)
	}
	var dumped func() (string, error)
	source, finish := room, func() {}
	if o.dumpRTP {
		info := o.sessionInfo(start)
		d := dumpRoom(room, sink.store, info, start, log)
		finish = d.finish
		source, dumped, start = d, d.state, info.Start
	}
	said := output.Store(nil)
	if o.messages && o.out != stdoutName {
		said = sink.store
	}
	session, err := recorder.NewSession(recorder.Config{
		Messages: said, AllowControl: o.allowControl, OnState: announcer(room),
		Room: o.room, URL: redacted(o.url), Recorder: programName(),
		Store: store, NewMuxer: o.format.newMuxer, Ext: o.format.ext, Name: o.name,
		Only: o.only, Participants: o.participants, Start: start, Dump: dumped,
		Chunk: o.chunk, MaxWaitLoss: orNone(o.maxWaitLoss), Fsync: o.fsync, NewFileOnChange: o.newFileOnChange,
		Space: sink.space, DiskReserve: o.diskReserve, DiskFloor: sink.floor(o.diskFloor),
		RotateEvery: o.rotate.every, RotateSize: o.rotate.bytes,
		Wait: o.wait, UntilEmpty: o.untilEmpty, Duration: o.duration,
		Stats: watch.file, Logger: log, OnStatus: watch.teller(statusShower(std, o.room)),
	})
	if err != nil {
		return nil, err
	}
	shown := func() error { return nil }
	if showing != nil {
		shown = showing.background(ctx)
	}
	err = relays.explain(session.Run(ctx, source))
	leave() // before anything that takes its time
	err = listErrors(err, shown())
	finish()
	watch.close()
	hash(ctx, session, log)
	return &recorded{dir: sink.dir, manifest: session.Manifest()}, err
}

// announcer gives what tells the room of the recording's state, or nil where that
// can't be done.
func announcer(room signaling.Room) func(state string) {
	if r, ok := room.(interface{ Announce(state string) }); ok {
		return r.Announce
	}
	return nil
}

// relayTrouble keeps why TURN servers could not be used, for when nothing came.
type relayTrouble struct {
	mu  sync.Mutex
	why error
}

func (r *relayTrouble) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil {
		r.why = err
	}
}

// explain adds the trouble to the error of a session to which no media came.
func (r *relayTrouble) explain(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil || !errors.Is(err, recorder.ErrNoMedia) {
		return err
	}
	return fmt.Errorf("%w: %w", err, r.why)
}

// joining is what joining the room of a recording needs.
func (o *recordOptions) joining(log *slog.Logger) joinOptions {
	return joinOptions{
		kind: o.kind, url: o.url, room: o.room, timeout: o.joinTimeout,
		peerID: o.peerID, announce: o.announce, messages: true, untilEmpty: o.untilEmpty, token: o.token, log: log,
		peer: peer.Config{
			Codecs: o.codecs, Only: o.only, ICEServers: o.iceServers, RelayOnly: o.relayOnly,
		},
	}
}

// join enters the room within the join timeout.
func join(ctx context.Context, o joinOptions) (signaling.Room, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if o.token != nil {
		warnOfPlainToken(ctx, o.url, o.log)
	}
	o.peer.Loopback, o.peer.Logger = isLoopback(o.url), o.log
	room, err := o.kind.dial(ctx, o)
	switch {
	case err == nil:
		return room, nil
	case errors.Is(context.Cause(ctx), errSignal):
		return nil, fmt.Errorf("%w: %w", signaling.ErrJoin, errSignal)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: %s did not let us in within %v", signaling.ErrJoin, redacted(o.url), o.timeout)
	}
	return nil, err
}

// hash adds the files' digests to the manifest. They are not worth much waiting
// to somebody who has asked us to stop.
func hash(ctx context.Context, s *recorder.Session, log *slog.Logger) {
	hashing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(hashGrace, cancel) })
	defer stop()
	if err := s.Hash(hashing); err != nil {
		log.Warn("the manifest lacks digests", "error", err)
	}
}

// orNone spells "no wait at all" as recorder.Config does.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// statusShower gives what shows the live table, or nil when stderr is no
// terminal.
func statusShower(std stdio, room string) func(recorder.Status) {
	s, ok := std.err.(*screen)
	if !ok {
		return nil
	}
	p := newPalette()
	return func(status recorder.Status) {
		s.Show(func(width, height int) []string { return statusTable(room, status, p, width, height) })
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return nil
}
