// Package webpage captures a web page on a machine that needs no screen: it starts a
// display of its own (Xvfb), a browser that shows nothing but the page (Chromium
// in kiosk mode, with a profile that is thrown away), and captures that display.
//
// What ends by itself is started again: the browser alone, or with its display
// everything. When it does so too often, the source ends with an error.
package webpage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/ffmpeg"
	"github.com/roomtape/roomtape/capture/process"
	"github.com/roomtape/roomtape/media"
)

const (
	// loadWait is how long a page may take to load, displayWait the display to
	// be there.
	loadWait    = 12 * time.Second
	displayWait = 5 * time.Second
	// maxRestarts is how often things are started again in restartTime.
	maxRestarts = 3
	restartTime = time.Minute
)

// browsers are the names of Chromium, the best first.
var browsers = []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"}

// Config says which page is captured and how.
type Config struct {
	capture.Constraints
	// URL is of the page: http, https or file.
	URL string
	// Sound is the input for sound; nil: there is none.
	Sound func(elapsed time.Duration) ffmpeg.Input
	// Browser is the name or path of Chromium; "" looks for one.
	Browser string
	// Logger gets what happens; nil: nothing is logged.
	Logger *slog.Logger
}

// Check tells whether the URL is one that can be shown. The error wraps
// capture.ErrName.
func Check(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return fmt.Errorf("%w: %q is no URL", capture.ErrName, rawURL)
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host != "" {
			return nil
		}
	case "file":
		if u.Path != "" {
			return nil
		}
	}
	return fmt.Errorf("%w: %q is neither http://…, https://… nor file://…", capture.ErrName, u.Redacted())
}

// Source is a page that is captured. It implements capture.Source.
type Source struct {
	cfg Config
	log *slog.Logger
	ctx context.Context
	end context.CancelFunc

	mu       sync.Mutex
	bitrate  int
	stage    *stage
	restarts process.Restarts
	running  sync.WaitGroup
}

// Open shows the page and captures it; it returns when the first picture is
// there. The error wraps capture.ErrUnavailable or capture.ErrName.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if err := Check(cfg.URL); err != nil {
		return nil, err
	}
	if cfg.Width == 0 {
		cfg.Width, cfg.Height = 1280, 720
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Browser == "" {
		cfg.Browser = browsers[0]
		for _, name := range browsers {
			if _, err := exec.LookPath(name); err == nil {
				cfg.Browser = name
				break
			}
		}
	}
	s := &Source{
		cfg: cfg, log: cfg.Logger, bitrate: cfg.Bitrate,
		restarts: process.Restarts{Most: maxRestarts, Within: restartTime},
	}
	s.ctx, s.end = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if s.stage, err = s.open(ctx); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// Tracks implements capture.Source.
func (s *Source) Tracks() (video, audio media.Codec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stage.source.Tracks()
}

// Next implements capture.Source.
func (s *Source) Next(ctx context.Context) (capture.Sample, error) {
	for {
		s.mu.Lock()
		stage := s.stage
		s.mu.Unlock()
		sample, err := stage.source.Next(ctx)
		if err == nil || ctx.Err() != nil {
			return sample, err
		}
		if s.ctx.Err() != nil {
			return capture.Sample{}, io.EOF
		}
		if why := stage.failed(); why != nil {
			err = why
		}
		if err := s.again(ctx, stage, err); err != nil {
			return capture.Sample{}, err
		}
	}
}

// again starts everything anew after an end that nobody asked for.
func (s *Source) again(ctx context.Context, old *stage, why error) error {
	old.close()
	if !s.mayRestart() {
		return fmt.Errorf("%w: %w", capture.ErrEnded, why)
	}
	s.log.Warn("capturing the page has ended; starting it again", "error", why)
	next, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", capture.ErrEnded, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		next.close()
		return io.EOF
	}
	s.stage = next
	return nil
}

// mayRestart counts a restart, and tells whether it is not too many.
func (s *Source) mayRestart() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts.Take(time.Now())
}

// RequestKeyframe implements capture.Source.
func (s *Source) RequestKeyframe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage.source.RequestKeyframe()
}

// SetBitrate implements capture.Source.
func (s *Source) SetBitrate(bitsPerSecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bitrate = bitsPerSecond
	s.stage.source.SetBitrate(bitsPerSecond)
}

