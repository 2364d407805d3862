package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
)

const (
	// maxHookQueue is how many commands may wait for the one that runs.
	maxHookQueue = recorder.MaxFiles
	// hookGrace is how long the end of the program waits for commands.
	hookGrace = time.Minute
)

// hook runs a user's command for each file that is final, one after the other,
// beside the recording.
type hook struct {
	command  string
	dir      string // the session's folder, absolute
	stderr   io.Writer
	log      *slog.Logger
	files    chan string
	done     chan struct{}
	ctx      context.Context
	stop     context.CancelFunc
	finished []string // closed, but not yet so in the manifest
}

// startHook makes a hook for the session's folder dir. The caller must call
// Close.
func startHook(command, dir string, stderr io.Writer, log *slog.Logger) *hook {
	h := &hook{
		command: command, dir: dir, stderr: stderr, log: log,
		files: make(chan string, maxHookQueue), done: make(chan struct{}),
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	go func() {
		defer close(h.done)
		for name := range h.files {
			h.run(name)
		}
	}()
	return h
}

// Close runs the command for what is left and waits until all have ended, but
// not longer than grace; then it kills them. The session must be over.
func (h *hook) Close(grace time.Duration) {
	h.flush()
	close(h.files)
	defer h.stop()
	select {
	case <-h.done:
		return
	case <-time.After(grace):
	}
	h.log.Warn("a command of --exec-after takes too long and is killed", "command", h.command, "after", grace)
	h.stop()
	<-h.done
}

// flush queues the command for each file that is final and in the manifest.
func (h *hook) flush() {
	for _, name := range h.finished {
		select {
		case h.files <- name:
		default:
			h.log.Error("too many commands of --exec-after are waiting; this one is left out", "file", name)
		}
	}
	h.finished = h.finished[:0]
}

func (h *hook) run(name string) {
	if h.ctx.Err() != nil {
		return
	}
	c := exec.CommandContext(h.ctx, "sh", "-c", h.command) //nolint:gosec // the user's own command
	c.Env = append(os.Environ(),
		"ROOMTAPE_FILE="+filepath.Join(h.dir, filepath.FromSlash(name)),
		"ROOMTAPE_MANIFEST="+filepath.Join(h.dir, recorder.ManifestName))
	c.Stdout, c.Stderr = h.stderr, h.stderr
	ownGroup(c)
	c.WaitDelay = time.Second
	if err := c.Run(); err != nil {
		h.log.Error("the command of --exec-after failed", "file", name, "error", err)
	}
}

// hookStore is a Store that tells a hook which files are final. A file is, once
// it is closed and the manifest has been written after that, so that a command
// finds both as they will stay.
type hookStore struct {
	output.Store
	hook *hook
}

// Create is the Store's, and watches the file.
func (s hookStore) Create(name, ext string) (output.File, error) {
	f, err := s.Store.Create(name, ext)
	if err != nil {
		return nil, err
	}
	if at, ok := f.(seekableFile); ok {
		return hookFile{at, s.hook}, nil
	}
	return f, nil
}

// WriteFile is the Store's.
func (s hookStore) WriteFile(name string, data []byte) error {
	err := s.Store.WriteFile(name, data)
	if err == nil && name == recorder.ManifestName {
		s.hook.flush()
	}
	return err
}

// seekableFile is what the files of a folder can do.
type seekableFile interface {
	output.File
	io.WriterAt
	Truncate(size int64) error
}

type hookFile struct {
	seekableFile
	hook *hook
}

// Close is the file's. What fails to close is not final.
func (f hookFile) Close() error {
	err := f.seekableFile.Close()
	if err == nil {
		f.hook.finished = append(f.hook.finished, f.Name())
	}
	return err
}
