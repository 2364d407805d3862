package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Opener starts a source with a bitrate in bit/s. Its errors are those of the
// sources.
type Opener func(ctx context.Context, bitrate int) (Source, error)

// Switch is a Source that gives what another one gives, which can be replaced
// while it runs, as by replaceTrack in a browser: times go on rising, and the
// first picture of a new source is a keyframe. When a source that has replaced
// another comes to its end, the former one is opened again. Its methods may be
// called by any goroutine but Next, which has one.
type Switch struct {
	mu      sync.Mutex
	stack   []Opener // what is shown, and below it what was before
	current Source
	bitrate int
	muted   bool
	closed  bool
	video   media.Codec
	audio   media.Codec
	waiting bool         // for a keyframe after a change
	last    [3]time.Time // captured, by kind
}

// NewSwitch opens the first source.
func NewSwitch(ctx context.Context, open Opener, bitrate int) (*Switch, error) {
	first, err := open(ctx, bitrate)
	if err != nil {
		return nil, err
	}
	s := &Switch{stack: []Opener{open}, current: first, bitrate: bitrate, waiting: true}
	s.video, s.audio = first.Tracks()
	return s, nil
}

// Tracks implements Source: what the first source has, all others must have if
// they have that kind.
func (s *Switch) Tracks() (video, audio media.Codec) { return s.video, s.audio }

// Replace shows another source. When it can't be opened, what is shown stays, and
// the error says why.
func (s *Switch) Replace(ctx context.Context, open Opener) error {
	s.mu.Lock()
	bitrate, closed := s.bitrate, s.closed
	s.mu.Unlock()
	if closed {
		return io.EOF
	}
	next, err := open(ctx, bitrate)
	if err != nil {
		return err
	}
	if video, _ := next.Tracks(); video != s.video {
		return errors.Join(fmt.Errorf("%w: it has %v in place of %v", ErrUnavailable, video, s.video), next.Close())
	}
	s.mu.Lock()
	old := next
	if !s.closed {
		old, s.current, s.waiting = s.current, next, true
		s.stack = append(s.stack[:len(s.stack):len(s.stack)], open)
		if n := len(s.stack); n > 2 { // what was first, and what is shown
			s.stack = []Opener{s.stack[0], s.stack[n-1]}
		}
	}
	s.mu.Unlock()
	return old.Close()
}

// Mute stops giving samples, or goes on; sources run meanwhile.
func (s *Switch) Mute(muted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted && !muted && s.current != nil {
		s.current.RequestKeyframe()
		s.waiting = true
	}
	s.muted = muted
}

// Next implements Source.
func (s *Switch) Next(ctx context.Context) (Sample, error) {
	for {
		s.mu.Lock()
		current, closed := s.current, s.closed
		s.mu.Unlock()
		if closed {
			return Sample{}, io.EOF
		}
		sample, err := current.Next(ctx)
		if err == nil {
			if s.takes(&sample, current) {
				return sample, nil
			}
			continue
		}
		if ctx.Err() != nil {
			return Sample{}, err
		}
		if again, e := s.former(ctx, current, err); !again {
			return Sample{}, e
		}
	}
}

// takes tells whether a sample is to be given, and makes its time rise.
func (s *Switch) takes(sample *Sample, from Source) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted || from != s.current || sample.Kind == media.Audio && s.audio == media.CodecUnknown {
		return false
	}
	if sample.Kind == media.Video {
		if s.waiting && !sample.Frame.Key {
			return false
		}
		s.waiting = false
	}
	last, step := &s.last[sample.Kind], Step
	if sample.Kind == media.Audio {
		step = time.Millisecond
	}
	if least := last.Add(step); sample.Captured.Before(least) {
		sample.Captured = least
	}
	*last = sample.Captured
	return true
}

// former goes back to what was shown before a source that has ended, and tells
// whether there is something to show.
func (s *Switch) former(ctx context.Context, ended Source, why error) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.current != ended {
		return !s.closed, io.EOF // it was replaced
	}
	_ = ended.Close() // its error is why
	if len(s.stack) < 2 {
		return false, why
	}
	s.stack = s.stack[:len(s.stack)-1]
	next, err := s.stack[len(s.stack)-1](ctx, s.bitrate)
	if err != nil {
		return false, errors.Join(why, err)
	}
	s.current, s.waiting = next, true
	return true, nil
}

// RequestKeyframe implements Source.
func (s *Switch) RequestKeyframe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.RequestKeyframe()
}

// SetBitrate implements Source.
func (s *Switch) SetBitrate(bitsPerSecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bitrate = bitsPerSecond
	s.current.SetBitrate(bitsPerSecond)
}

// Close implements Source.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	current := s.current
	s.mu.Unlock()
	return current.Close()
}
