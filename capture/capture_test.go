package capture_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
)

func TestIsKeyReadsHeaders(t *testing.T) {
	for _, c := range []struct {
		codec media.Codec
		frame []byte
		key   bool
	}{
		{media.VP8, []byte{0x10, 0, 0}, true},
		{media.VP8, []byte{0x11, 0, 0}, false},
		{media.VP9, []byte{0x82, 0x49}, true},          // profile 0
		{media.VP9, []byte{0x86, 0}, false},            // no keyframe
		{media.VP9, []byte{0x88, 0}, false},            // shows another again
		{media.VP9, []byte{0xb0 | 0x01, 0x49}, true},   // profile 3, which has one bit more
		{media.AV1, []byte{0x12, 0, 0x0a, 1, 0}, true}, // delimiter, sequence header
		{media.AV1, []byte{0x12, 0, 0x32, 1, 0}, false},
		{media.AV1, []byte{0x12, 0x80, 0x80}, false}, // cut short
		{media.H264, []byte{0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65}, true},
		{media.H264, []byte{0, 0, 0, 1, 0x41}, false},
		{media.Opus, []byte{1}, true},
		{media.VP8, nil, false},
	} {
		if got := capture.IsKey(c.codec, c.frame); got != c.key {
			t.Errorf("%v %x: %v", c.codec, c.frame, got)
		}
	}
}

// script is a source that gives what it is given.
type script struct {
	samples chan capture.Sample
	keys    int
	closed  chan struct{}
	asked   chan struct{} // for a sample
	video   media.Codec
}

func newScript(v media.Codec) *script {
	return &script{samples: make(chan capture.Sample, 16), closed: make(chan struct{}), asked: make(chan struct{}, 64), video: v}
}

func (s *script) Tracks() (media.Codec, media.Codec) { return s.video, media.CodecUnknown }
func (s *script) RequestKeyframe()                   { s.keys++ }
func (s *script) SetBitrate(int)                     {}
func (s *script) Close() error                       { close(s.closed); return nil }
func (s *script) Next(ctx context.Context) (capture.Sample, error) {
	s.asked <- struct{}{}
	select {
	case x, ok := <-s.samples:
		if !ok {
			return x, io.EOF
		}
		return x, nil
	case <-s.closed:
		return capture.Sample{}, io.EOF
	case <-ctx.Done():
		return capture.Sample{}, ctx.Err()
	}
}

func (s *script) open(context.Context, int) (capture.Source, error) { return s, nil }

func picture(at time.Time, key bool, data string) capture.Sample {
	return capture.Sample{Kind: media.Video, Captured: at, Frame: media.Frame{Data: []byte(data), Key: key}}
}

func TestSwitchGoesOverAtKeyframesAndBack(t *testing.T) {
	ctx, now := t.Context(), time.Now()
	first, again := newScript(media.VP8), newScript(media.VP8)
	openings := 0
	s, err := capture.NewSwitch(ctx, func(context.Context, int) (capture.Source, error) {
		if openings++; openings == 1 {
			return first, nil
		}
		return again, nil
	}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) capture.Sample {
		t.Helper()
		x, err := s.Next(ctx)
		if err != nil || string(x.Frame.Data) != want {
			t.Fatalf("%q, %v, want %q", x.Frame.Data, err, want)
		}
		return x
	}
	first.samples <- picture(now, false, "before any keyframe")
	first.samples <- picture(now, true, "a")
	first.samples <- picture(now.Add(time.Second), false, "b")
	expect("a")
	last := expect("b")

	other := newScript(media.VP9)
	if err := s.Replace(ctx, other.open); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("another codec: %v", err)
	}
	<-other.closed
	second := newScript(media.VP8)
	if err := s.Replace(ctx, second.open); err != nil {
		t.Fatal(err)
	}
	<-first.closed
	second.samples <- picture(now, false, "not yet")
	second.samples <- picture(now, true, "c")
	if x := expect("c"); !x.Captured.After(last.Captured) {
		t.Errorf("captured %v after %v", x.Captured, last.Captured)
	}

	s.Mute(true)
	second.samples <- picture(now.Add(2*time.Second), true, "muted")
	again.samples <- picture(now.Add(3*time.Second), true, "d")
	done := make(chan capture.Sample)
	go func() {
		x, _ := s.Next(ctx)
		done <- x
	}()
	for range 4 { // twice for "c", then for what is muted, and after it
		<-second.asked
	}
	s.Mute(false)
	close(second.samples) // it ends: back to the first one
	if x := <-done; string(x.Frame.Data) != "d" || openings != 2 {
		t.Errorf("%q after %d openings", x.Frame.Data, openings)
	}
	close(again.samples)
	if _, err := s.Next(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
