package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"
)

// isTerminal tells whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printable makes untrusted text safe for a terminal: what is not printable
// (control characters, line breaks, changes of direction) becomes an escape.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// runeWidth is how many columns r takes in a terminal: 2 for East Asian wide
// characters and emoji, 0 for marks that stand on another character, else 1.
func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// textWidth is how many columns s takes.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// clip shortens s to at most width columns, with an ellipsis in place of what is
// left away.
func clip(s string, width int) string {
	if textWidth(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	n := 0
	for i, r := range s {
		n += runeWidth(r)
		if n > width-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// bytesText gives a size as people read it, in decimal units.
func bytesText(n int64) string {
	return scaled(float64(n), "B", "kB", "MB", "GB", "TB")
}

// bitrateText gives a bitrate in bit/s as people read it.
func bitrateText(n int64) string {
	return scaled(float64(n), "b/s", "kb/s", "Mb/s", "Gb/s")
}

func scaled(v float64, units ...string) string {
	i := 0
	for ; v >= 999.5 && i < len(units)-1; i++ {
		v /= 1000
	}
	if i == 0 || v >= 99.95 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// clockText gives a duration as h:mm:ss.
func clockText(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// secondsText gives milliseconds as seconds.
func secondsText(ms int64) string {
	return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64)
}

// shellQuote makes a path safe to paste into a shell.
func shellQuote(path string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("/._-+=@%:,", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// column is one column of a table.
type column struct {
	title string
	right bool // aligned to the right
}

// columnGap is the space between two columns of a table, and minColumn how far
// the first one shrinks to make the table fit.
const (
	columnGap = 2
	minColumn = 12
)

// layOut gives the lines of a table: the titles, then the rows, none wider than
// width. When there is too little of it, the first column shrinks, then the last
// ones are left away.
func layOut(columns []column, rows [][]string, width int) []string {
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	rows = append([][]string{titles}, rows...)
	widths := make([]int, len(columns))
	total := -columnGap
	for i := range columns {
		for _, row := range rows {
			widths[i] = max(widths[i], textWidth(row[i]))
		}
		total += widths[i] + columnGap
	}
	if spare := widths[0] - minColumn; total > width && spare > 0 {
		widths[0] -= min(spare, total-width)
		total -= min(spare, total-width)
	}
	shown := len(columns)
	for ; total > width && shown > 1; shown-- {
		total -= widths[shown-1] + columnGap
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		var b strings.Builder
		for k, cell := range row[:shown] {
			if k > 0 {
				b.WriteString(strings.Repeat(" ", columnGap))
			}
			cell = clip(cell, widths[k])
			pad := strings.Repeat(" ", widths[k]-textWidth(cell))
			if columns[k].right {
				cell, pad = pad, cell
			}
			b.WriteString(cell + pad)
		}
		lines[i] = clip(strings.TrimRight(b.String(), " "), width)
	}
	return lines
}
