package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestControlAnswersEachLine(t *testing.T) {
	var done []command
	c := &control{log: slog.New(slog.DiscardHandler), do: func(_ context.Context, c command) error {
		done = append(done, c)
		if c.Source != nil && *c.Source == "nothing" {
			return errors.New("no such\nsource")
		}
		return nil
	}}
	in := `{"source":"screen"}

{"bitrate":800000,"mute":true}
{"source":"nothing"}
{}
{"sources":"screen"}
not JSON
{"stop":true}
` + strings.Repeat("x", maxCommand+1)
	var out bytes.Buffer
	c.serve(t.Context(), strings.NewReader(in), &out)
	if len(done) != 4 || *done[0].Source != "screen" || *done[1].Bitrate != 800_000 || !*done[1].Mute || !*done[3].Stop {
		t.Errorf("done: %+v", done)
	}
	want := []bool{true, true, false, false, false, false, true, false}
	d := json.NewDecoder(&out)
	for i := 0; ; i++ {
		var r reply
		err := d.Decode(&r)
		if errors.Is(err, io.EOF) {
			if i != len(want) {
				t.Errorf("%d answers, want %d", i, len(want))
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || r.OK != want[i] || r.OK == (r.Error != "") || strings.Contains(r.Error, "\n") {
			t.Errorf("answer %d: %+v", i, r)
		}
	}
}

func TestControlSocketIsOursAlone(t *testing.T) {
	dir, err := os.MkdirTemp("", "c") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	// What a killed process has left is in nobody's way.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	c := &control{log: slog.New(slog.DiscardHandler), do: func(context.Context, command) error { return nil }}
	closing, err := openControl(t.Context(), "unix:"+path, c, stdio{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := openControl(t.Context(), "unix:"+path, c, stdio{}); err == nil || exitCode(err) != exitUsage {
		t.Errorf("a second one: %v", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, `{"mute":true}`+"\n"); err != nil {
		t.Fatal(err)
	}
	var r reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	closing()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}
