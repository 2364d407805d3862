package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/roomtape/roomtape/internal/guest"
)

const room = "1234"

// server is a process that forwards.
type server = exec.Cmd

// roomtape is our own server.
type roomtape struct{ binary, url string }

func (*roomtape) name() string { return "roomtape" }

func (r *roomtape) start(ctx context.Context) (*server, error) {
	cmd := exec.CommandContext(ctx, r.binary, "serve", "--sfu", "--listen", "127.0.0.1:0", "--json", "--log-level", "warn", "--address-joins", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var where struct {
		WebSocket string `json:"websocket"`
	}
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&where); err != nil {
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	r.url = where.WebSocket + room
	return cmd, nil
}

// guestMember is a participant of a forwarded room.
type guestMember struct{ *guest.Guest }

func guestID(index int) string { return fmt.Sprintf("p%02d", index) }

func (r *roomtape) join(ctx context.Context, c *crowd, p *publisher) (member, error) {
	pc, err := c.connect(p.index)
	if err != nil {
		return nil, err
	}
	if err := c.send(pc, p); err != nil {
		return nil, err
	}
	g, err := guest.Join(ctx, guest.Config{URL: r.url, Room: room, ID: guestID(p.index), PC: pc})
	if err != nil {
		return nil, err
	}
	c.wg.Go(func() { _ = g.Wait() }) // who fails is told by what it is asked for
	var tracks []guest.Track
	for kind := range kinds {
		tracks = append(tracks, guest.Track{ID: trackID(kind), Kind: trackID(kind)})
	}
	return guestMember{g}, g.Begin(ctx, tracks...)
}

func (g guestMember) subscribe(ctx context.Context, others []int) error {
	for missing := kinds * len(others); missing > 0; {
		id, track, err := g.Available(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(others, func(o int) bool { return guestID(o) == id }) {
			continue
		}
		missing--
		if err := g.Subscribe(ctx, id, track); err != nil {
			return err
		}
	}
	return nil
}
