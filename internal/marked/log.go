package marked

import (
	"fmt"
	"sync"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// Log knows all that was sent in a run. It may be used by any goroutine.
type Log struct {
	clip  *synthetic.Clip
	began time.Time

	mu    sync.Mutex
	conns []*conn // by number
}

// NewLog makes a log for participants who play the clip, which must be VP8 with
// Opus packets of one frame each.
func NewLog(clip *synthetic.Clip) (*Log, error) {
	if clip.Codec != media.VP8 || len(clip.Video) == 0 || !isKey(clip.Video[0]) {
		return nil, fmt.Errorf("marked: a clip of %v that begins with no keyframe", clip.Codec)
	}
	for i, p := range clip.Audio {
		if len(p) == 0 || p[0]&3 != 0 {
			return nil, fmt.Errorf("marked: packet %d of the sound is not of one frame", i)
		}
	}
	return &Log{clip: clip, began: time.Now()}, nil
}

// Source gives what synthetic.Config.Source wants: a source for each connection
// of a participant, which plays the clip. When it is asked for a keyframe, it
// goes on with the clip's next one.
func (l *Log) Source(participant string) func(to string) synthetic.Source {
	return func(to string) synthetic.Source {
		l.mu.Lock()
		defer l.mu.Unlock()
		c := &conn{log: l, number: uint32(len(l.conns)), participant: participant, to: to}
		l.conns = append(l.conns, c)
		return c
	}
}

// conn is one connection, and what was sent on it.
type conn struct {
	log             *Log
	number          uint32
	participant, to string
	at              int // place in the clip

	mu   sync.Mutex
	sent [len(kinds)][]frame
}

// frame is one that was sent.
type frame struct {
	at  time.Duration // since the log began
	key bool
}

// Picture implements synthetic.Source.
func (c *conn) Picture(_ int, asked bool) []byte {
	video := c.log.clip.Video
	for asked && !isKey(video[c.at]) {
		c.at = (c.at + 1) % len(video)
	}
	f := video[c.at]
	c.at = (c.at + 1) % len(video)
	return markVideo(f, c.number, c.note(0, isKey(f)))
}

// Sound implements synthetic.Source.
func (c *conn) Sound(n int) []byte {
	audio := c.log.clip.Audio
	return markAudio(audio[n%len(audio)], c.number, c.note(1, true))
}

// due is when the n-th frame of a kind is due, by the sender's clock.
func (c *conn) due(kind int, n uint32) time.Duration {
	if kind == 0 {
		return time.Duration(n) * c.log.clip.FrameDuration
	}
	const packet = 20 * time.Millisecond
	return time.Duration(n) * packet
}

// note remembers a frame, and gives its number.
func (c *conn) note(kind int, key bool) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[kind] = append(c.sent[kind], frame{time.Since(c.log.began), key})
	return uint32(len(c.sent[kind]) - 1)
}
