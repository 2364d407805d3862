package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

// palette colours text, or leaves it as it is.
type palette struct{ on bool }

// newPalette uses colours unless the user does not want them (no-color.org).
func newPalette() palette {
	return palette{os.Getenv("NO_COLOR") == ""}
}

func (p palette) wrap(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string { return p.wrap("1", s) }
func (p palette) dim(s string) string  { return p.wrap("2", s) }
func (p palette) red(s string) string  { return p.wrap("31", s) }

func (p palette) yellow(s string) string { return p.wrap("33", s) }

// statusColumns are the columns of the live table. Those for which there is no
// room are left away, the last ones first.
var statusColumns = []column{
	{"PARTICIPANT", false}, {"CODEC", false}, {"SIZE", false}, {"BITRATE", true},
	{"LOSS", true}, {"TIME", true}, {"BYTES", true},
	{"QUALITY", false}, {"FPS", true}, {"RTT", true}, {"JITTER", true}, {"BUFFER", true}, {"A/V", true},
	{"RESENT", true}, {"FREEZES", true}, {"NACK", true}, {"PLI", true}, {"ICE", false}, {"PATH", false},
}

// statusTable gives the lines of the live table: what is being recorded, one
// participant a line, no line wider than width and not more lines than fit.
func statusTable(room string, s recorder.Status, p palette, width, height int) []string {
	var rows [][]string
	hidden := 0
	for i, participant := range s.Participants {
		if i >= max(height-5, 1) {
			hidden = len(s.Participants) - i
			break
		}
		rows = append(rows, statusRow(participant))
	}
	table := layOut(statusColumns, rows, width)

	head := fmt.Sprintf("%s  %s  %s in %s", printable(room), clockText(s.Time), bytesText(s.Bytes), plural(s.Files, "file"))
	if s.LowSpace {
		head += "  low disk space: " + bytesText(s.FreeSpace) + " left"
	}
	lines := []string{p.red("●") + " " + p.bold(clip(head, width-2))}
	for i, line := range table {
		switch {
		case i == 0:
			line = p.dim(line)
		case s.Participants[i-1].Error != "":
			line = p.red(line)
		case !s.Participants[i-1].Present:
			line = p.dim(line)
		case len(poorOf(&s.Participants[i-1])) > 0:
			line = p.yellow(line)
		}
		lines = append(lines, line)
	}
	if hidden > 0 {
		lines = append(lines, p.dim(clip(fmt.Sprintf("… and %d more", hidden), width)))
	}
	if len(s.Participants) == 0 {
		lines = append(lines[:1], p.dim(clip("waiting for somebody to record", width)))
	}
	return lines
}

// statusRow gives one participant's cells, in the order of statusColumns.
func statusRow(s recorder.ParticipantStatus) []string {
	var video, audio []string
	var size string
	var bitrate int64
	var loss float64
	var longest time.Duration
	for _, t := range s.Tracks {
		bitrate += t.Bitrate
		loss = max(loss, t.Loss)
		longest = max(longest, t.Recorded)
		switch t.Codec.Kind() {
		case media.Video:
			video = append(video, t.Codec.String())
		case media.Audio:
			audio = append(audio, t.Codec.String())
		}
		if t.Width > 0 && size == "" {
			size = fmt.Sprintf("%dx%d", t.Width, t.Height)
		}
	}
	codecs := strings.Join(append(video, audio...), "+")
	row := make([]string, len(statusColumns))
	row[0], row[1], row[2], row[6] = printable(s.ID), codecs, size, bytesText(s.Bytes)
	switch {
	case s.Error != "":
		row[1] = "failed"
	case !s.Present:
		row[1] = "left"
	case codecs == "":
		row[1] = "no media"
	default:
		row[3], row[4], row[5] = bitrateText(bitrate), fmt.Sprintf("%.1f %%", 100*loss), clockText(longest)
		copy(row[7:], qualityCells(&s))
	}
	return row
}

// plural gives "1 file" or "2 files".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
