package recorder

import (
	"context"
	"errors"

	"github.com/roomtape/roomtape/signaling"
)

// Errors that Run wraps.
var (
	// ErrNoMedia: the session is over, and nothing that can be decoded came.
	ErrNoMedia = errors.New("no media arrived")
	// ErrStorage: something could not be stored. What was written before is
	// final.
	ErrStorage = errors.New("storage failed")
)

// Session records one stay in one room. One goroutine uses it.
type Session struct {
	cfg Config
}

// NewSession checks cfg and gives a session that has not begun.
func NewSession(cfg Config) (*Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Session{cfg: cfg}, nil
}

// Run records room until it is over, a policy of Config ends the session, or ctx
// is done; then it completes every file and the manifest. It does not close the
// room. It is called once.
//
// The error is nil when all is recorded, and otherwise wraps ErrNoMedia,
// ErrStorage or signaling.ErrLost.
func (s *Session) Run(ctx context.Context, room signaling.Room) error {
	<-ctx.Done()
	return nil
}

// Hash reads every finished file back and adds its SHA-256 to the manifest. It
// is called after Run, and stops with ctx's error when ctx is done.
func (s *Session) Hash(ctx context.Context) error { return nil }

// Manifest gives what is recorded. It must not be called while Run is running.
func (s *Session) Manifest() Manifest { return Manifest{Version: 1} }
