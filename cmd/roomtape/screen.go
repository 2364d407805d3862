package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// maxPendingLog bounds the log lines, in bytes, that wait for a terminal that
// takes nothing (somebody pressed Ctrl-S).
const maxPendingLog = 64 << 10

// screen is a terminal with log lines scrolling by above a table that stays in
// place. Nobody who writes to it waits for the terminal. Its methods may be
// called by any goroutine.
type screen struct {
	tty  *os.File
	wake chan struct{}
	done chan struct{}

	mu    sync.Mutex
	logs  bytes.Buffer
	lost  int // log lines dropped
	table func(width, height int) []string

	drawn []int // widths of the table's lines as they are on the terminal
}

// onScreen calls f with a screen as stderr when that is a terminal, and ends the
// screen.
func onScreen(std stdio, f func(stdio) error) error {
	if tty, ok := std.err.(*os.File); ok && isTerminal(tty) && os.Getenv("TERM") != "dumb" {
		s := newScreen(tty)
		defer s.Close()
		std.err = s
	}
	return f(std)
}

// newScreen starts a screen on the terminal tty. The caller must call Close.
func newScreen(tty *os.File) *screen {
	s := &screen{tty: tty, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.loop()
	return s
}

// Write adds whole log lines. It never fails; what the terminal does not take
// for a long time is dropped and counted.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	if s.logs.Len()+len(p) > maxPendingLog {
		s.lost++
	} else {
		s.logs.Write(p)
	}
	s.mu.Unlock()
	s.poke()
	return len(p), nil
}

// Show replaces the table by what f gives for a terminal of that size. Lines
// hold no control characters but colours, and are no wider than the terminal.
func (s *screen) Show(f func(width, height int) []string) {
	s.mu.Lock()
	s.table = f
	s.mu.Unlock()
	s.poke()
}

// Close removes the table, writes the log lines that are left and ends the
// screen. Nothing may be written after it.
func (s *screen) Close() {
	s.Show(nil)
	close(s.wake)
	<-s.done
}

func (s *screen) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *screen) loop() {
	defer close(s.done)
	for range s.wake {
		s.draw()
	}
	s.draw()
}

// draw writes everything in one piece, each line over the one that was there,
// so that nothing flickers.
func (s *screen) draw() {
	width, height, err := term.GetSize(int(s.tty.Fd()))
	if err != nil || width <= 0 {
		width, height = 80, 24
	}
	s.mu.Lock()
	logs := s.logs.String()
	if s.lost > 0 {
		logs += fmt.Sprintf("(%d log lines were dropped: the terminal did not take them)\n", s.lost)
	}
	s.logs.Reset()
	s.lost = 0
	table := s.table
	s.mu.Unlock()

	var lines []string
	if table != nil {
		lines = table(width, height)
	}
	var b strings.Builder
	// A line that is now wider than the terminal has been wrapped by it.
	up := 0
	for _, w := range s.drawn {
		up += max(1, (w+width-1)/width)
	}
	if up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", up)
	}
	if logs != "" || len(lines) < up {
		b.WriteString("\x1b[J")
	}
	b.WriteString(logs)
	s.drawn = s.drawn[:0]
	for _, line := range lines {
		b.WriteString(line)
		b.WriteString("\x1b[K\n")
		s.drawn = append(s.drawn, textWidth(withoutColours(line)))
	}
	_, _ = s.tty.WriteString(b.String())
}

// withoutColours removes the colour sequences that palette adds.
func withoutColours(s string) string {
	if !strings.Contains(s, "\x1b[") {
		return s
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(rest, "m")
	}
}
