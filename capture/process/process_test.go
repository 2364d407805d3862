package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/process"
)

// TestMain is also the programs that the tests run: the test binary itself, told by
// its environment which to be.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCESS_TEST") {
	case "":
		os.Exit(m.Run())
	case "fails":
		fmt.Fprint(os.Stderr, "first line\nno such \x1b[31mdevice\n\n")
		os.Exit(3)
	case "talks":
		for range 1000 {
			fmt.Println(strings.Repeat("x", 99))
		}
	case "stays": // whatever it is asked
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(os.Getpid())
		select {}
	case "parent": // of one who stays
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "PROCESS_TEST=stays")
		c.Stdout = os.Stdout
		if err := c.Start(); err != nil {
			panic(err)
		}
		_ = c.Wait()
	case "starter": // is killed itself, with one who stays
		p, err := process.Start(process.Config{Name: os.Args[0], Env: []string{"PROCESS_TEST=stays"}, Stdout: true})
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(os.Stdout, p.Stdout)
	}
}

func run(t *testing.T, what string) *process.Process {
	t.Helper()
	p, err := process.Start(process.Config{Name: os.Args[0], Env: []string{"PROCESS_TEST=" + what}, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// number reads the process id that a program prints.
func number(t *testing.T, r io.Reader) int {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// ends waits until there is no such process.
func ends(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(b), ") Z ") {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("process %d is still there", pid)
		}
	}
}

func TestWhatAProgramSaysLastIsItsError(t *testing.T) {
	p := run(t, "fails")
	if _, err := io.ReadAll(p.Stdout); err != nil {
		t.Error(err)
	}
	err := p.Wait()
	if err == nil || !strings.HasSuffix(err.Error(), ": no such [31mdevice") {
		t.Errorf("%v", err)
	}
	if _, err := process.Start(process.Config{Name: "no-such-program-anywhere"}); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("no program: %v", err)
	}
}

func TestOutputIsReadToItsEnd(t *testing.T) {
	p := run(t, "talks")
	b, err := io.ReadAll(p.Stdout)
	if err != nil || len(b) != 100_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStopEndsWhatDoesNotWantTo(t *testing.T) {
	p := run(t, "stays")
	pid := number(t, p.Stdout)
	p.Stop()
	ends(t, pid)
	p.Stop() // once more does no harm
}

func TestStopEndsGrandchildren(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("without /proc there are no process groups that this test could look at")
	}
	p := run(t, "parent")
	pid := number(t, p.Stdout)
	p.Stop()
	ends(t, pid)
}

func TestProgramsDieWithTheirStarter(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux' kernel tells programs that their parent has died")
	}
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), "PROCESS_TEST=starter")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := number(t, out)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // it was killed
	ends(t, pid)
}

func TestRestartsAreFew(t *testing.T) {
	r, now := process.Restarts{Most: 3, Within: 30 * time.Second}, time.Now()
	for i := range 3 {
		if !r.Take(now.Add(time.Duration(i) * time.Second)) {
			t.Errorf("restart %d refused", i)
		}
	}
	if r.Take(now.Add(3 * time.Second)) {
		t.Error("one restart too many")
	}
	if !r.Take(now.Add(time.Minute)) {
		t.Error("a restart long after refused")
	}
}
