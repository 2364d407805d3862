package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
)

const (
	// maxCommand is the longest line of a control in bytes.
	maxCommand = 64 << 10
	// maxControls is how many programs may hold a control's socket at a time.
	maxControls = 8
)

// command is one line of a control: what is set in it is done.
type command struct {
	Source  *string `json:"source"`  // show this, as --source has it
	Bitrate *int    `json:"bitrate"` // at most, in bit/s
	Mute    *bool   `json:"mute"`
	Stop    *bool   `json:"stop"`
}

// reply is the answer to one line.
type reply struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// control takes commands as lines of JSON, and answers each with a line.
type control struct {
	do  func(ctx context.Context, c command) error
	log *slog.Logger
}

// serve takes commands from r until it ends or ctx is done.
func (c *control) serve(ctx context.Context, r io.Reader, w io.Writer) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4096), maxCommand)
	answer := json.NewEncoder(w)
	for lines.Scan() && ctx.Err() == nil {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		err := c.line(ctx, line)
		if err != nil {
			c.log.Warn("control", "error", err)
		}
		out := reply{OK: err == nil}
		if err != nil {
			out.Error = printable(err.Error())
		}
		if answer.Encode(out) != nil {
			return // who asked is gone
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		_ = answer.Encode(reply{Error: fmt.Sprintf("a line of more than %d bytes", maxCommand)}) // the last word either way
	}
}

func (c *control) line(ctx context.Context, line []byte) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var cmd command
	if err := d.Decode(&cmd); err != nil {
		return fmt.Errorf("a command that cannot be read: %w", err)
	}
	if cmd == (command{}) {
		return errors.New("a command without source, bitrate, mute or stop")
	}
	return c.do(ctx, cmd)
}

// openControl starts taking commands from where says: "stdin", or "unix:PATH" for
// a socket that only we and root may open. Closing ends it; it does not wait for
// stdin. Its errors are usage errors.
func openControl(ctx context.Context, where string, c *control, std stdio) (closing func(), err error) {
	if where == "stdin" {
		go c.serve(ctx, std.in, std.out)
		return func() {}, nil
	}
	path, _ := strings.CutPrefix(where, "unix:")
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if conn, err := net.Dial("unix", path); err == nil {
			_ = conn.Close() // it was only to see
			return nil, usagef("--control: %s is in use", path)
		}
		_ = os.Remove(path) // of one who was killed; if not, Listen says so
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, usagef("--control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(usagef("--control: %w", err), listener.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { c.accept(ctx, listener) })
	return func() {
		cancel()
		_ = listener.Close() // removes the socket
		running.Wait()
	}, nil
}

func (c *control) accept(ctx context.Context, listener net.Listener) {
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, maxControls)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // it was closed
		}
		select {
		case places <- struct{}{}:
		default:
			_ = conn.Close() // too many
			continue
		}
		running.Go(func() {
			defer func() { <-places }()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer func() { _ = conn.Close() }()
			c.serve(ctx, conn, conn)
		})
	}
}

// checkControl tells what is wrong with the value of --control; its errors are
// usage errors.
func checkControl(where string) error {
	path, unix := strings.CutPrefix(where, "unix:")
	if where == "" || where == "stdin" || unix && path != "" {
		return nil
	}
	return usagef("--control %q is neither stdin nor unix:PATH", where)
}
