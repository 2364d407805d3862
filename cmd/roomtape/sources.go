package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/ffmpeg"
)

// sources are the kinds of source, told apart by what stands before the colon:
// this list and those of rooms and formats are all that names the parts.
var sources = []sourceKind{
	{name: "screen", form: "screen or screen:DISPLAY+X,Y", about: "this machine's screen, or another X display", open: openScreen},
	{name: "pattern", form: "pattern", about: "a moving test picture with the time, a flash and a beep each second", ownSound: true, open: openPattern},
}

// A sourceKind knows how to open one kind of source.
type sourceKind struct {
	name, form, about string
	// needs is set when something must follow the colon, ownSound when the
	// source is heard unless something else is asked for.
	needs, ownSound bool
	open            func(ctx context.Context, o sourceOptions, log *slog.Logger) (capture.Source, error)
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
	cfg := ffmpeg.Config{Logger: log}
	picture, sound := ffmpeg.Pattern(o.Constraints)
	cfg.Picture = picture
	if o.audio == "source" {
		cfg.Sound = sound
	}
	return openFFmpeg(ctx, o, cfg)
}

// openFFmpeg adds the sound that the options ask for.
func openFFmpeg(ctx context.Context, o sourceOptions, cfg ffmpeg.Config) (capture.Source, error) {
	cfg.Constraints = o.Constraints
	if o.audio == "system" {
		cfg.Sound = ffmpeg.SystemSound("", nil)
	}
	if path, ok := strings.CutPrefix(o.audio, "file:"); ok {
		cfg.Sound = ffmpeg.File(path, o.loop)
	}
	s, err := ffmpeg.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// sourceGrace is how long a source may take to open.
const sourceGrace = 20 * time.Second
