package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/internal/report"
	"github.com/roomtape/roomtape/recorder"
)

func reportCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "make a web page of a session: the players on one clock, with all that is known beside them",
		UsageText: "roomtape report recordings/standup/20260102T090000Z",
		ArgsUsage: "DIR",
		Description: `Writes one HTML file that asks for nothing but the recordings beside it: players that follow one clock, who
was there when, what is missing, bitrate, quality and messages along the same time axis.

` + exitCodes(exitOK, exitInternal, exitUsage, exitStorage, exitDamaged),
		Flags: withEnv(
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "write to `FILE` (default: report.html in DIR; the recordings are looked for beside it)"},
			&cli.BoolFlag{Name: "json", Usage: "where it is, as JSON on stdout"},
		),
		Action: func(c *cli.Context) error {
			dir, err := oneArgument(c, "DIR", "recordings/standup/20260102T090000Z")
			if err != nil {
				return err
			}
			return makeReport(dir, c.String("out"), c.Bool("json"), std)
		},
	}
}

// makeReport writes the report of the session in dir.
func makeReport(dir, out string, asJSON bool, std stdio) error {
	if info, err := os.Stat(dir); err != nil {
		return usageError{err}
	} else if !info.IsDir() {
		return usagef("%s is no folder", dir)
	}
	page, err := report.Read(os.DirFS(dir))
	if errors.Is(err, report.ErrNoSession) && errors.Is(err, fs.ErrNotExist) {
		return usagef("%s: %w", dir, report.ErrNoSession)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", dir, errDamaged, err)
	}
	var b bytes.Buffer
	if err := page.Write(&b, programName()); err != nil {
		return err
	}
	if out == "" {
		out = filepath.Join(dir, "report.html")
	}
	if err := os.WriteFile(out, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	if asJSON {
		return printJSON(std.out, struct {
			Report string `json:"report"`
		}{out})
	}
	fmt.Fprintln(std.out, out)
	return nil
}
