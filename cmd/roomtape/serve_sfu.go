package main

import (
	"log/slog"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/signaling/server/unit"
)

func sfuFlag() cli.Flag {
	return &cli.BoolFlag{Name: "sfu", Usage: "forward the media of all rooms, rather than have everybody connect with everybody"}
}

// sfuOf makes the forwarding unit that is asked for, or gives nil.
func sfuOf(c *cli.Context, log *slog.Logger) (*unit.Unit, error) {
	if !c.Bool("sfu") {
		return nil, nil
	}
	return unit.New(log)
}
