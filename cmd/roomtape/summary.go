package main

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/roomtape/roomtape/recorder"
)

// printWidth is how wide results are that may end up in a file.
const printWidth = 120

// print says what was written and how to play it.
func (r *recorded) print(w io.Writer) {
	m := r.manifest
	var total int64
	for _, f := range m.Files {
		total += f.Bytes
	}
	where := "to stdout"
	if r.dir != "" {
		where = "in " + shellQuote(r.dir)
	}
	fmt.Fprintf(w, "Recorded %s of %s, %s, %s\n", plural(len(m.Files), "file"),
		printable(m.Room), bytesText(total), where)
	if m.State == recorder.StateIncomplete {
		fmt.Fprintf(w, "The recording is incomplete: %s\n", printable(m.Reason))
	}
	if len(m.Files) == 0 {
		return
	}
	rows := make([][]string, len(m.Files))
	for i, f := range m.Files {
		rows[i] = fileRow(f)
	}
	printRows(w, []column{
		{"FILE", false}, {"CODEC", false}, {"SIZE", false}, {"START", true}, {"LENGTH", true}, {"LOST", true}, {"BYTES", true},
	}, rows)
	if r.dir == "" {
		return
	}
	file := filepath.Join(r.dir, filepath.FromSlash(m.Files[0].Path))
	fmt.Fprintf(w, "Play one:         ffplay %s\n", shellQuote(file))
	fmt.Fprintf(w, "or in a browser:  %s\n", fileURL(file))
	fmt.Fprintf(w, "Look into it:     roomtape inspect %s\n", shellQuote(file))
}

// printRows prints a table between empty lines, and nothing of one without rows.
func printRows(w io.Writer, columns []column, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	for _, line := range layOut(columns, rows, printWidth) {
		fmt.Fprintln(w, "  "+line)
	}
	fmt.Fprintln(w)
}

// fileRow gives one file's cells.
func fileRow(f recorder.FileEntry) []string {
	var codecs []string
	var size string
	var lost int64
	for _, t := range f.Tracks {
		codecs = append(codecs, t.Codec)
		lost += t.Packets.Lost
		if t.Width > 0 && size == "" {
			size = fmt.Sprintf("%dx%d", t.Width, t.Height)
		}
	}
	name := printable(f.Path)
	if f.Error != "" {
		name += " (cut short)"
	}
	return []string{
		name, strings.Join(codecs, "+"), size,
		clockText(milliseconds(f.OffsetMS)), clockText(milliseconds(f.DurationMS).Round(time.Second)),
		plural(int(lost), "packet"), bytesText(f.Bytes),
	}
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// fileURL gives an absolute path as a browser takes it.
func fileURL(path string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	return u.String()
}
