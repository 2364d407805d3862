package ffmpeg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/avi"
	"github.com/roomtape/roomtape/capture/ivf"
	"github.com/roomtape/roomtape/capture/process"
	"github.com/roomtape/roomtape/media"
)

// picture is a frame of an encoder, or why there are no more; without data and
// error, that the first is being encoded.
type picture struct {
	from *encoder
	data []byte
	at   time.Time
	err  error
}

// encoder is one ffmpeg that gives pictures.
type encoder struct {
	bitrate int
	input   Input
	began   time.Time
	stop    context.CancelFunc
	gone    chan struct{} // closed when the program has ended
}

// director has the pictures of one encoder after the other. It is used by one
// goroutine.
type director struct {
	s        *Source
	pictures chan picture

	// live gives the pictures, next is to; nil: there is none.
	live, next *encoder
	switched   time.Time // when live began to
	changed    time.Time // when the bitrate was
	last       time.Time // of the pictures given
	given      bool
	restarts   *process.Restarts

	// While the next encoder is at its first picture, those of live are held: the
	// ones that were captured after it must not be shown before it.
	holding bool
	held    []picture
}

// pictures gives pictures until the source is closed or they end. The first of
// them, or that there is none, is told by first.
func (s *Source) pictures(first chan<- error) error {
	d := &director{s: s, pictures: make(chan picture), restarts: newRestarts()}
	defer d.close()
	tell := func(err error) error {
		if !d.given {
			d.given = true
			first <- err
		}
		return err
	}
	if err := d.start(); err != nil {
		return tell(err)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(d.wait(time.Now()))
		select {
		case <-s.ctx.Done():
			return tell(io.EOF)
		case <-s.wishes:
		case <-timer.C:
		case p := <-d.pictures:
			if p.err == nil {
				d.show(p, tell)
			} else if err := d.ended(p); err != nil {
				return tell(err)
			}
		}
		if err := d.act(time.Now()); err != nil {
			return tell(err)
		}
	}
}

// show gives a picture to the viewers, if it is of the encoder that is live, or
// the first of the next one.
func (d *director) show(p picture, tell func(error) error) {
	key := capture.IsKey(d.s.cfg.Video, p.data)
	switch {
	case len(p.data) == 0:
		d.holding = d.holding || p.from == d.next && d.live != nil
		return
	case p.from == d.next && key:
		d.release(p.at)
		if d.live != nil {
			d.live.stop()
		}
		d.live, d.next = d.next, nil
		d.switched = time.Now()
		d.s.fulfilled() // who has asked since it was started gets this one too
	case p.from != d.live:
		return
	case d.holding:
		if d.held = append(d.held, p); len(d.held) >= maxHeld {
			d.release(p.at.Add(1))
		}
		return
	}
	d.give(p, key)
	_ = tell(nil)
}

// release gives the pictures that are held and were captured before the given
// instant, and forgets the others.
func (d *director) release(before time.Time) {
	for _, p := range d.held {
		if p.at.Before(before) {
			d.give(p, capture.IsKey(d.s.cfg.Video, p.data))
		}
	}
	clear(d.held)
	d.held, d.holding = d.held[:0], false
}

func (d *director) give(p picture, key bool) {
	if least := d.last.Add(capture.Step); p.at.Before(least) {
		p.at = least
	}
	d.last = p.at
	d.s.give(capture.Sample{Kind: media.Video, Captured: p.at, Frame: media.Frame{Data: p.data, Key: key}})
}

// ended is called when an encoder's pictures have ended. The error ends the source.
func (d *director) ended(p picture) error {
	s := d.s
	wasLive, input := p.from == d.live, p.from.input
	switch p.from {
	case d.next:
		d.next = nil
		d.release(time.Now())
	case d.live:
		d.live = nil
	default:
		return nil // it was stopped
	}
	switch {
	case !d.given:
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, ended(p.err))
	case wasLive && errors.Is(p.err, io.EOF) && !input.Live:
		return io.EOF
	case !d.restarts.Take(time.Now()):
		return fmt.Errorf("%w: %w", capture.ErrEnded, p.err)
	}
	s.log.Warn("the program that captures has ended; starting it again", "error", p.err)
	if d.live == nil && d.next == nil {
		return d.start()
	}
	return nil
}

// wait gives how long until act has something to do though nothing comes.
func (d *director) wait(now time.Time) time.Duration {
	if d.next != nil {
		return max(d.next.began.Add(startWait).Sub(now), 0)
	}
	if due, ok := d.due(now); ok {
		return max(due.Sub(now), 0)
	}
	return time.Hour
}

