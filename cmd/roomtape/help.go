package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// helpWidth is how far help texts go to the right.
const helpWidth = 100

// commandHelp is what roomtape COMMAND --help prints: an example first, then the
// flags, and in the end what UsageText of c does not say.
func commandHelp(c *cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nExample:\n  %s\n\n", sentence(c.Usage), c.UsageText)
	fmt.Fprintf(&b, "Usage:\n  roomtape %s [flags]%s\n\nFlags:\n", c.Name, withSpace(c.ArgsUsage))
	writeFlags(&b, c.Flags)
	b.WriteString("\nEach flag is an environment variable too: --join-timeout is ROOMTAPE_JOIN_TIMEOUT.\n")
	if c.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", c.Description)
	}
	return b.String()
}

// appHelp is what roomtape --help prints.
func appHelp(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Roomtape: %s.\n\nExample:\n  %s\n\nCommands:\n", app.Usage, app.UsageText)
	for _, c := range app.Commands {
		writeColumns(&b, c.Name, 10, c.Usage)
	}
	b.WriteString("\nFlags, before or after the command:\n")
	writeFlags(&b, app.Flags)
	fmt.Fprintf(&b, "\n%s\n\nroomtape COMMAND --help says more.\n", exitCodes(
		exitOK, exitInternal, exitUsage, exitJoin, exitNoMedia, exitStorage, exitLost, exitDamaged, exitForced))
	return b.String()
}

// exitCodes lists exit codes with their meaning.
func exitCodes(codes ...int) string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, c := range slices.Sorted(slices.Values(codes)) {
		writeColumns(&b, fmt.Sprint(c), 5, exitTable[c])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// writeFlags lists flags, their usage, and what they are by default.
func writeFlags(b *strings.Builder, flags []cli.Flag) {
	const column = 26
	for _, f := range flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := unquote(doc.GetUsage())
		names := slices.Clone(f.Names())
		for i, n := range names {
			names[i] = strings.Repeat("-", min(len(n), 2)) + n
		}
		slices.Reverse(names) // the short one first
		left := strings.Join(names, ", ")
		if doc.TakesValue() {
			left += " " + placeholder
		}
		if d := defaultText(f); d != "" {
			usage += " (default " + d + ")"
		}
		writeColumns(b, left, column, usage)
	}
}

// defaultText says what a flag is when it is not given, or nothing.
func defaultText(f cli.Flag) string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return f.Value
	case *cli.IntFlag:
		return fmt.Sprint(f.Value)
	case *cli.DurationFlag:
		if f.Value != 0 {
			return shortDuration(f.Value)
		}
	case *cli.BoolFlag:
		if f.Value {
			return "on; --" + f.Name + "=false"
		}
	}
	return ""
}

// shortDuration gives a duration without the zero parts of its usual form.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// writeColumns writes a name and a text that is wrapped beside it.
func writeColumns(b *strings.Builder, name string, column int, text string) {
	fmt.Fprintf(b, "  %-*s", column, name)
	if len(name) >= column {
		fmt.Fprintf(b, "\n  %*s", column, "")
	}
	at := column + 2
	for i, word := range strings.Fields(text) {
		if i > 0 && at+1+len(word) > helpWidth {
			fmt.Fprintf(b, "\n  %*s", column, "")
			at = column + 2
		} else if i > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	b.WriteByte('\n')
}

// unquote takes the placeholder of a flag's value, the word in backquotes, out
// of its usage.
func unquote(usage string) (placeholder, text string) {
	before, rest, found := strings.Cut(usage, "`")
	if !found {
		return "VALUE", usage
	}
	placeholder, after, _ := strings.Cut(rest, "`")
	return placeholder, before + placeholder + after
}

// sentence makes a usage text one.
func sentence(s string) string {
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func withSpace(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}
