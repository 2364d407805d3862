package netsim_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The table stands between these in doc, and the rest of that is not touched.
const (
	doc        = "../../docs/RELIABILITY.md"
	tableBegin = "<!-- make reliability writes what follows -->\n"
	tableEnd   = "<!-- and what precedes -->\n"
)

// row is a line of the table, a cell each.
type row []string

var header = row{
	"scenario", "pictures in the file", "of those sent", "undecodable", "sounds in the file",
	"A/V skew p95", "max", "off its place, max", "seconds lost: picture", "sound", "recovered packets", "keyframes", "picture back after",
}

func (o *outcome) row(s scenario, c *connected) row {
	back := ""
	if !c.up.IsZero() {
		back = fmt.Sprintf("%d ms", o.back.Milliseconds())
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }
	return row{
		s.name,
		fmt.Sprintf("%d / %d", o.video, o.videoSent),
		fmt.Sprintf("%.2f %%", 100*float64(o.video)/float64(o.videoSent)),
		fmt.Sprint(o.undecodable + o.damaged),
		fmt.Sprintf("%d / %d", o.audio, o.audioSent),
		ms(percentile(o.skew, 95)), ms(percentile(o.skew, 100)), ms(percentile(o.off, 100)),
		fmt.Sprintf("%.2f", o.videoLost.Seconds()), fmt.Sprintf("%.2f", o.audioLost.Seconds()),
		fmt.Sprint(o.recovered), fmt.Sprint(o.keyframes), back,
	}
}

func names(table []row) (out []string) {
	for _, r := range table {
		out = append(out, r[0])
	}
	return out
}

// splitDoc gives what is before the table, the table, and what is after it.
func splitDoc(t *testing.T) (before, table, after string) {
	t.Helper()
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", doc)
	}
	return before, table, after
}

func readTable(t *testing.T) (table []row) {
	t.Helper()
	_, text, _ := splitDoc(t)
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if i < 2 {
			continue // the header
		}
		r := row{}
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			r = append(r, strings.TrimSpace(cell))
		}
		table = append(table, r)
	}
	return table
}

func writeTable(t *testing.T, table []row) {
	t.Helper()
	before, _, after := splitDoc(t)
	var b strings.Builder
	line := func(r row) { b.WriteString("| " + strings.Join(r, " | ") + " |\n") }
	line(header)
	b.WriteString("|---" + strings.Repeat("|---:", len(header)-1) + "|\n")
	for _, r := range table {
		line(r)
	}
	if err := os.WriteFile(doc, []byte(before+tableBegin+b.String()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
