package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// The names in dump.SessionInfo.Options of what a recording depends on besides
// what arrived.
const (
	optionChunk        = "chunk"
	optionMaxWaitLoss  = "max-wait-loss"
	optionOnChange     = "on-change"
	optionRotateEvery  = "rotate-every"
	optionRotateSize   = "rotate-size"
	optionOnly         = "only"
	optionParticipants = "participants"
	optionMessages     = "messages"
	optionAllowControl = "allow-control"
)

// fileProgram is the program's name in files of dumps that do not say who
// recorded them. It lacks the version, so that later ones give the same bytes.
const fileProgram = "roomtape"

// replayOptions is what replay can be asked for. The zero values of chunk,
// maxWaitLoss, onChange and rotate are those of the dump.
type replayOptions struct {
	dumps              []string
	out, session, name string
	format             format
	dump               dump.Config
	chunk, maxWaitLoss time.Duration // maxWaitLoss as recorder.Config has it
	onChange           string
	rotate             *rotation
	speed              float64 // 0: as fast as possible
	check              string
	update, json       bool
}

// replayed is what replay has made.
type replayed struct {
	recorder.Manifest
	Dump dump.Summary `json:"dump"`
	dir  string       // "": nothing is kept
}

// replay turns the dumps into recordings and prints the result; with a golden
// file, it compares the result or writes it.
func replay(ctx context.Context, o replayOptions, std stdio, logs logOptions) error {
	var want any
	if o.check != "" && !o.update {
		var err error
		if want, err = readGolden(o.check); err != nil {
			return err
		}
	}
	var result *replayed
	err := onScreen(std, func(std stdio) (err error) {
		result, err = replayDumps(ctx, o, std, logs.logger(std.err))
		return err
	})
	if result == nil {
		return err
	}
	text := std.out
	if o.json {
		text = std.err
		err = listErrors(append(eachError(err), printJSON(std.out, result))...)
	} else {
		result.print(text)
	}
	if o.check == "" {
		return err
	}
	return listErrors(append(eachError(err), checkGolden(ctx, o, want, result.Manifest, text))...)
}

// checkGolden compares the result with the golden file, or writes it.
func checkGolden(ctx context.Context, o replayOptions, want any, m recorder.Manifest, text io.Writer) error {
	if ctx.Err() != nil {
		return errSignal // what was replayed is not all
	}
	g := newGolden(m)
	if o.update {
		if err := g.write(o.check); err != nil {
			return err
		}
		fmt.Fprintf(text, "Wrote %s\n", printable(o.check))
		return nil
	}
	list, err := g.diff(want)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		printDifferences(text, o.check, list)
		return fmt.Errorf("%w: the result differs from %s", errDiffers, o.check)
	}
	fmt.Fprintf(text, "As expected by %s\n", printable(o.check))
	return nil
}

// openDump opens the dumps; its errors have an exit code.
func openDump(ctx context.Context, files []string, cfg dump.Config) (*dump.Room, error) {
	room, err := dump.Open(ctx, files, cfg)
	var path *fs.PathError
	switch {
	case ctx.Err() != nil:
		return nil, errSignal
	case errors.Is(err, dump.ErrSpool):
		return nil, fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	case errors.As(err, &path):
		return nil, usageError{err}
	}
	return room, err
}

// replayDumps replays the dumps. The result is nil when it came to no session;
// otherwise it is there beside an error too.
func replayDumps(ctx context.Context, o replayOptions, std stdio, log *slog.Logger) (*replayed, error) {
	o.dump.Glance = o.speed == 0
	room, err := openDump(ctx, o.dumps, o.dump)
	if err != nil {
		return nil, err
	}
	defer func() { _ = room.Close() }() // it was only read

	info := dump.SessionInfo{}
	if s := room.Summary().Session; s != nil {
		info = *s
	}
	place, err := openReplaySink(o, info)
	if err != nil {
		return nil, err
	}
	defer place.close()

	session, err := o.record(ctx, room, info, place, std, log)
	if errors.Is(err, dump.ErrUnforeseen) { // which is rare, so it is worth a try
		log.Info("reading the whole dump first", "why", err)
		for _, f := range session.Manifest().Files {
			if err := place.root.Remove(filepath.FromSlash(f.Path)); err != nil {
				return nil, fmt.Errorf("%w: %w", recorder.ErrStorage, err)
			}
		}
		_ = room.Close() // it was only read
		o.dump.Glance = false
		if room, err = openDump(ctx, o.dumps, o.dump); err != nil {
			return nil, err
		}
		session, err = o.record(ctx, room, info, place, std, log)
	}
	if session == nil {
		return nil, err
	}
	if errors.Is(err, recorder.ErrNoMedia) {
		err = fmt.Errorf("%s: %w: %w", strings.Join(o.dumps, ", "), errDamaged, err)
	}
	if o.json || o.session != "" || o.check != "" {
		hash(ctx, session, log)
	}
	return &replayed{Manifest: session.Manifest(), Dump: room.Summary(), dir: place.dir}, err
}

// record lets the recorder record the room. The session is nil when it has not
// begun.
func (o *replayOptions) record(
	ctx context.Context, room *dump.Room, info dump.SessionInfo, place *replaySink, std stdio, log *slog.Logger,
) (*recorder.Session, error) {
	cfg := o.config(info)
	cfg.Store, cfg.Logger = place.store, log
	if info.Options[optionMessages] == "true" {
		cfg.Messages = place.store
		if o.session == "" {
			cfg.MessagesName = output.Escape(dumpName(o.dumps)) + "-" + recorder.MessagesName
		}
	}
	cfg.OnStatus = statusShower(std, dumpName(o.dumps))
	session, err := recorder.NewSession(cfg)
	if err != nil {
		return nil, err
	}
	return session, session.Run(ctx, &pastRoom{Room: room, speed: o.speed})
}