// due tells when a wish can be fulfilled.
func (d *director) due(now time.Time) (time.Time, bool) {
	s := d.s
	if d.live == nil {
		return time.Time{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change := s.bitrate - d.live.bitrate
	least := d.live.bitrate * enough / 100
	soon := d.switched.Add(switchGap)
	switch {
	case s.wantKey:
		return soon, true
	case change < -least:
		return later(soon, d.changed.Add(lowerGap)), true
	case change > least || change > 0 && s.bitrate == s.cfg.Bitrate:
		return later(soon, d.changed.Add(raiseGap)), true
	}
	return now, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// act starts an encoder when there is a wish that it fulfils, and gives up one
// that does not begin.
func (d *director) act(now time.Time) error {
	if d.next != nil && now.Sub(d.next.began) >= startWait {
		d.next.stop()
		d.next = nil
		d.release(now)
		if !d.given || !d.restarts.Take(now) {
			return fmt.Errorf("%w: no picture came within %v", capture.ErrUnavailable, startWait)
		}
		if d.live == nil {
			return d.start()
		}
	}
	due, ok := d.due(now)
	if !ok || d.next != nil || now.Before(due) {
		return nil
	}
	if d.live.input.Sole {
		old := d.live
		d.live = nil
		old.stop()
		// What it still gives is not waited for.
		for waiting := true; waiting; {
			select {
			case <-d.pictures:
			case <-old.gone:
				waiting = false
			}
		}
	}
	return d.start()
}

// start starts the next encoder, with all wishes fulfilled.
func (d *director) start() error {
	s := d.s
	s.mu.Lock()
	bitrate := s.bitrate
	s.wantKey = false
	s.mu.Unlock()
	began := time.Now()
	in := s.cfg.Picture(began.Sub(s.started))
	args, err := pictureArgs(in, s.cfg.Constraints, bitrate)
	if err != nil {
		return err
	}
	p, err := process.Start(process.Config{Name: s.cfg.Program, Args: args, Env: in.Env, Stdout: true})
	if err != nil {
		return err
	}
	if d.live == nil || d.live.bitrate != bitrate {
		d.changed = time.Now()
	}
	ctx, stop := context.WithCancel(s.ctx)
	e := &encoder{bitrate: bitrate, input: in, began: began, stop: stop, gone: make(chan struct{})}
	d.next = e
	s.running.Go(func() {
		defer close(e.gone)
		defer stop()
		release := context.AfterFunc(ctx, p.Stop)
		err := e.read(ctx, p, s.cfg.Video, d.pictures)
		release()
		if err != nil {
			err = failure(p, err)
		} else {
			err = p.Wait()
		}
		p.Stop()
		if err == nil {
			err = io.EOF
		}
		select {
		case d.pictures <- picture{from: e, err: err}:
		case <-ctx.Done():
		}
	})
	return nil
}

// read hands on what the program gives. The error is nil at its end.
func (e *encoder) read(ctx context.Context, p *process.Process, codec media.Codec, to chan<- picture) error {
	next, err := e.reader(bufio.NewReaderSize(p.Stdout, 1<<16), codec)
	if err != nil {
		return err
	}
	select {
	case to <- picture{from: e}:
	case <-ctx.Done():
		return nil
	}
	for {
		data, captured, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case to <- picture{from: e, data: data, at: captured}:
		case <-ctx.Done():
			return nil
		}
	}
}

// reader gives what reads the encoder's pictures, and when they were captured: for
// H264, which comes without times, when they come.
func (e *encoder) reader(r io.Reader, codec media.Codec) (func() ([]byte, time.Time, error), error) {
	if codec == media.H264 {
		a, err := avi.NewReader(r)
		if err != nil {
			return nil, err
		}
		return func() ([]byte, time.Time, error) {
			data, err := a.Next()
			return data, time.Now(), err
		}, nil
	}
	i, err := ivf.NewReader(r)
	if err != nil {
		return nil, err
	}
	return func() ([]byte, time.Time, error) {
		data, at, err := i.Next()
		if e.input.Live {
			return data, atWall(at, time.Now()), err
		}
		return data, e.began.Add(at), err
	}, nil
}

// atWall gives the instant that ffmpeg says, as time since 1970, on the clock of
// time.Now, or now when that is not near: not every device has the wall clock.
func atWall(since time.Duration, now time.Time) time.Time {
	ago := time.Duration(now.UnixNano()) - since
	if ago < 0 || ago > time.Second {
		return now
	}
	return now.Add(-ago)
}

// close ends all encoders; Source.running waits for them.
func (d *director) close() {
	for _, e := range []*encoder{d.live, d.next} {
		if e != nil {
			e.stop()
		}
	}
}
