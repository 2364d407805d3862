package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/output/webm"
)

// stdinName is the FILE that stands for stdin.
const stdinName = "-"

func inspectCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "say what is in a recording: tracks, timing, gaps, seekability, faults",
		UsageText: "roomtape inspect recordings/standup/20261122T090000Z/*.webm",
		ArgsUsage: "FILE...",
		Description: `FILE is a WebM or Matroska file, whole, growing or damaged, or - for stdin. With --json, stdout is
one object for one FILE, and an array of them, in the order of the arguments, for several.

--plot draws the recording along one time axis: bitrate, the sizes of frames with keyframes marked,
audio packets, gaps, changes of resolution, and where chunks begin.

` + exitCodes(exitOK, exitInternal, exitUsage, exitStorage, exitDamaged, exitForced),
		Flags: withEnv(
			&cli.BoolFlag{Name: "json", Usage: "JSON on stdout, for programs"},
			&cli.StringFlag{Name: "plot", Usage: "also draw the recording into `IMAGE`, a .svg or .png"},
		),
		Action: func(c *cli.Context) error {
			if _, err := logOptionsOf(c); err != nil {
				return err
			}
			if !c.Args().Present() {
				return usagef("which FILE? such as: roomtape inspect alice.webm")
			}
			names, picture := c.Args().Slice(), c.String("plot")
			if err := checkPlot(picture, len(names)); err != nil {
				return err
			}
			return untilSignal(c.Context, func() error { return inspect(names, c.Bool("json"), newPlotter(picture), std) })
		},
	}
}

// inspect prints what is in each file. The error lists those of all files: a usage
// error for one that can't be opened, and one that wraps errDamaged for one that
// is not whole. p draws the one file there is then; it may be nil.
func inspect(names []string, asJSON bool, p *plotter, std stdio) error {
	var errs []error
	var reports []webm.Report
	for _, name := range names {
		report, size, err := inspectFile(name, std.in, p.collect())
		if err == nil || report.File != "" {
			reports = append(reports, report)
			if !asJSON {
				printReport(std.out, report, size)
			}
		}
		errs = append(errs, err, p.write(name))
	}
	switch {
	case !asJSON || len(reports) == 0:
	case len(names) == 1:
		errs = append(errs, printJSON(std.out, reports[0]))
	default:
		errs = append(errs, printJSON(std.out, reports))
	}
	return listErrors(errs...)
}

// inspectFile reads one file. The report of a damaged file comes with an error.
// size is that of the file in bytes, or -1 for stdin. f, which may be nil, gets
// each block.
func inspectFile(name string, stdin io.Reader, f func(webm.Block, webm.Track)) (report webm.Report, size int64, err error) {
	r, size := stdin, int64(-1)
	if name != stdinName {
		f, err := os.Open(name)
		if err != nil {
			return report, 0, usageError{err}
		}
		defer func() { _ = f.Close() }() // it was only read
		info, err := f.Stat()
		if err != nil {
			return report, 0, usageError{err}
		}
		if info.IsDir() {
			return report, 0, usagef("%s is a folder", name)
		}
		r = f
		if info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	report, err = webm.Survey(r, size, f)
	if err != nil {
		return webm.Report{}, size, fmt.Errorf("%s: %w: %w", name, errDamaged, err)
	}
	report.File = name
	switch {
	case report.DocType == "" && len(report.Tracks) == 0:
		err = fmt.Errorf("%s: %w: not a WebM or Matroska file", name, errDamaged)
	case len(report.Faults) > 0:
		err = fmt.Errorf("%s: %w: %s", name, errDamaged, plural(len(report.Faults), "fault"))
	}
	return report, size, err
}

// printReport prints a report for people.
func printReport(w io.Writer, r webm.Report, size int64) {
	state := "not finalized (growing, or its writer was killed)"
	if r.Finalized {
		state = "finalized"
	}
	seek := "not seekable"
	if r.Seekable {
		seek = fmt.Sprintf("seekable by %s", plural(r.Cues, "cue"))
	}
	bytes := ""
	if size >= 0 {
		bytes = ", " + bytesText(size)
	}
	kind := r.DocType
	if kind == "" {
		kind = "unknown format"
	}
	fmt.Fprintf(w, "%s\n  %s, %s s%s, %s, %s, %s\n", printable(r.File), printable(kind), secondsText(r.DurationMS), bytes,
		plural(r.Clusters, "cluster"), seek, state)

	rows := make([][]string, len(r.Tracks))
	for i, t := range r.Tracks {
		format := plural(t.Channels, "channel")
		if t.Width > 0 || t.Height > 0 {
			format = fmt.Sprintf("%dx%d", t.Width, t.Height)
		}
		rows[i] = []string{
			strconv.Itoa(t.Number), printable(t.Codec), format, strconv.Itoa(t.Frames), strconv.Itoa(t.Keyframes),
			secondsText(t.FirstMS), secondsText(t.LastMS), secondsText(t.MaxGapMS),
		}
	}
	printRows(w, []column{
		{"TRACK", false}, {"CODEC", false}, {"FORMAT", false}, {"FRAMES", true}, {"KEYFRAMES", true},
		{"FIRST s", true}, {"LAST s", true}, {"MAX GAP s", true},
	}, rows)
	for _, c := range r.Chapters {
		fmt.Fprintf(w, "  chapter at %s s: %s\n", secondsText(c.AtMS), printable(c.Name))
	}
	for _, f := range r.Faults {
		fmt.Fprintf(w, "  fault at byte %d: %s\n", f.Offset, printable(f.What))
	}
	if len(r.Faults) > 0 {
		fmt.Fprintln(w)
	}
}
