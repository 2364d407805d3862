package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// newApp describes the command line. Nothing in it ends the program: run turns
// the error into an exit code.
func newApp(std stdio) *cli.App {
	commands := []*cli.Command{demoCommand(std), recordCommand(std), publishCommand(std), serveCommand(std), tokenCommand(std), replayCommand(std), inspectCommand(std), repairCommand(std), reportCommand(std)}
	app := &cli.App{
		Name:      "roomtape",
		Usage:     "record WebRTC rooms, every participant to a file of their own",
		UsageText: "roomtape record wss://rooms.example.org/standup",
		Reader:    std.in,
		Writer:    std.out,
		ErrWriter: std.err,
		Commands:  commands,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print version, commit and Go version", DisableDefaultText: true},
		}, logFlags()...),
		HideVersion:        true,
		SliceFlagSeparator: " ",
		OnUsageError:       onUsageError,
		ExitErrHandler:     func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("version"):
				fmt.Fprintln(std.out, versionLine())
				return nil
			case c.Args().Present():
				return usagef("there is no command %q; roomtape --help lists them", c.Args().First())
			}
			return usagef("which command? one of %s; roomtape --help says more",
				joined(commands, func(c *cli.Command) string { return c.Name }))
		},
	}
	for _, c := range commands {
		c.Flags = append(c.Flags, logFlags()...)
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		c.CustomHelpTemplate = commandHelp(c)
	}
	app.CustomAppHelpTemplate = appHelp(app)
	return app
}

// logFlags are taken by the program and by each command, so that they may stand
// before the command or after it.
func logFlags() []cli.Flag {
	return withEnv(
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log on stderr: text or json"},
		&cli.StringFlag{Name: "log-level", Usage: "the least `LEVEL` to log: debug, info, warn or error (default info, and warn beside a live table)"},
	)
}

// withEnv gives each flag its environment variable.
func withEnv(flags ...cli.Flag) []cli.Flag {
	for _, f := range flags {
		env := []string{"ROOMTAPE_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))}
		switch f := f.(type) {
		case *cli.StringFlag:
			f.EnvVars = env
		case *cli.BoolFlag:
			f.EnvVars = env
		case *cli.IntFlag:
			f.EnvVars = env
		case *cli.Float64Flag:
			f.EnvVars = env
		case *cli.DurationFlag:
			f.EnvVars = env
		case *cli.StringSliceFlag:
			f.EnvVars = env
		default:
			panic(fmt.Sprintf("flag --%s has a type that withEnv does not know", f.Names()[0]))
		}
	}
	return flags
}

// logOptionsOf gives what the log flags ask for; one that stands at the command
// wins over one before it.
func logOptionsOf(c *cli.Context) (logOptions, error) {
	value := func(name string) string {
		for _, level := range c.Lineage() {
			if slices.Contains(level.LocalFlagNames(), name) {
				return level.String(name)
			}
		}
		return c.String(name)
	}
	return parseLogOptions(value("log-format"), value("log-level"))
}

// onUsageError makes the library's errors one clear line.
func onUsageError(_ *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		return usagef("there is no flag --%s; --help lists them", strings.TrimLeft(name, "-"))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usagef("the flag --%s needs a value", strings.TrimLeft(name, "-"))
	}
	return usageError{errors.New(strings.TrimSpace(text))}
}

// oneArgument gives a command's only argument.
func oneArgument(c *cli.Context, name, example string) (string, error) {
	switch c.NArg() {
	case 0:
		return "", usagef("which %s? such as: roomtape %s %s", name, c.Command.Name, example)
	case 1:
		return c.Args().First(), nil
	}
	return "", usagef("%s takes one %s, and %q is more than that", c.Command.Name, name, c.Args().Get(1))
}

// noArguments is for commands without.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s takes no argument, such as %q", c.Command.Name, c.Args().First())
	}
	return nil
}

// interleaved moves a command's flags before its arguments, which the library
// wants there and people put anywhere. What follows "--" stays behind it.
func interleaved(args []string) []string {
	app := newApp(stdio{})
	takesValue := func(flags []cli.Flag, arg string) bool {
		name := strings.TrimLeft(arg, "-")
		for _, f := range flags {
			if slices.Contains(f.Names(), name) {
				d, ok := f.(cli.DocGenerationFlag)
				return ok && d.TakesValue()
			}
		}
		return false // an unknown flag, or one with =
	}
	flags := app.Flags
	var before, positional []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case i == 0:
			before = append(before, arg)
		case arg == "--":
			positional = append(positional, args[i+1:]...)
			i = len(args)
		case len(arg) > 1 && arg[0] == '-':
			before = append(before, arg)
			if takesValue(flags, arg) && i+1 < len(args) {
				i++
				before = append(before, args[i])
			}
		case app != nil:
			// The first argument is the command.
			before = append(before, arg)
			if c := app.Command(arg); c != nil {
				flags = c.Flags
			} else {
				return args
			}
			app = nil
		default:
			positional = append(positional, arg)
		}
	}
	if len(positional) == 0 {
		return before
	}
	return append(append(before, "--"), positional...)
}
