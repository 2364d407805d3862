package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// clips are what the demo's participants play; clips/make.sh makes them.
//
//go:embed clips/*.ivf clips/*.ogg
var clips embed.FS

// demoPeople are the participants of the demo, one for each clip.
var demoPeople = []string{"alice", "bob"}

// demoRoom is the room they meet in.
const demoRoom = "demo"

func demoCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "demo",
		Usage:     "let two made-up people meet in a room on this machine, and record them",
		UsageText: "roomtape demo",
		Description: `Everything is inside the program: the room server, two participants who send VP8 and VP9 with Opus,
and the recorder, the same as in record. Nothing leaves this machine. With --json, stdout is the
manifest, and in it the folder ("dir") and what inspect says of each file ("inspections").

` + exitCodes(exitOK, exitInternal, exitUsage, exitJoin, exitNoMedia, exitStorage, exitLost, exitForced),
		Flags: withEnv(
			&cli.DurationFlag{Name: "duration", Value: 10 * time.Second, Usage: "record for `TIME`"},
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Value: "recordings", Usage: "recordings go to `DIR`"},
			&cli.BoolFlag{Name: "json", Usage: "the manifest on stdout at the end"},
		),
		Action: func(c *cli.Context) error {
			logs, err := logOptionsOf(c)
			if err != nil {
				return err
			}
			if err := noArguments(c); err != nil {
				return err
			}
			if c.Duration("duration") <= 0 {
				return usagef("--duration %v leaves nothing to record", c.Duration("duration"))
			}
			if out := c.String("out"); out == "" || out == stdoutName {
				return usagef("--out %q is no folder", out)
			}
			return demo(c.Context, c.String("out"), c.Duration("duration"), c.Bool("json"), std, logs)
		},
	}
}

// demo records a room of its own for a while, and prints the files, what is in
// them, and how to watch them.
func demo(ctx context.Context, out string, duration time.Duration, asJSON bool, std stdio, logs logOptions) error {
	var result *recorded
	err := onScreen(std, func(std stdio) (err error) {
		result, err = recordDemo(ctx, out, duration, std, logs)
		return err
	})
	if result == nil {
		return err
	}
	var reports []webm.Report
	errs := []error{err}
	for _, f := range result.manifest.Files {
		report, size, err := inspectFile(filepath.Join(result.dir, filepath.FromSlash(f.Path)), nil, nil)
		errs = append(errs, err)
		reports = append(reports, report)
		if !asJSON {
			printReport(std.out, report, size)
		}
	}
	if asJSON {
		errs = append(errs, printJSON(std.out, struct {
			recorder.Manifest
			Dir         string        `json:"dir"`
			Inspections []webm.Report `json:"inspections"`
		}{result.manifest, result.dir, reports}))
		return listErrors(errs...)
	}
	result.print(std.out)
	return listErrors(errs...)
}

// recordDemo starts a server, lets the participants in, and records them.
func recordDemo(ctx context.Context, out string, duration time.Duration, std stdio, logs logOptions) (*recorded, error) {
	// The recorder is what the demo shows; of the rest only trouble is of interest.
	log, quiet := logs.logger(std.err), logs
	quiet.level = max(quiet.level, slog.LevelWarn)
	if logs.level <= slog.LevelDebug {
		quiet = logs
	}
	rooms, err := startRooms(serveOptions{listen: "127.0.0.1:0"}, quiet.logger(std.err))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rooms.stop() }() // nobody is left in them
	address := rooms.url("ws") + "/ws/" + demoRoom
	log.Info("a room is open", "url", address, "participants", demoPeople, "duration", duration)

	leave, err := letIn(ctx, address, quiet.logger(std.err))
	defer leave()
	if err != nil {
		return nil, err
	}

	o := recordOptions{
		out: out, session: defaultSession, name: recorder.DefaultName, format: formats[0], codecs: videoCodecs(),
		chunk: recorder.DefaultChunk, maxWaitLoss: recorder.DefaultMaxWaitLoss,
		joinTimeout: 10 * time.Second, wait: 10 * time.Second, duration: duration, announce: true,
	}
	if o.kind, o.url, o.room, err = findRoom(address, ""); err != nil {
		return nil, err
	}
	return recordRoom(ctx, o, std, log)
}

// letIn lets the participants into the room. The caller must call leave, also
// after an error.
func letIn(ctx context.Context, address string, log *slog.Logger) (leave func(), err error) {
	var peers []*synthetic.Peer
	leave = func() {
		for _, p := range peers {
			_ = p.Close() // it has nothing to lose
		}
	}
	for _, id := range demoPeople {
		clip, err := readClip(id)
		if err != nil {
			return leave, err
		}
		p, err := synthetic.Join(ctx, synthetic.Config{
			URL: address, Room: demoRoom, PeerID: id, Clip: clip, Loopback: true, Logger: log,
		})
		if err != nil {
			return leave, err
		}
		peers = append(peers, p)
	}
	return leave, nil
}

// readClip reads one of the embedded clips.
func readClip(name string) (*synthetic.Clip, error) {
	video, err := clips.ReadFile("clips/" + name + ".ivf")
	if err != nil {
		return nil, fmt.Errorf("opening a clip: %w", err)
	}
	audio, err := clips.ReadFile("clips/" + name + ".ogg")
	if err != nil {
		return nil, fmt.Errorf("opening a clip: %w", err)
	}
	return synthetic.ReadClip(bytes.NewReader(video), bytes.NewReader(audio))
}
