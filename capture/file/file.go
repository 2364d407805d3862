// Package file publishes media files as they are: the frames of IVF, Ogg with
// Opus, WebM and Matroska, at the pace of their timestamps, without encoding
// anything. A keyframe comes when the file has one.
package file

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
)

// maxPause is the longest pause between two frames that is kept: what is longer
// is a fault of the file's timestamps.
const maxPause = 10 * time.Second

// Config says what is played.
type Config struct {
	// Path is the file: the first video track and the first of Opus in it.
	Path string
	// Sound is a file whose sound is played in place of that of Path; "": none.
	Sound string
	// NoAudio leaves the sound of Path out.
	NoAudio bool
	// Loop begins a file again when it has ended.
	Loop bool
}

// Source plays files. It implements capture.Source.
type Source struct {
	parts  []*part
	start  time.Time
	closed chan struct{}
	once   sync.Once
}

// frame is a frame of a file, at its time there.
type frame struct {
	kind media.Kind
	data []byte
	key  bool
	at   time.Duration
}

// demuxer reads the frames of one file. At the end the error is io.EOF, all
// others wrap capture.ErrDamaged or are the file's.
type demuxer interface {
	next() (frame, error)
	codecs() (video, audio media.Codec)
}

// part is one file that is played.
type part struct {
	path         string
	f            *os.File
	loop         bool
	demux        demuxer
	video, audio media.Codec

	ahead  frame
	has    bool
	over   bool
	offset time.Duration // of this round
	from   time.Duration // of the file's first frame
	end    time.Duration // of the frame given last, with its duration
	step   [3]time.Duration
	last   [3]time.Duration
	any    bool // this round has given a frame
}

// Open opens the files and starts playing. The error wraps capture.ErrName for a
// file that can't be opened, and capture.ErrDamaged for one that has nothing to
// play.
func Open(cfg Config) (*Source, error) {
	s := &Source{closed: make(chan struct{})}
	p, err := open(cfg.Path, false, cfg.NoAudio || cfg.Sound != "", cfg.Loop)
	if err != nil {
		return nil, err
	}
	s.parts = append(s.parts, p)
	if cfg.Sound != "" {
		if p, err = open(cfg.Sound, true, false, cfg.Loop); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.parts = append(s.parts, p)
	}
	s.start = time.Now()
	return s, nil
}

func open(path string, noVideo, noAudio, loop bool) (*part, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", capture.ErrName, err)
	}
	p := &part{path: path, f: f, loop: loop}
	err = p.begin()
	if err == nil {
		p.video, p.audio = p.demux.codecs()
		if noVideo {
			p.video = media.CodecUnknown
		}
		if noAudio {
			p.audio = media.CodecUnknown
		}
		if p.video == media.CodecUnknown && p.audio == media.CodecUnknown {
			err = fmt.Errorf("%w: it has no track to play", capture.ErrDamaged)
		}
	}
	if err == nil {
		err = p.peek()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it has no frames", capture.ErrDamaged)
		}
	}
	if err != nil {
		_ = f.Close() // it was only read
		return nil, fmt.Errorf("playing %s: %w", filepath.Base(path), err)
	}
	return p, nil
}

// begin reads the file from its start.
func (p *part) begin() error {
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	var err error
	p.demux, err = demux(bufio.NewReaderSize(p.f, 1<<16))
	p.any = false
	return err
}

// peek reads the next frame to play, unless there is one.
func (p *part) peek() error {
	for !p.has && !p.over {
		f, err := p.demux.next()
		if errors.Is(err, io.EOF) {
			if !p.loop || !p.any {
				p.over = true
				return io.EOF
			}
			p.offset = p.end
			p.last = [3]time.Duration{}
			if err := p.begin(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if f.kind == media.Video && p.video == media.CodecUnknown || f.kind == media.Audio && p.audio == media.CodecUnknown {
			continue
		}
		p.place(&f)
		p.ahead, p.has = f, true
	}
	if p.over {
		return io.EOF
	}
	return nil
}

// place gives a frame its time in the source.
func (p *part) place(f *frame) {
	if !p.any {
		p.any, p.from = true, f.at
	}
	at := max(f.at-p.from, 0)
	last := &p.last[f.kind]
	switch {
	case at > *last+maxPause:
		p.from += at - *last - p.step[f.kind]
		at = *last + p.step[f.kind]
	case at > *last:
		p.step[f.kind] = at - *last
	}
	*last = at
	f.at = p.offset + at
	p.end = max(p.end, f.at+max(p.step[f.kind], time.Millisecond))
}

// Tracks implements capture.Source.
func (s *Source) Tracks() (video, audio media.Codec) {
	for _, p := range s.parts {
		video, audio = max(video, p.video), max(audio, p.audio)
	}
	return video, audio
}

// Next implements capture.Source.
func (s *Source) Next(ctx context.Context) (capture.Sample, error) {
	var first *part
	for _, p := range s.parts {
		err := p.peek()
		switch {
		case errors.Is(err, io.EOF), err != nil && s.isClosed():
		case err != nil:
			return capture.Sample{}, fmt.Errorf("playing %s: %w", filepath.Base(p.path), err)
		case first == nil || p.ahead.at < first.ahead.at:
			first = p
		}
	}
	if first == nil || s.isClosed() {
		return capture.Sample{}, io.EOF
	}
	f := first.ahead
	due := s.start.Add(f.at)
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closed:
		return capture.Sample{}, io.EOF
	case <-ctx.Done():
		return capture.Sample{}, ctx.Err()
	}
	first.has = false
	first.ahead = frame{}
	return capture.Sample{Kind: f.kind, Captured: due, Frame: media.Frame{Data: f.data, Key: f.key}}, nil
}

// RequestKeyframe implements capture.Source: what is in the file is played.
func (s *Source) RequestKeyframe() {}

// SetBitrate implements capture.Source: what is in the file is played.
func (s *Source) SetBitrate(int) {}

func (s *Source) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Close implements capture.Source.
func (s *Source) Close() error {
	s.once.Do(func() {
		close(s.closed)
		for _, p := range s.parts {
			_ = p.f.Close() // it was only read
		}
	})
	return nil
}
