// Package ffmpeg captures by the program ffmpeg: a screen, a test pattern,
// anything that ffmpeg can read, encoded by it and read from its pipe.
//
// # Two encoders for a moment
//
// A running ffmpeg can't be asked for a keyframe, nor for another bitrate. A
// second one, started beside it, gives its first frame, which is a keyframe,
// within a fifth of a second. So a wish is fulfilled by starting one, going over
// to it with its first frame, and ending the old one: the picture never stops.
// There are never more than two, and a second is not started more often than
// every third of a second.
package ffmpeg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/avi"
	"github.com/roomtape/roomtape/capture/ivf"
	"github.com/roomtape/roomtape/capture/ogg"
	"github.com/roomtape/roomtape/capture/process"
	"github.com/roomtape/roomtape/media"
)

const (
	// switchGap is how long after one switch the next begins at the soonest.
	switchGap = 350 * time.Millisecond
	// raiseGap is how long after a change the bitrate is raised at the soonest,
	// lowerGap lowered.
	raiseGap = 4 * time.Second
	lowerGap = time.Second
	// enough is the share of a bitrate, in per cent, that a change must have.
	enough = 15
	// maxHeld is how many pictures are held back for the first of the next
	// encoder.
	maxHeld = 12
	// startWait is how long an encoder has until its first frame.
	startWait = 10 * time.Second
	// A program that has ended by itself is started anew, but not more often
	// than maxRestarts times in restartTime.
	maxRestarts = 3
	restartTime = 30 * time.Second
)

// Input is what one ffmpeg reads: the arguments before and with -i. Filter, when
// not empty, is applied to pictures before all else.
type Input struct {
	Args   []string
	Filter string
	// Env is added to the environment.
	Env []string
	// Live is set for what is captured when it is read (a screen, a camera), and
	// has no end. Else an input has a time of its own, which goes on from the
	// elapsed time that it was made for, and its end is the source's.
	Live bool
	// Sole is set for what can't be read twice at a time: an encoder is then
	// ended before the next is started.
	Sole bool
}

// Config says what is captured and how.
type Config struct {
	capture.Constraints
	// Picture and Sound give the inputs from an elapsed time of the source on.
	// Nil: there is none.
	Picture, Sound func(elapsed time.Duration) Input
	// Program is ffmpeg's name or path; "" means "ffmpeg".
	Program string
	// Logger gets what happens; nil: nothing is logged.
	Logger *slog.Logger
}

// Source is a running capture. It implements capture.Source.
type Source struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	samples chan capture.Sample
	wishes  chan struct{} // something in wish has changed
	cancel  context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup

	mu      sync.Mutex
	wantKey bool
	bitrate int
	err     error // of the source, valid when over is closed
	over    chan struct{}
	closing sync.Once
}

// Open starts capturing, and returns when the first frame is there: what can't be
// captured is an error here. It wraps capture.ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if cfg.Program == "" {
		cfg.Program = "ffmpeg"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Bitrate == 0 {
		cfg.Bitrate = 2_500_000
	}
	if cfg.FrameRate == 0 {
		cfg.FrameRate = 30
	}
	s := &Source{
		cfg: cfg, log: cfg.Logger, started: time.Now(), bitrate: cfg.Bitrate,
		samples: make(chan capture.Sample, 16), wishes: make(chan struct{}, 1), over: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	first := make(chan error, 2)
	parts := 0
	if cfg.Picture != nil && cfg.Video != media.CodecUnknown {
		if _, err := videoArgs(cfg.Constraints, cfg.Bitrate); err != nil {
			s.cancel()
			return nil, err
		}
		parts++
		s.running.Go(func() { s.end(s.pictures(first)) })
	}
	if cfg.Sound != nil && cfg.Audio != media.CodecUnknown {
		parts++
		s.running.Go(func() { s.end(s.sound(first)) })
	}
	for range parts {
		var err error
		select {
		case err = <-first:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, nil
}

// end ends the source, by the first of its parts that ends.
func (s *Source) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.over:
	default:
		s.err = err
		close(s.over)
	}
	s.cancel()
}

// Next implements capture.Source.
func (s *Source) Next(ctx context.Context) (capture.Sample, error) {
	select {
	case sample := <-s.samples:
		return sample, nil
	default:
	}
	select {
	case sample := <-s.samples:
		return sample, nil
	case <-ctx.Done():
		return capture.Sample{}, ctx.Err()
	case <-s.over:
		s.mu.Lock()
		defer s.mu.Unlock()
		return capture.Sample{}, s.err
	}
}

