package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sampleEvery is how often the recorder is looked at.
const sampleEvery = 5 * time.Second

// server is the room server, a process that is ended and started again.
type server struct {
	binary, address string
	log             *os.File
	cmd             *exec.Cmd
	count           int // restarts
}

// freeAddress gives an address that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func newServer(s settings, dir string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	v := &server{binary: s.roomtape, address: address, log: log}
	return v, v.start()
}

// start starts the server and waits until it answers.
func (v *server) start() error {
	v.cmd = exec.Command(v.binary, "serve", "--listen", v.address, "--log-level", "warn")
	v.cmd.Stderr = v.log
	if err := v.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := http.Get("http://" + v.address + "/healthz")
		if err == nil {
			_ = r.Body.Close()
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}

// restarts ends and starts the server again and again, by turns with a goodbye
// and without, and calls told each time.
func (v *server) restarts(ctx context.Context, every time.Duration, told func()) {
	for {
		wait(ctx, every-2*time.Second)
		if ctx.Err() != nil {
			return
		}
		sig := syscall.SIGTERM
		if v.count%2 == 1 {
			sig = syscall.SIGKILL
		}
		_ = v.cmd.Process.Signal(sig)
		_ = v.cmd.Wait()
		wait(ctx, 2*time.Second)
		if err := v.start(); err != nil {
			fmt.Fprintln(os.Stderr, "soak: starting the server again:", err)
			return
		}
		v.count++
		told()
	}
}

func (v *server) kill() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
	_ = v.log.Close()
}

// tape is the recorder's process.
type tape struct {
	cmd     *exec.Cmd
	debug   string // its debug view's URL
	session string // its folder
	stdout  bytes.Buffer
	log     *os.File
	began   time.Time
	exit    int

	before, after sample // with nobody in the room
	samples       []sample
}

// sample is what the recorder's process is like at an instant.
type sample struct {
	At         float64 `json:"at_s"`
	Present    int     `json:"present"`
	RSS        int64   `json:"rss_bytes"`
	Heap       int64   `json:"heap_bytes"` // live, after a collection
	Goroutines int     `json:"goroutines"`
	Files      int     `json:"file_descriptors"`
	CPU        float64 `json:"cpu_s"` // so far
}

func (s sample) String() string {
	return fmt.Sprintf("%2d present, RSS %.1f MB, heap %.1f MB, %d goroutines, %d descriptors, %.1f s of CPU",
		s.Present, mb(s.RSS), mb(s.Heap), s.Goroutines, s.Files, s.CPU)
}

func mb(n int64) float64 { return float64(n) / (1 << 20) }

func startRecorder(ctx context.Context, s settings, dir, url string) (*tape, error) {
	debug, err := freeAddress()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "recorder.log"))
	if err != nil {
		return nil, err
	}
	t := &tape{debug: "http://" + debug + "/debug/pprof/", session: filepath.Join(dir, "session"), log: log, began: time.Now()}
	if err := os.RemoveAll(t.session); err != nil {
		return nil, err
	}
	t.cmd = exec.CommandContext(context.WithoutCancel(ctx), s.roomtape, "record", "--out", dir, "--session", "session", "--peer-id", recorder,
		"--until-empty", "0", "--wait", "0", "--json", url)
	t.cmd.Env = append(os.Environ(), "ROOMTAPE_DEBUG="+debug)
	t.cmd.Stdout, t.cmd.Stderr = &t.stdout, log
	return t, t.cmd.Start()
}

func (t *tape) kill() {
	_ = t.cmd.Process.Kill()
	_ = t.cmd.Wait() // a second time, where all goes well
	_ = t.log.Close()
}

// joined waits until the recorder is in the room.
func (t *tape) joined(ctx context.Context) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
		// The session's folder is made when the room has been joined.
		if _, err := os.Stat(t.session); err == nil {
			return nil
		}
	}
	return errors.Join(errors.New("the recorder does not join"), ctx.Err())
}

// baseline looks at the recorder when it has come to rest after a visitor has
// left: what it keeps from the first connection on, such as a socket for each
// address, is there then.
func (t *tape) baseline(ctx context.Context) error {
	const rest = 10 * time.Second
	since := time.Now()
	for ctx.Err() == nil {
		s, err := t.look(0)
		if err != nil {
			return err
		}
		if s.Goroutines != t.before.Goroutines || s.Files != t.before.Files {
			since = time.Now()
		}
		t.before = s
		if time.Since(since) > rest {
			return nil
		}
		wait(ctx, time.Second)
	}
	return ctx.Err()
}

func (t *tape) sample(present int) error {
	s, err := t.look(present)
	if err == nil {
		t.samples = append(t.samples, s)
	}
	return err
}

// rest waits until the recorder has as many goroutines as before anybody came,
// or settle has passed, and looks at it.
func (t *tape) rest(ctx context.Context) error {
	for deadline := time.Now().Add(settle); ; wait(ctx, time.Second) {
		s, err := t.look(0)
		if err != nil {
			return err
		}
		t.after = s
		if s.Goroutines <= t.before.Goroutines && s.Files <= t.before.Files || time.Now().After(deadline) || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// stop ends the recorder as an operator does.
func (t *tape) stop() error {
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	var status *exec.ExitError
	err := t.cmd.Wait()
	if errors.As(err, &status) {
		t.exit, err = status.ExitCode(), nil
	}
	return err
}

func (t *tape) look(present int) (sample, error) {
	s := sample{At: time.Since(t.began).Seconds(), Present: present}
	pid := strconv.Itoa(t.cmd.Process.Pid)
	// First what asking itself changes.
	entries, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		return s, fmt.Errorf("the recorder has ended: %w", err)
	}
	s.Files = len(entries)
	goroutines, err := t.ask("goroutine?debug=1", "goroutine profile: total ")
	if err != nil {
		return s, err
	}
	s.Goroutines = int(goroutines)
	if s.Heap, err = t.ask("heap?gc=1&debug=1", "# HeapAlloc = "); err != nil {
		return s, err
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return s, err
	}
	s.RSS = number(string(status), "VmRSS:") << 10
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return s, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(rest); len(f) > 12 { // utime and stime, in 10 ms
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		s.CPU = (user + system) / 100
	}
	return s, nil
}

// keep saves the heap's profile in a file, for `go tool pprof`.
func (t *tape) keep(file string) error {
	r, err := http.Get(t.debug + "heap?gc=1")
	if err != nil {
		return fmt.Errorf("asking the recorder: %w", err)
	}
	defer r.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r.Body)
	return errors.Join(err, f.Close())
}

// ask gives the number that follows a word in a profile.
func (t *tape) ask(profile, word string) (int64, error) {
	request, err := http.NewRequest(http.MethodGet, t.debug+profile, nil)
	if err != nil {
		return 0, err
	}
	request.Close = true // a connection that stays would be a goroutine more
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking the recorder: %w", err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	if !strings.Contains(string(b), word) {
		return 0, fmt.Errorf("asking the recorder for %s: %s", profile, r.Status)
	}
	return number(string(b), word), nil
}

// number gives the number after the first of a word in a text, or 0.
func number(text, word string) int64 {
	_, rest, _ := strings.Cut(text, word)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return n
}
