package process

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// contain puts the program into a group of its own, and has the kernel kill it
// when we die.
func contain(cmd *exec.Cmd, quits bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if quits {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
}

// The kernel takes the end of the thread that has started a program for our
// death. So one thread starts all of them, and never ends.
var (
	spawnOnce sync.Once
	spawns    chan func()
)

func spawn(cmd *exec.Cmd) error {
	spawnOnce.Do(func() {
		spawns = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range spawns {
				f()
			}
		}()
	})
	done := make(chan error)
	spawns <- func() { done <- cmd.Start() }
	return <-done
}

func ask(cmd *exec.Cmd) { signal(cmd, syscall.SIGTERM) }

// sweep ends what is left of the group.
func sweep(cmd *exec.Cmd) { signal(cmd, syscall.SIGKILL) }

func signal(cmd *exec.Cmd, s syscall.Signal) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, s) // the group may have ended
	}
}
