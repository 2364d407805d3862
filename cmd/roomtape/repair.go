package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

func repairCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "make a cut-off or unseekable WebM or Matroska file whole",
		UsageText: "roomtape repair recordings/standup/20261122T090000Z/alice.webm",
		ArgsUsage: "FILE...",
		Description: `alice.webm becomes alice.repaired.webm beside it; a name that is taken gets -2, -3 and so on. A
file that is whole already is left alone. Sizes, Duration, SeekHead and the index are made anew; every
intact frame, and tags, chapters and attachments, are kept byte by byte. With --json, stdout is one
object for one FILE, and an array of them, in the order of the arguments, for several.

` + exitCodes(exitOK, exitInternal, exitUsage, exitStorage, exitDamaged, exitForced),
		Flags: withEnv(
			&cli.BoolFlag{Name: "in-place", Usage: "replace FILE itself, once the repaired one is safely on the disk"},
			&cli.BoolFlag{Name: "json", Usage: "JSON on stdout, for programs"},
		),
		Action: func(c *cli.Context) error {
			if _, err := logOptionsOf(c); err != nil {
				return err
			}
			if !c.Args().Present() {
				return usagef("which FILE? such as: roomtape repair alice.webm")
			}
			return repair(c.Context, c.Args().Slice(), c.Bool("in-place"), c.Bool("json"), std)
		},
	}
}

// repair repairs each file and prints what was saved and lost. The error lists
// those of all files.
func repair(ctx context.Context, names []string, inPlace, asJSON bool, std stdio) error {
	var errs []error
	var done []webm.Rescue
	err := onScreen(std, func(std stdio) error {
		for _, name := range names {
			if ctx.Err() != nil {
				return errSignal
			}
			rescue, err := repairFile(ctx, name, inPlace, std)
			errs = append(errs, err)
			if rescue.File != "" {
				done = append(done, rescue)
			}
		}
		return nil
	})
	errs = append(errs, err)
	switch {
	case !asJSON:
		for _, r := range done {
			printRescue(std.out, r)
		}
	case len(done) == 0:
	case len(names) == 1:
		errs = append(errs, printJSON(std.out, done[0]))
	default:
		errs = append(errs, printJSON(std.out, done))
	}
	return listErrors(errs...)
}

// repairFile repairs one file. The result has its File set when the file could
// be read, beside an error too.
func repairFile(ctx context.Context, name string, inPlace bool, std stdio) (webm.Rescue, error) {
	in, before, err := openRegular(name)
	if err != nil {
		return webm.Rescue{}, err
	}
	defer func() { _ = in.Close() }() // it was only read

	var out repairOutput
	if inPlace {
		out, err = newReplacement(name, before.Mode())
	} else {
		out, err = newNeighbour(name)
	}
	if err != nil {
		return webm.Rescue{}, fmt.Errorf("%s: %w: %w", name, recorder.ErrStorage, err)
	}
	defer out.abandon()

	size := before.Size()
	rescue, err := webm.Repair(storageWriter{out}, &progressReader{ctx: ctx, in: in, show: progressOf(std, name, size)}, size)
	rescue.File = name
	switch {
	case errors.Is(err, errSignal):
		return webm.Rescue{}, errSignal
	case errors.Is(err, recorder.ErrStorage):
		return webm.Rescue{}, fmt.Errorf("%s: %w", name, err)
	case errors.Is(err, webm.ErrNothing):
		why := ""
		if len(rescue.Lost) > 0 {
			why = fmt.Sprintf(": at byte %d, %s", rescue.Lost[0].Offset, rescue.Lost[0].What)
		}
		return rescue, fmt.Errorf("%s: %w: %w%s", name, errDamaged, webm.ErrNothing, why)
	case err != nil:
		return webm.Rescue{}, fmt.Errorf("%s: %w: %w", name, errDamaged, err)
	case rescue.Whole:
		return rescue, nil
	}
	after, err := os.Stat(name)
	if err == nil && inPlace && (after.Size() != size || !after.ModTime().Equal(before.ModTime())) {
		return webm.Rescue{}, usagef("%s has changed while it was repaired: is it still being recorded?", name)
	}
	if rescue.Output, err = out.finish(); err != nil {
		return webm.Rescue{}, fmt.Errorf("%s: %w: %w", name, recorder.ErrStorage, err)
	}
	return rescue, nil
}