// Close implements capture.Source.
func (s *Source) Close() error {
	s.end()
	s.mu.Lock()
	stage := s.stage
	s.mu.Unlock()
	stage.close()
	s.running.Wait()
	return nil
}

// stage is a display with a browser on it, and what captures it.
type stage struct {
	dir     string // the browser's profile, and who may use the display
	env     []string
	display *process.Process
	source  *ffmpeg.Source

	mu      sync.Mutex
	browser *browser
	why     error
	closed  bool
	once    sync.Once
}

// open starts a display, a browser and the capture.
func (s *Source) open(ctx context.Context) (_ *stage, err error) {
	dir, err := os.MkdirTemp("", "roomtape-page-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	st := &stage{dir: dir}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	if err := st.startDisplay(ctx, s.cfg.Width, s.cfg.Height); err != nil {
		return nil, err
	}
	b, err := startBrowser(ctx, s.cfg, filepath.Join(dir, "profile"), st.env)
	if err != nil {
		return nil, err
	}
	st.browser = b
	constraints := s.cfg.Constraints
	s.mu.Lock()
	constraints.Bitrate = s.bitrate
	s.mu.Unlock()
	display := strings.TrimPrefix(st.env[0], "DISPLAY=")
	picture, err := ffmpeg.Screen(constraints, display, st.env)
	if err != nil {
		return nil, err
	}
	st.source, err = ffmpeg.Open(ctx, ffmpeg.Config{Constraints: constraints, Picture: picture, Sound: s.cfg.Sound, Logger: s.log})
	if err != nil {
		return nil, err
	}
	s.running.Go(func() { s.watch(st, b) })
	return st, nil
}

// watch waits for the end of what a stage has started, and starts the browser
// again when it is that.
func (s *Source) watch(st *stage, b *browser) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-st.display.Done():
			st.fail(errors.New("the display Xvfb has ended by itself"))
			return
		case <-b.process.Done():
		}
		if st.isClosed() {
			return
		}
		if !s.mayRestart() {
			st.fail(errors.New("the browser has ended by itself"))
			return
		}
		s.log.Warn("the browser has ended by itself; starting it again")
		next, err := startBrowser(s.ctx, s.cfg, filepath.Join(st.dir, "profile"), st.env)
		if err != nil {
			st.fail(err)
			return
		}
		if !st.use(next) {
			next.close()
			return
		}
		b = next
	}
}

// startDisplay starts Xvfb on a free display that only we may use.
func (st *stage) startDisplay(ctx context.Context, width, height int) error {
	auth := filepath.Join(st.dir, "authority")
	if err := writeAuthority(auth); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	defer func() { _ = r.Close() }() // it was only read
	st.display, err = process.Start(process.Config{
		Name: "Xvfb", Quits: true, Files: []*os.File{w},
		Args: []string{
			"-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", width, height),
			"-nolisten", "tcp", "-noreset", "-auth", auth,
		},
	})
	_ = w.Close() // it is the display's now
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(displayWait)); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(r, 16))
	number := strings.TrimSpace(string(b))
	if number == "" {
		why := st.display.Said()
		if why == "" && err != nil {
			why = err.Error()
		}
		return fmt.Errorf("%w: Xvfb gives no display: %s", capture.ErrUnavailable, why)
	}
	st.env = []string{"DISPLAY=:" + number, "XAUTHORITY=" + auth}
	return nil
}

// fail ends the capture, for the given reason.
func (st *stage) fail(why error) {
	st.mu.Lock()
	if st.why == nil {
		st.why = why
	}
	st.mu.Unlock()
	_ = st.source.Close() // Next goes on from here
}

func (st *stage) failed() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.why
}

func (st *stage) isClosed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.closed
}

// use takes over a browser, unless the stage has been closed.
func (st *stage) use(b *browser) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return false
	}
	st.browser = b
	return true
}

// close ends all of the stage.
func (st *stage) close() {
	st.once.Do(func() {
		st.mu.Lock()
		st.closed = true
		b := st.browser
		st.mu.Unlock()
		if st.source != nil {
			_ = st.source.Close() // it never fails
		}
		if b != nil {
			b.close()
		}
		if st.display != nil {
			st.display.Stop()
		}
		_ = os.RemoveAll(st.dir) // of no use to anybody
	})
}
