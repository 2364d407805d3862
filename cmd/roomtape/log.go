package main

import (
	"io"
	"log/slog"
)

// logOptions is what --log-format and --log-level ask for.
type logOptions struct {
	json  bool
	level slog.Level
	// chosen is set when somebody asked for the level.
	chosen bool
}

// parseLogOptions reads the values of the flags; its errors are usage errors.
func parseLogOptions(format, level string) (logOptions, error) {
	o := logOptions{level: slog.LevelInfo, chosen: level != ""}
	if level == "" {
		level = o.level.String()
	}
	if err := o.level.UnmarshalText([]byte(level)); err != nil {
		return o, usagef("--log-level %q is none of debug, info, warn, error", level)
	}
	if format != "text" && format != "json" {
		return o, usagef("--log-format %q is neither text nor json", format)
	}
	o.json = format == "json"
	return o, nil
}

// logger makes a logger that writes to w. On a screen the table tells what goes
// on, and there is no need to tell it twice.
func (o logOptions) logger(w io.Writer) *slog.Logger {
	if _, ok := w.(*screen); ok && !o.chosen {
		o.level = slog.LevelWarn
	}
	opts := &slog.HandlerOptions{Level: o.level}
	if o.json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