// openRegular opens a file that can be read twice; its errors are usage errors.
func openRegular(name string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(name) // before opening: a pipe would not open
	if err != nil {
		return nil, nil, usageError{err}
	}
	if info.IsDir() {
		return nil, nil, usagef("%s is a folder", name)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, usagef("%s is not a file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return f, info, nil
}

// printRescue says what was saved and lost, for people.
func printRescue(w io.Writer, r webm.Rescue) {
	saved := fmt.Sprintf("%s s in %s", secondsText(r.DurationMS), plural(int(r.Frames), "frame"))
	switch {
	case r.Whole:
		fmt.Fprintf(w, "%s is whole: %s; nothing was written\n", printable(r.File), saved)
		return
	case r.Output == "":
		fmt.Fprintf(w, "%s: nothing was saved\n", printable(r.File))
	default:
		fmt.Fprintf(w, "%s: %s saved, %s, in %s\n", printable(r.File), saved, bytesText(r.Bytes), shellQuote(printable(r.Output)))
	}
	if r.LostBytes > 0 {
		fmt.Fprintf(w, "  lost: %s\n", plural(int(r.LostBytes), "byte"))
	} else if r.Output != "" {
		fmt.Fprintln(w, "  lost: nothing that the file still had")
	}
	for _, l := range r.Lost {
		length := ""
		if l.Bytes > 0 {
			length = fmt.Sprintf(", %s", plural(int(l.Bytes), "byte"))
		}
		fmt.Fprintf(w, "  at byte %d%s: %s\n", l.Offset, length, printable(l.What))
	}
}

// progressReader reads a file, tells how far it is, and ends with errSignal when
// we are asked to stop.
type progressReader struct {
	ctx  context.Context
	in   io.ReaderAt
	show func(offset int64)
}

// ReadAt implements io.ReaderAt.
func (r *progressReader) ReadAt(b []byte, offset int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errSignal
	}
	r.show(offset)
	return r.in.ReadAt(b, offset)
}

// progressOf gives what shows how much of a file has been read, on a terminal.
func progressOf(std stdio, name string, size int64) func(int64) {
	s, ok := std.err.(*screen)
	if !ok {
		return func(int64) {}
	}
	var shown time.Time
	return func(offset int64) {
		if now := time.Now(); now.Sub(shown) > 100*time.Millisecond {
			shown = now
			s.Show(func(width, _ int) []string { return []string{progressLine(name, offset, size, width)} })
		}
	}
}

// progressLine gives a bar that is as wide as there is room for.
func progressLine(name string, done, total int64, width int) string {
	const bar = 20
	percent := 100 * done / max(total, 1)
	full := int(bar * done / max(total, 1))
	text := fmt.Sprintf("%s%s %3d %% of %s  ", strings.Repeat("█", full), strings.Repeat("░", bar-full), percent, bytesText(total))
	return clip(text+printable(filepath.Base(name)), width)
}

// storageWriter marks the errors of writing as such.
type storageWriter struct{ io.WriterAt }

// WriteAt implements io.WriterAt.
func (w storageWriter) WriteAt(b []byte, offset int64) (int, error) {
	n, err := w.WriterAt.WriteAt(b, offset)
	if err != nil {
		err = fmt.Errorf("%w: %w", recorder.ErrStorage, err)
	}
	return n, err
}

// repairOutput is where a repaired file goes.
type repairOutput interface {
	io.WriterAt
	// finish makes the file appear, and gives its path.
	finish() (string, error)
	// abandon leaves nothing behind, unless the file was finished.
	abandon()
}

// repairSuffix is what a repaired file ends in until it is complete.
const repairSuffix = ".part"

// neighbour is a new file beside the one that is repaired.
type neighbour struct {
	output.File
	root *os.Root
	dir  string
	done bool
}

// newNeighbour chooses a name for the repaired file, and writes nothing yet.
func newNeighbour(name string) (*neighbour, error) {
	dir, base := filepath.Split(name)
	root, err := os.OpenRoot(filepath.Clean(dir + "."))
	if err != nil {
		return nil, err
	}
	stem, ext := repairedName(strings.ToValidUTF8(base, "_"))
	f, err := output.OpenDir(root, output.DirOptions{PartialSuffix: repairSuffix}).Create(stem, ext)
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return &neighbour{File: f, root: root, dir: dir}, nil
}

// mediaExts are the endings that a repaired file keeps.
var mediaExts = []string{".webm", ".mkv", ".mka", ".weba"}

// repairedName gives the name of the file that base is repaired to, and its
// ending: alice.repaired and .webm for alice.webm, and for alice.webm.part.
func repairedName(base string) (stem, ext string) {
	for _, b := range []string{base, strings.TrimSuffix(base, filepath.Ext(base))} {
		ext = filepath.Ext(b)
		if slices.Contains(mediaExts, strings.ToLower(ext)) && b != ext {
			return strings.TrimSuffix(b, ext) + ".repaired", ext
		}
	}
	return base + ".repaired", ".webm"
}

// WriteAt implements io.WriterAt.
func (n *neighbour) WriteAt(b []byte, offset int64) (int, error) {
	w, ok := n.File.(io.WriterAt)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return w.WriteAt(b, offset)
}

func (n *neighbour) finish() (string, error) {
	err := n.Sync()
	if err == nil {
		n.done = true
		err = n.Close()
	}
	return n.dir + n.Name(), err
}

func (n *neighbour) abandon() {
	if t, ok := n.File.(interface{ Truncate(int64) error }); ok && !n.done {
		_ = t.Truncate(0) // an empty file is removed
		_ = n.Close()
	}
	_ = n.root.Close()
}

// replacement is a file that takes the place of the one that is repaired.
type replacement struct {
	*os.File // nil before the first write
	name     string
	mode     os.FileMode
	done     bool
}

// newReplacement writes nothing yet.
func newReplacement(name string, mode os.FileMode) (*replacement, error) {
	// A link stays a link.
	path, err := filepath.EvalSymlinks(name)
	return &replacement{name: path, mode: mode}, err
}

// WriteAt implements io.WriterAt.
func (r *replacement) WriteAt(b []byte, offset int64) (int, error) {
	if r.File == nil {
		f, err := os.CreateTemp(filepath.Dir(r.name), ".*.repair.tmp")
		if err != nil {
			return 0, err
		}
		r.File = f
	}
	return r.File.WriteAt(b, offset)
}

func (r *replacement) finish() (string, error) {
	if err := r.Chmod(r.mode.Perm()); err != nil {
		return "", err
	}
	if err := r.Sync(); err != nil {
		return "", err
	}
	if err := r.Close(); err != nil {
		return "", err
	}
	if err := os.Rename(r.File.Name(), r.name); err != nil {
		return "", err
	}
	r.done = true
	if dir, err := os.Open(filepath.Dir(r.name)); err == nil {
		_ = dir.Sync() // some systems can't
		_ = dir.Close()
	}
	return r.name, nil
}

func (r *replacement) abandon() {
	if r.File != nil && !r.done {
		_ = r.Close() // what is in it is of no use
		_ = os.Remove(r.File.Name())
	}
}