// config gives the recorder's configuration: what the dump says the live one
// was, and what was asked for.
func (o *replayOptions) config(info dump.SessionInfo) recorder.Config {
	cfg := recorder.Config{
		Room: info.Room, URL: info.URL, Recorder: info.Recorder, Start: info.Start,
		NewMuxer: o.format.newMuxer, Ext: o.format.ext,
		Name: o.name, NameVars: map[string]string{"dump": dumpName(o.dumps)},
		Participants: info.Options[optionParticipants],
		Fsync:        recorder.FsyncNever, // what a power cut takes can be replayed again
		NoManifest:   o.session == "",
		Chunk:        o.chunk, MaxWaitLoss: o.maxWaitLoss,
	}
	if cfg.Recorder == "" {
		cfg.Recorder = fileProgram
	}
	for _, k := range []media.Kind{media.Audio, media.Video} {
		if info.Options[optionOnly] == k.String() {
			cfg.Only = k
		}
	}
	if d, err := time.ParseDuration(info.Options[optionChunk]); cfg.Chunk == 0 && err == nil && d >= minChunk && d <= maxChunk {
		cfg.Chunk = d
	}
	if d, err := time.ParseDuration(info.Options[optionMaxWaitLoss]); cfg.MaxWaitLoss == 0 && err == nil && d >= 0 {
		cfg.MaxWaitLoss = orNone(d)
	}
	cfg.AllowControl = info.Options[optionAllowControl] == "true"
	cfg.RotateEvery, cfg.RotateSize = o.rotation(info)
	onChange := o.onChange
	if onChange == "" {
		onChange = info.Options[optionOnChange]
	}
	cfg.NewFileOnChange = onChange == "new-file"
	return cfg
}

// rotation gives what was asked for, or what the dump says.
func (o *replayOptions) rotation(info dump.SessionInfo) (every time.Duration, size int64) {
	if o.rotate != nil {
		return o.rotate.every, o.rotate.bytes
	}
	every, _ = time.ParseDuration(info.Options[optionRotateEvery]) // where it can't be read it is 0
	r, err := parseRotation(every, info.Options[optionRotateSize])
	if err != nil { // no recorder of ours has written it
		return 0, 0
	}
	return r.every, r.bytes
}

// dumpName is the {dump} of names: that of the first file, without its ending.
func dumpName(files []string) string {
	if files[0] == dump.Stdin {
		return "stdin"
	}
	name := filepath.Base(files[0])
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// replaySink is where the recordings of a replay go.
type replaySink struct {
	store output.Store
	root  *os.Root // of store
	dir   string   // "": a folder that is removed
	close func()
}

// openReplaySink opens the folder of the recordings.
func openReplaySink(o replayOptions, info dump.SessionInfo) (*replaySink, error) {
	fail := func(err error) (*replaySink, error) {
		return nil, fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	dir := o.out
	cleanup := func() {}
	k := &replaySink{}
	switch {
	case dir != "":
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fail(err)
		}
		k.dir = dir
	case o.check != "":
		var err error
		if dir, err = os.MkdirTemp("", "roomtape-check-"); err != nil {
			return fail(err)
		}
		cleanup = func() { _ = os.RemoveAll(dir) }
	default:
		dir = "."
		if info, err := os.Stat(o.dumps[0]); err == nil && info.Mode().IsRegular() {
			dir = filepath.Dir(o.dumps[0])
		}
		k.dir = dir
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		cleanup()
		return fail(err)
	}
	k.close = func() {
		_ = root.Close()
		cleanup()
	}
	opts := output.DirOptions{NoSync: true}
	if o.session == "" {
		k.store, k.root = output.OpenDir(root, opts), root
		return k, nil
	}
	name, err := output.Expand(o.session, replaySessionVars(info.Room, dumpName(o.dumps), info.Start))
	if err == nil {
		name, err = output.OpenDir(root, opts).MakeDir(name)
	}
	var inner *os.Root
	if err == nil {
		inner, err = root.OpenRoot(name)
	}
	if err != nil {
		k.close()
		return fail(err)
	}
	if k.dir != "" {
		k.dir = filepath.Join(k.dir, filepath.FromSlash(name))
	}
	k.close = func() {
		_ = inner.Close()
		_ = root.Close()
		cleanup()
	}
	k.store, k.root = output.OpenDir(inner, opts), inner
	return k, nil
}

func replaySessionVars(room, name string, start time.Time) map[string]string {
	vars := sessionVars(room, start)
	vars["dump"] = name
	return vars
}

// pastRoom is a room that has already happened. It gives no ticks, since the
// recorder knows from the times of events what was due before them.
type pastRoom struct {
	signaling.Room
	speed float64 // 0: as fast as possible
	// began is when the event of the time first was given.
	began, first time.Time
}

// Next is the room's, at the speed that was asked for.
func (r *pastRoom) Next(ctx context.Context, _ time.Time) (signaling.Event, error) {
	e, err := r.Room.Next(ctx, time.Time{})
	if err != nil || r.speed == 0 {
		return e, err
	}
	if r.began.IsZero() {
		r.began, r.first = time.Now(), e.Time
	}
	after := min(float64(e.Time.Sub(r.first))/r.speed, float64(1<<62))
	select {
	case <-time.After(time.Until(r.began.Add(time.Duration(after)))):
		return e, nil
	case <-ctx.Done():
		if e.Packet != nil {
			e.Packet.Release()
		}
		return signaling.Event{}, ctx.Err()
	}
}
