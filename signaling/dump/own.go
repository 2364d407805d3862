package dump

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// SessionInfo is what a recorder's dump says of the session.
type SessionInfo struct {
	Room     string    `json:"room"`
	URL      string    `json:"url"`
	Recorder string    `json:"recorder"`
	Start    time.Time `json:"start,omitzero"`
}

type ownHeader struct {
	Version int         `json:"roomtape_dump"`
	Session SessionInfo `json:"session"`
}

func parseOwnHeader([]byte) *ownHeader { return nil }

type ownPlayer struct{ file *os.File }

func newOwnPlayer(_ *pcapng, f *os.File) *ownPlayer { return &ownPlayer{f} }

func (*ownPlayer) event(context.Context) (signaling.Event, error) {
	return signaling.Event{}, errors.Join(io.EOF)
}
func (*ownPlayer) summary() Summary { return Summary{} }
func (p *ownPlayer) close() error   { return p.file.Close() }
