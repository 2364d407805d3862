package peer

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// loggers gives pion loggers that write to slog at debug level, whatever level
// pion finds right: most of what it warns of is a peer's doing.
type loggers struct {
	to *slog.Logger
	// relay gets what goes wrong with TURN servers, which pion tells in no
	// other way. May be nil.
	relay func(format string, args []any)
}

func (l loggers) NewLogger(scope string) logging.LeveledLogger {
	out := logger{to: l.to.With("pion", scope)}
	if scope == "ice" {
		out.relay = l.relay
	}
	return out
}

type logger struct {
	to    *slog.Logger
	relay func(format string, args []any)
}

func (l logger) log(msg string) {
	l.to.LogAttrs(context.Background(), slog.LevelDebug, msg)
}

func (l logger) logf(format string, args []any) {
	if l.to.Enabled(context.Background(), slog.LevelDebug) {
		l.log(fmt.Sprintf(format, args...))
	}
}

// Traces tell of every packet; nobody wants to read them.
func (l logger) Trace(string)          {}
func (l logger) Tracef(string, ...any) {}

func (l logger) Debug(msg string)               { l.log(msg) }
func (l logger) Debugf(format string, a ...any) { l.logf(format, a) }
func (l logger) Info(msg string)                { l.log(msg) }
func (l logger) Infof(format string, a ...any)  { l.logf(format, a) }
func (l logger) Warn(msg string)                { l.log(msg) }
func (l logger) Warnf(format string, a ...any) {
	if l.relay != nil {
		l.relay(format, a)
	}
	l.logf(format, a)
}
func (l logger) Error(msg string)               { l.log(msg) }
func (l logger) Errorf(format string, a ...any) { l.logf(format, a) }
