package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/dump"
)

// print says what is in the dump, how its codecs were known, and what was
// written.
func (r *replayed) print(w io.Writer) {
	for _, f := range r.Dump.Files {
		fmt.Fprintf(w, "%s: %s\n", printable(f.Name), printable(f.Format))
		if f.RTPTime {
			fmt.Fprintln(w, "  its capture times are useless: RTP timestamps give the time")
		}
		if f.Damage != "" {
			fmt.Fprintf(w, "  damaged: %s\n", printable(f.Damage))
		}
	}
	var rows [][]string
	for _, s := range r.Dump.Streams {
		rows = append(rows, streamRow(s))
	}
	printRows(w, []column{
		{"SSRC", false}, {"FROM", false}, {"PACKETS", true}, {"CODEC", false}, {"RECORDED", false},
	}, rows)
	for _, c := range r.Dump.Ignored {
		fmt.Fprintf(w, "  set aside: %s of %s\n", plural(int(c.Packets), "packet"), printable(c.What))
	}
	for _, c := range r.Dump.Relayed {
		fmt.Fprintf(w, "  unwrapped: %s of %s\n", plural(int(c.Packets), "packet"), printable(c.What))
	}
	where := ""
	if r.dir != "" {
		where = " in " + shellQuote(r.dir)
	}
	fmt.Fprintf(w, "Wrote %s%s\n", plural(len(r.Files), "file"), where)
	if r.State == recorder.StateIncomplete {
		fmt.Fprintf(w, "The recording is incomplete: %s\n", printable(r.Reason))
	}
	rows = rows[:0]
	for _, f := range r.Files {
		rows = append(rows, fileRow(f))
	}
	printRows(w, []column{
		{"FILE", false}, {"CODEC", false}, {"SIZE", false}, {"START", true}, {"LENGTH", true}, {"LOST", true}, {"BYTES", true},
	}, rows)
}

// streamRow gives one stream's cells.
func streamRow(s dump.Stream) []string {
	var codecs []string
	for _, p := range s.Payloads {
		name, by := p.Format, p.KnownBy
		if name == "" {
			name = "unknown"
		}
		text := fmt.Sprintf("%d=%s", p.Type, name)
		if by != "" {
			text += " (known by " + by + ")"
		}
		codecs = append(codecs, text)
	}
	recorded := "as " + s.Participant
	switch {
	case s.Track:
	case s.Auxiliary:
		recorded = "no track by itself"
	default:
		recorded = "no"
		if s.Reason != "" {
			recorded += ": " + s.Reason
		}
	}
	from, last := s.From, s.From
	for _, w := range s.Moved {
		if w.From != last {
			from += ", then " + w.From
			last = w.From
		}
	}
	return []string{
		fmt.Sprintf("%08x", s.SSRC), printable(from), fmt.Sprint(s.Packets), printable(strings.Join(codecs, ", ")), printable(recorded),
	}
}
