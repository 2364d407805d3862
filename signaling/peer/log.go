package peer

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// loggers gives pion loggers that write to slog at debug level, whatever level
// pion finds right: most of what it warns of is a peer's doing.
type loggers struct{ to *slog.Logger }

func (l loggers) NewLogger(scope string) logging.LeveledLogger {
	return logger{to: l.to.With("pion", scope)}
}

type logger struct{ to *slog.Logger }

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
func (l logger) Warnf(format string, a ...any)  { l.logf(format, a) }
func (l logger) Error(msg string)               { l.log(msg) }
func (l logger) Errorf(format string, a ...any) { l.logf(format, a) }
