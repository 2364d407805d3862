package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/ffmpeg"
	"github.com/roomtape/roomtape/capture/file"
	"github.com/roomtape/roomtape/capture/webpage"
	"github.com/roomtape/roomtape/media"
)

// sources are the kinds of source, told apart by what stands before the colon:
// this list and those of rooms and formats are all that names the parts.
var sources = []sourceKind{
	{name: "screen", form: "screen or screen:DISPLAY+X,Y", about: "this machine's screen, or another X display", open: openScreen},
	{name: "pattern", form: "pattern", about: "a moving test picture with the time, a flash and a beep each second", ownSound: true, open: openPattern},
	{name: "url", form: "url:https://…", about: "a web page, in a browser on a display of its own (Xvfb, Chromium)", needs: true, noCursor: true, open: openPage},
	{name: "file", form: "file:PATH", about: "IVF, Ogg, WebM or Matroska, as it is; anything else that ffmpeg reads, encoded", needs: true, ownSound: true, open: openFile},
	{name: "ffmpeg", form: "ffmpeg:ARGUMENTS", about: "any other input of ffmpeg's, such as -f v4l2 -i /dev/video0 or rtsp://…", needs: true, open: openArguments},
}

// A sourceKind knows how to open one kind of source.
type sourceKind struct {
	name, form, about string
	// needs is set when something must follow the colon, ownSound when the
	// source is heard unless something else is asked for, noCursor when it has a
	// pointer that nobody moves.
	needs, ownSound, noCursor bool
	open                      func(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error)
}

// findSource reads the value of --source. Its errors are usage errors.
func findSource(text string) (kind sourceKind, what string, err error) {
	name, what, more := strings.Cut(text, ":")
	for _, k := range sources {
		if k.name != name {
			continue
		}
		if k.needs && what == "" || more && what == "" {
			return k, "", usagef("--source %q: want %s", text, k.form)
		}
		return k, what, nil
	}
	return kind, "", usagef("--source %q is none of %s", text, joined(sources, func(k sourceKind) string { return k.form }))
}

// sourceHelp lists the sources for people.
func sourceHelp() string {
	var b strings.Builder
	b.WriteString("Sources:\n")
	for _, k := range sources {
		fmt.Fprintf(&b, "  %-32s %s\n", k.form, k.about)
	}
	return b.String()
}

// opener gives what opens a source of these options with any bitrate.
func (o sourceOptions) opener(log *slog.Logger) capture.Opener {
	return func(ctx context.Context, bitrate int) (capture.Source, error) {
		o := o
		o.Bitrate = bitrate
		return o.kind.open(ctx, o, log)
	}
}

func openScreen(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error) {
	picture, err := ffmpeg.Screen(o.Constraints, o.what, nil)
	if err != nil {
		return nil, err
	}
	return openFFmpeg(ctx, o, ffmpeg.Config{Picture: picture, Logger: log})
}

func openPattern(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error) {
	open := func(text bool) (capture.Source, error) {
		cfg := ffmpeg.Config{Logger: log}
		picture, sound := ffmpeg.Pattern(o.Constraints, text)
		cfg.Picture = picture
		if o.audio == "source" {
			cfg.Sound = sound
		}
		return openFFmpeg(ctx, o, cfg)
	}
	s, err := open(true)
	if errors.Is(err, capture.ErrUnavailable) { // maybe for want of a font
		s, err = open(false)
	}
	return s, err
}

func openArguments(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error) {
	picture, err := ffmpeg.Arguments(o.what)
	if err != nil {
		return nil, err
	}
	return openFFmpeg(ctx, o, ffmpeg.Config{Picture: picture, Logger: log})
}

func openPage(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error) {
	cfg := webpage.Config{Constraints: o.Constraints, URL: o.what, Logger: log}
	cfg.Sound = o.sound()
	s, err := webpage.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openFile plays a file as it is, if its codecs are those that are asked for, and
// else encodes it.
func openFile(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error) {
	cfg := file.Config{Path: o.what, NoAudio: o.audio == "none" || o.audio == "system", Loop: o.loop}
	if path, ok := strings.CutPrefix(o.audio, "file:"); ok {
		cfg.Sound = path
	}
	s, err := file.Open(cfg)
	if err == nil {
		video, audio := s.Tracks()
		fits := o.AnyVideo && o.Width == 0 || video == o.Video
		if video == media.CodecUnknown {
			fits = audio != media.CodecUnknown // sound alone
		}
		if fits && o.audio != "system" {
			return s, nil
		}
		_ = s.Close() // it has played nothing
	} else if !errors.Is(err, capture.ErrDamaged) {
		return nil, err
	}
	if _, e := exec.LookPath("ffmpeg"); err != nil && e != nil {
		return nil, err // which says more than that there is no ffmpeg
	}
	encoded, e := encodeFile(ctx, o, log)
	if e != nil && err != nil && ctx.Err() == nil {
		e = fmt.Errorf("%w; and %w", err, e) // neither of us can read it
	}
	return encoded, e
}

// encodeFile plays a file through ffmpeg.
func encodeFile(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error) {
	f := ffmpeg.Config{Picture: ffmpeg.File(o.what, o.loop), Logger: log}
	if o.audio == "source" {
		heard := f
		heard.Sound = ffmpeg.File(o.what, o.loop)
		if s, err := openFFmpeg(ctx, o, heard); err == nil || ctx.Err() != nil {
			return s, err
		}
		o.audio, o.Audio = "none", media.CodecUnknown // it may have none
	}
	return openFFmpeg(ctx, o, f)
}

// openFFmpeg adds the sound that the options ask for.
func openFFmpeg(ctx context.Context, o sourceOptions, cfg ffmpeg.Config) (capture.Source, error) {
	cfg.Constraints = o.Constraints
	if sound := o.sound(); sound != nil {
		cfg.Sound = sound
	}
	s, err := ffmpeg.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// sound gives the input for sound that is not the source's own, or nil.
func (o sourceOptions) sound() func(time.Duration) ffmpeg.Input {
	if o.audio == "system" {
		return ffmpeg.SystemSound("", nil)
	}
	if path, ok := strings.CutPrefix(o.audio, "file:"); ok {
		return ffmpeg.File(path, o.loop)
	}
	return nil
}

// sourceGrace is how long a source may take to open.
const sourceGrace = 20 * time.Second
