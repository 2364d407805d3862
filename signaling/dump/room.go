package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// Room is a room that has already happened. It is a signaling.Room whose Time is
// that of the dump: when the next event is later than the deadline, Next gives a
// Tick at the deadline at once. It neither waits nor reads a clock.
//
// At the end Next gives io.EOF, or an ErrDamaged when a file is damaged and all
// before the damage has been given.
type Room struct {
	player player
	last   time.Time
	next   signaling.Event
	ready  bool
	err    error
	shelf  *shelf // nil: files are read as they are
}

// player gives the events of a dump, in order.
type player interface {
	event(ctx context.Context) (signaling.Event, error)
	summary() Summary
	close() error
}

// Open opens the files of one dump, which together are one room: captures that
// follow each other, or the sound and the picture of one participant. It takes
// the time of reading them once.
//
// A file may be a pipe, or Stdin. What it gives is copied into the system's
// folder of temporary files, if the dump is not one that a Writer has written:
// the others are read twice. The copy is gone when the room is closed. When ctx
// is done, so is reading the pipe, by Next too.
//
// The error wraps ErrFormat, ErrDamaged, that of a missing file, or ctx's. When
// there is nothing that can be recorded, it is an *UnusableError.
func Open(ctx context.Context, files []string, cfg Config) (*Room, error) {
	s := &shelf{ctx: ctx, stdin: cfg.Stdin, copies: map[string]*spool{}}
	r, err := open(ctx, files, cfg, s.open)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	r.shelf = s
	return r, nil
}

// opener opens a file, each time from its beginning.
type opener func(name string) (io.ReadCloser, error)

func open(ctx context.Context, files []string, cfg Config, opener opener) (*Room, error) {
	if len(files) == 0 || len(files) > MaxFiles {
		return nil, fmt.Errorf("%d files are given, not 1 to %d", len(files), MaxFiles)
	}
	c, err := newCipher(cfg.SRTPKey)
	if err != nil {
		return nil, err
	}
	v := newSurvey(cfg, c)
	own, err := v.read(ctx, files, opener)
	if own != nil || err != nil {
		return own, err
	}
	v.decide()
	if slices.ContainsFunc(v.files, func(f *fileFacts) bool { return f.partial }) {
		if !v.foreseeable() {
			cfg.Glance = false
			return open(ctx, files, cfg, opener)
		}
		v.glanced()
	}
	if err := v.usable(); err != nil {
		return nil, &UnusableError{Summary: v.summary(), Err: err}
	}
	p, err := newReplay(v, files, opener)
	if err != nil {
		return nil, err
	}
	return &Room{player: p}, nil
}

// read is the first pass over the files. When the file is one that a Writer has
// written, it gives the room.
func (v *survey) read(ctx context.Context, files []string, opener opener) (*Room, error) {
	for _, name := range files {
		f, err := opener(name)
		if err != nil {
			return nil, err
		}
		src, err := openSource(name, f)
		if own, ok := src.(*pcapng); ok && err == nil && own.own != nil {
			if len(files) > 1 {
				err = fmt.Errorf("%s: %w: a recorder's dump is read alone", name, ErrFormat)
			} else {
				if s, ok := f.(*spool); ok {
					s.forget()
				}
				return openOwn(own, f)
			}
		}
		if s, ok := f.(*spool); ok && err == nil && s.undecided {
			err = s.keep()
		}
		if err == nil {
			err = v.file(ctx, src, name, v.cfg.glances(src, f))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return nil, nil //nolint:nilnil // no room yet
}

// openOwn opens a dump that a Writer has written. It takes over f.
func openOwn(src *pcapng, f io.Closer) (*Room, error) {
	p, err := newOwnPlayer(src, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Room{player: p}, nil
}

// usable tells why there is nothing to replay.
func (v *survey) usable() error {
	var name []string
	for _, f := range v.files {
		name = append(name, f.Name)
	}
	where := strings.Join(name, ", ")
	encrypted := false
	var formats []string
	for _, s := range v.streams {
		switch {
		case s.kind != media.KindUnknown:
			return nil
		case s.encrypted:
			encrypted = true
		case s.main != nil:
			f := fmt.Sprintf("payload type %d", s.main.pt)
			if s.main.format.Name != "" {
				f = fmt.Sprintf("%s (%s)", s.main.format.Name, f)
			} else {
				f += " (not recognised: --map or --sdp can say what it is)"
			}
			if !slices.Contains(formats, f) && len(formats) < 8 {
				formats = append(formats, f)
			}
		}
	}
	switch {
	case encrypted && v.cipher != nil:
		return fmt.Errorf("%s: the media is %w (SRTP), and the key does not fit", where, ErrEncrypted)
	case encrypted:
		return fmt.Errorf("%s: the media is %w (SRTP); --srtp-key decrypts it", where, ErrEncrypted)
	case len(formats) > 0:
		return fmt.Errorf("%s: %w: %s", where, ErrCodec, strings.Join(formats, ", "))
	}
	for _, f := range v.files {
		if f.damage != nil {
			return f.damage
		}
	}
	return fmt.Errorf("%s: %w in it", where, ErrNoMedia)
}

// Summary says what is in the dump. Of a recorder's own dump, and of one that
// was only glanced at, which are read once, it tells what has come so far.
func (r *Room) Summary() Summary { return r.player.summary() }

// Next implements signaling.Room.
func (r *Room) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	if err := ctx.Err(); err != nil {
		return signaling.Event{}, err
	}
	if !r.ready {
		if r.err != nil {
			return signaling.Event{}, r.err
		}
		if r.next, r.err = r.player.event(ctx); r.err != nil {
			return signaling.Event{}, r.err
		}
		r.ready = true
	}
	if !deadline.IsZero() && r.next.Time.After(deadline) {
		if deadline.After(r.last) {
			r.last = deadline
		}
		return signaling.Event{Kind: signaling.Tick, Time: r.last}, nil
	}
	r.ready = false
	e := r.next
	r.next = signaling.Event{}
	r.last = e.Time
	return e, nil
}

// Close implements signaling.Room.
func (r *Room) Close() error {
	if r.ready && r.next.Packet != nil {
		r.next.Packet.Release()
	}
	r.ready = false
	if r.err == nil {
		r.err = io.EOF
	}
	err := r.player.close()
	if r.shelf != nil {
		err = errors.Join(err, r.shelf.close())
	}
	return err
}
