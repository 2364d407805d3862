package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/roomtape/roomtape/signaling/synthetic"
)

// patience bounds each wait of a script, in a test on a busy machine.
const patience = 30 * time.Second

// process is a program that runs beside a script.
type process struct {
	*exec.Cmd
	out, err string // files
	ended    chan struct{}
	code     int
}

type processesKey struct{}

func processOf(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processesKey{}).(map[string]*process)[name]
	if p == nil {
		ts.Fatalf("there is no process %s", name)
	}
	return p
}

// cmdExits runs a program and checks its exit code: exits CODE PROGRAM ARG...
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	if got := codeOf(err); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s (%v)", got, args[0], err)
	}
}

func codeOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// cmdStart runs roomtape beside the script, with its output in NAME.out and
// NAME.err: start NAME ARG...
func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "roomtape")); err == nil && path == "" {
			path = filepath.Join(dir, "roomtape")
		}
	}
	name := args[0]
	p := &process{
		Cmd: exec.Command(path, args[1:]...),
		out: ts.MkAbs(name + ".out"), err: ts.MkAbs(name + ".err"),
		ended: make(chan struct{}),
	}
	p.Dir = ts.MkAbs(".")
	out, err := os.Create(p.out)
	ts.Check(err)
	ts.Defer(func() { _ = out.Close() })
	errs, err := os.Create(p.err)
	ts.Check(err)
	ts.Defer(func() { _ = errs.Close() })
	p.Stdout, p.Stderr = out, errs
	ts.Check(p.Start())
	go func() {
		p.code = codeOf(p.Wait())
		close(p.ended)
	}()
	ts.Defer(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	ts.Value(processesKey{}).(map[string]*process)[name] = p
}

// cmdSignal sends a signal: signal NAME INT|TERM|KILL
func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(processOf(ts, args[0]).Process.Signal(map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[1]]))
}

// cmdEnds waits for a process and checks its exit code: ends NAME CODE
func cmdEnds(ts *testscript.TestScript, _ bool, args []string) {
	p := processOf(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	if strconv.Itoa(p.code) != args[1] {
		ts.Fatalf("%s: exit code %d, want %s\n%s", args[0], p.code, args[1], ts.ReadFile(p.err))
	}
}

// cmdAwait waits until a file matches a regular expression: await FILE REGEXP
func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	for give := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		if re.Match(b) {
			return
		}
		if time.Now().After(give) {
			ts.Fatalf("%s has no %s:\n%s", args[0], args[1], b)
		}
	}
}

// cmdServe starts roomtape serve on a free port, as the process "server", and
// puts the address of its room r into $ROOM: serve ARG...
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	cmdStart(ts, neg, append([]string{"server", "serve", "--listen", "127.0.0.1:0", "--json"}, args...))
	cmdAwait(ts, neg, []string{"server.out", `\}\n`})
	var address struct{ URL, WebSocket string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("server.out")), &address))
	ts.Setenv("URL", address.URL)
	ts.Setenv("ROOM", address.WebSocket+"r")
}

// cmdPeople lets made-up participants, named after the demo's or not, into
// $ROOM, where they stay until the script ends: people ID...
func cmdPeople(ts *testscript.TestScript, _ bool, args []string) {
	for i, id := range args {
		clip, err := readClip(demoPeople[i%len(demoPeople)])
		ts.Check(err)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		p, err := synthetic.Join(ctx, synthetic.Config{URL: ts.Getenv("ROOM"), Room: "r", PeerID: id, Clip: clip, Loopback: true})
		cancel()
		ts.Check(err)
		ts.Defer(func() { _ = p.Close() })
	}
}

// cmdJSON checks that a file is one JSON document and what stands at a path in
// it: json FILE PATH REGEXP, such as json out files.0.path alice
func cmdJSON(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("%s is no JSON document: %v\n%s", args[0], err, ts.ReadFile(args[0]))
	}
	for _, step := range strings.Split(args[1], ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(in) {
				ts.Fatalf("%s: there are only %d", args[1], len(in))
			}
			v = in[i]
		default:
			v = nil
		}
	}
	if got := fmt.Sprint(v); !regexp.MustCompile("^(" + args[2] + ")$").MatchString(got) {
		ts.Fatalf("%s is %s, want %s", args[1], got, args[2])
	}
}

// cmdCut copies a file without its last tenth: cut FROM TO
func cmdCut(ts *testscript.TestScript, _ bool, args []string) {
	b := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b[:len(b)*9/10]), 0o600))
}
