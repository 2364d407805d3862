package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// stdoutName is the --out that stands for stdout.
const stdoutName = "-"

// defaultSession is the template of the session's folder.
const defaultSession = "{room}/{start}"

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
	peerID                                  string
	joinTimeout, wait, untilEmpty, duration time.Duration
	iceServers                              []peer.ICEServer
	relayOnly, announce                     bool
	execAfter                               string
	json                                    bool
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

	room, err := join(ctx, o, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := room.Close(); err != nil {
			log.Debug("leaving the room", "error", err)
		}
	}()

	start := time.Now()
	if err := sink.begin(o, start); err != nil {
		return nil, err
	}
	store := sink.store
	if o.execAfter != "" {
		h := startHook(o.execAfter, sink.dir, std.err, log)
		defer h.Close(hookGrace)
		store = hookStore{store, h}
	}
	session, err := recorder.NewSession(recorder.Config{
		Room: o.room, URL: redacted(o.url), Recorder: programName(),
		Store: store, NewMuxer: o.format.newMuxer, Ext: o.format.ext, Name: o.name,
		Only: o.only, Participants: o.participants, Start: start,
		Chunk: o.chunk, MaxWaitLoss: orNone(o.maxWaitLoss), Fsync: o.fsync, NewFileOnChange: o.newFileOnChange,
		Wait: o.wait, UntilEmpty: o.untilEmpty, Duration: o.duration,
		Logger: log, OnStatus: statusShower(std, o.room),
	})
	if err != nil {
		return nil, err
	}
	err = session.Run(ctx, room)
	hash(ctx, session, log)
	return &recorded{dir: sink.dir, manifest: session.Manifest()}, err
}

// join enters the room within the join timeout.
func join(ctx context.Context, o recordOptions, log *slog.Logger) (signaling.Room, error) {
	ctx, cancel := context.WithTimeout(ctx, o.joinTimeout)
	defer cancel()
	room, err := o.kind.dial(ctx, joinOptions{
		url: o.url, room: o.room, peerID: o.peerID, announce: o.announce, log: log,
		peer: peer.Config{
			Codecs: o.codecs, Only: o.only, ICEServers: o.iceServers, RelayOnly: o.relayOnly,
			Loopback: isLoopback(o.url), Logger: log,
		},
	})
	switch {
	case err == nil:
		return room, nil
	case errors.Is(context.Cause(ctx), errSignal):
		return nil, fmt.Errorf("%w: %w", signaling.ErrJoin, errSignal)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: %s did not let us in within %v", signaling.ErrJoin, redacted(o.url), o.joinTimeout)
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

// sink is where a session's files go.
type sink struct {
	store output.Store
	dir   string // the session's folder, absolute; "" for stdout
	outer *os.Root
	inner *os.Root
}

// openSink opens the folder that recordings go to, before the room is joined:
// what can't be stored need not be received.
func openSink(o recordOptions, std stdio) (*sink, error) {
	if o.out == stdoutName {
		if isTerminal(std.out) {
			return nil, usagef("--out - writes WebM to stdout, which is a terminal: send it to a file or a program")
		}
		// A reader that goes away is a storage error, not the end of us.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		return &sink{store: output.NewStream(std.out)}, nil
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return nil, fmt.Errorf("%w: making the folder %s: %w", recorder.ErrStorage, o.out, err)
	}
	root, err := os.OpenRoot(o.out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	return &sink{outer: root}, nil
}

// begin makes the session's folder.
func (s *sink) begin(o recordOptions, start time.Time) error {
	if s.outer == nil {
		return nil
	}
	name, err := output.Expand(o.session, sessionVars(o.room, start))
	if err != nil {
		return usagef("--session: %w", err)
	}
	opts := output.DirOptions{PartialSuffix: o.partialSuffix, NoSync: o.fsync == recorder.FsyncNever}
	name, err = output.OpenDir(s.outer, opts).MakeDir(name)
	if err == nil {
		s.inner, err = s.outer.OpenRoot(name)
	}
	if err == nil {
		s.dir, err = filepath.Abs(filepath.Join(o.out, filepath.FromSlash(name)))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	s.store = output.OpenDir(s.inner, opts)
	return nil
}

func (s *sink) close() {
	for _, root := range []*os.Root{s.inner, s.outer} {
		if root != nil {
			_ = root.Close() // nothing was written through it that is not synced
		}
	}
}

// sessionVars are the names that the template of the session's folder may use.
func sessionVars(room string, start time.Time) map[string]string {
	return map[string]string{"room": room, "start": start.UTC().Format("20060102T150405Z")}
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