// Tracks implements capture.Source.
func (s *Source) Tracks() (video, audio media.Codec) {
	if s.cfg.Picture != nil {
		video = s.cfg.Video
	}
	if s.cfg.Sound != nil {
		audio = s.cfg.Audio
	}
	return video, audio
}

// RequestKeyframe implements capture.Source.
func (s *Source) RequestKeyframe() {
	s.mu.Lock()
	s.wantKey = true
	s.mu.Unlock()
	s.wish()
}

// fulfilled takes back the wish for a keyframe.
func (s *Source) fulfilled() {
	s.mu.Lock()
	s.wantKey = false
	s.mu.Unlock()
}

// SetBitrate implements capture.Source.
func (s *Source) SetBitrate(bitsPerSecond int) {
	s.mu.Lock()
	s.bitrate = min(max(bitsPerSecond, capture.MinBitrate), capture.MaxBitrate)
	s.mu.Unlock()
	s.wish()
}

func (s *Source) wish() {
	select {
	case s.wishes <- struct{}{}:
	default:
	}
}

// Close implements capture.Source.
func (s *Source) Close() error {
	s.closing.Do(func() {
		s.end(io.EOF)
		s.running.Wait()
	})
	return nil
}

// give hands a sample on, or drops it when the source is being closed.
func (s *Source) give(sample capture.Sample) {
	select {
	case s.samples <- sample:
	case <-s.ctx.Done():
	}
}

// sound reads the sound until its end.
func (s *Source) sound(first chan<- error) error {
	begun := false
	for restarts := newRestarts(); ; {
		in := s.cfg.Sound(time.Since(s.started))
		err := s.soundOnce(in, func() {
			if !begun {
				begun = true
				first <- nil
			}
		})
		switch {
		case s.ctx.Err() != nil:
			return io.EOF
		case !begun:
			err = fmt.Errorf("%w: sound: %w", capture.ErrUnavailable, ended(err))
			first <- err
			return err
		case err == nil && !in.Live:
			return io.EOF
		case !restarts.Take(time.Now()):
			return fmt.Errorf("%w: sound: %w", capture.ErrEnded, ended(err))
		}
		s.log.Warn("the program that captures sound has ended; starting it again", "error", ended(err))
	}
}

func newRestarts() *process.Restarts {
	return &process.Restarts{Most: maxRestarts, Within: restartTime}
}

// ended gives an error for a program that has ended without one.
func ended(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("the program ended by itself")
	}
	return err
}

// soundOnce reads the sound of one program. The error is nil at its end.
func (s *Source) soundOnce(in Input, begun func()) error {
	at := time.Now()
	p, err := process.Start(process.Config{Name: s.cfg.Program, Args: soundArgs(in), Env: in.Env, Stdout: true})
	if err != nil {
		return err
	}
	defer p.Stop()
	defer context.AfterFunc(s.ctx, p.Stop)()
	r, err := ogg.NewReader(bufio.NewReaderSize(p.Stdout, 1<<12))
	if err != nil {
		return failure(p, err)
	}
	// Times count packets, so that they are as even as the samples were. What the
	// clocks of a sound card and of the machine differ by is followed slowly.
	for {
		data, err := r.Next()
		if errors.Is(err, io.EOF) {
			return failure(p, nil)
		}
		if err != nil {
			return failure(p, err)
		}
		begun()
		if in.Live {
			switch drift := time.Since(at); {
			case drift > time.Second || drift < -time.Second:
				at = at.Add(drift)
			default:
				at = at.Add(drift / 256)
			}
		}
		s.give(capture.Sample{
			Kind: media.Audio, Captured: at,
			Frame: media.Frame{Data: data, Key: true, Duration: soundFrame},
		})
		at = at.Add(soundFrame)
	}
}

// failure ends a program whose output has ended or is not what it should be, and
// says why: what the program said itself is more to the point.
func failure(p *process.Process, err error) error {
	if err != nil && !errors.Is(err, ivf.ErrFormat) && !errors.Is(err, ogg.ErrFormat) && !errors.Is(err, avi.ErrFormat) {
		p.Stop()
		return err
	}
	said := p.Wait()
	if said != nil {
		return said
	}
	if err != nil && p.Said() != "" {
		return fmt.Errorf("%s", p.Said())
	}
	return err
}
