package main

import (
	"io"
	"log/slog"
)

// logOptions is what --log-format and --log-level ask for.
type logOptions struct {
	json  bool
	level slog.Level
}

// parseLogOptions reads the values of the flags; its errors are usage errors.
func parseLogOptions(format, level string) (logOptions, error) {
	var o logOptions
	if err := o.level.UnmarshalText([]byte(level)); err != nil {
		return o, usagef("--log-level %q is none of debug, info, warn, error", level)
	}
	if format != "text" && format != "json" {
		return o, usagef("--log-format %q is neither text nor json", format)
	}
	o.json = format == "json"
	return o, nil
}

// logger makes a logger that writes to w.
func (o logOptions) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: o.level}
	if o.json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
