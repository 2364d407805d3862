// Package process runs the programs that capture: each in a group of its own, so
// that what it has started ends with it, and each ended when we end, even when we
// are killed (on Linux; elsewhere a program that captures ends when it finds that
// nobody reads what it writes).
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/roomtape/roomtape/capture"
)

// grace is how long a program has to end when it is asked to.
const grace = 2 * time.Second

// maxTail is how many bytes of what a program says last are kept.
const maxTail = 4096

// Process is a running program. Its methods may be called by any goroutine.
type Process struct {
	// Stdout is what the program writes, when Config.Stdout is set. It ends
	// when the program does.
	Stdout io.ReadCloser

	cmd   *exec.Cmd
	quits bool
	tail  *tail
	done  chan struct{}
	err   error // valid after done
	once  sync.Once
}

// Config says what is run.
type Config struct {
	// Name is the program, found in PATH, and Args its arguments: no shell reads
	// them.
	Name string
	Args []string
	// Env is added to our own environment.
	Env []string
	// Files are further open files of the program, from descriptor 3 on. They
	// stay the caller's.
	Files []*os.File
	// Stdout gives what the program writes in Process.Stdout.
	Stdout bool
	// Quits is set for a program that takes its time to end by itself when it is
	// asked to by SIGTERM; others are killed at once.
	Quits bool
}

// Start runs a program. The error wraps capture.ErrUnavailable when it is not
// there or can't be run.
func Start(cfg Config) (*Process, error) {
	path, err := exec.LookPath(cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: the program %q is needed and not found in PATH", capture.ErrUnavailable, cfg.Name)
	}
	p := &Process{
		cmd:   exec.Command(path, cfg.Args...), //nolint:gosec // no shell reads what the user has chosen
		quits: cfg.Quits, tail: &tail{}, done: make(chan struct{}),
	}
	p.cmd.Env = append(p.cmd.Environ(), cfg.Env...)
	p.cmd.Stderr = p.tail
	p.cmd.ExtraFiles = cfg.Files
	p.cmd.WaitDelay = grace
	if cfg.Stdout {
		if p.Stdout, err = p.cmd.StdoutPipe(); err != nil {
			return nil, fmt.Errorf("%w: starting %s: %w", capture.ErrUnavailable, cfg.Name, err)
		}
	}
	contain(p.cmd, cfg.Quits)
	if err := spawn(p.cmd); err != nil {
		return nil, fmt.Errorf("%w: starting %s: %w", capture.ErrUnavailable, cfg.Name, err)
	}
	if !cfg.Stdout {
		go p.reap()
	}
	return p, nil
}

// reap waits for the end of the program. With Stdout it is called when that has
// been read, since exec closes it.
func (p *Process) reap() {
	p.once.Do(func() {
		p.err = p.cmd.Wait()
		sweep(p.cmd)
		close(p.done)
	})
}

// Pid is the program's process id, which is its group's too.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the program and tells how it ended: nil, or an error
// with its name and the last line that it said. When there is Stdout, it must have been read
// to its end, or the program stopped.
func (p *Process) Wait() error {
	go p.reap()
	<-p.done
	if p.err == nil || errors.Is(p.err, exec.ErrWaitDelay) {
		return nil
	}
	why := p.err.Error()
	if last := p.Said(); last != "" {
		why = last
	}
	return fmt.Errorf("%s: %s", filepath.Base(p.cmd.Path), why)
}

// Said gives the last line that the program wrote to its standard error.
func (p *Process) Said() string { return p.tail.last() }

// Stop ends the program and all that it has started, and waits until that is
// done.
func (p *Process) Stop() {
	if p.quits {
		ask(p.cmd)
	} else {
		sweep(p.cmd)
	}
	if p.Stdout != nil {
		_ = p.Stdout.Close() // nobody reads it any more
	}
	go p.reap()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		sweep(p.cmd)
		<-p.done
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(b), nil
}

// last gives the last line that is not empty, without what a terminal could
// misunderstand.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.FieldsFunc(t.b, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := len(lines) - 1; i >= 0; i-- {
		clean := strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, string(lines[i])))
		if clean != "" {
			return clean
		}
	}
	return ""
}
