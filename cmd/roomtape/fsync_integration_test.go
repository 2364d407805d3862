//go:build integration && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling/synthetic"
)

// traced is a system call as strace -y shows it, on a file of the session.
var traced = regexp.MustCompile(`^\d+ +\S+ (\w+)\((?:AT_FDCWD<[^>]*>, |\d+<([^>]*)>)(?:, "([^"]*)", \d+<[^>]*>, "([^"]*)")?`)

// TestFsyncSurvivesAPowerCut watches the system calls of a rotated recording: what
// --fsync promises is synced, files and the names of files.
func TestFsyncSurvivesAPowerCut(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("there is no strace")
	}
	for _, policy := range []string{"chunk", "close", "never"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			url, dir := openRoom(t), t.TempDir()
			alice := enter(t, url, "alice", "alice")
			path, err := program()
			if err != nil {
				t.Fatal(err)
			}
			trace := filepath.Join(dir, "trace")
			p := &child{Cmd: exec.CommandContext(t.Context(), "strace", "-f", "-y", "-ttt", "-e", "trace=write,fsync,fdatasync,renameat,renameat2", "-o", trace,
				path, "record", "--out", dir, "--session", "s", "--until-empty", "200ms", "--fsync", policy,
				"--partial-suffix", ".part", "--rotate-every", "2s", url)}
			p.Stdout, p.Stderr = &p.stdout, &p.stderr
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			stopAfter(t, alice, 7*time.Second)
			if code := p.exit(t); code != 0 {
				t.Fatalf("exit code %d\n%s", code, &p.stderr)
			}
			b, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(dir, "s")
			writes, unsynced := map[string]int{}, map[string]int{} // by file, since it was synced
			syncs, named, renames := 0, map[string]bool{}, 0
			var fresh []string // files whose name the folder's last sync does not hold
			for line := range strings.SplitSeq(string(b), "\n") {
				m := traced.FindStringSubmatch(line)
				if m == nil {
					continue
				}
				call, file := m[1], m[2]
				switch {
				case call == "write" && strings.HasPrefix(file, folder+"/alice"):
					if policy == "chunk" && unsynced[file] > 0 {
						t.Errorf("%s: a chunk was written after one that was not synced", filepath.Base(file))
					}
					if writes[file] == 0 {
						fresh = append(fresh, file)
					}
					writes[file]++
					unsynced[file]++
				case strings.HasSuffix(call, "sync"):
					syncs++
					unsynced[file] = 0
					if file == folder {
						for _, f := range fresh {
							named[f] = true
						}
						fresh = fresh[:0]
					}
				case strings.HasPrefix(call, "rename") && strings.Contains(m[3], "alice") || strings.HasPrefix(call, "rename") && strings.Contains(line, "alice"):
					renames++
					name := filepath.Join(folder, regexp.MustCompile(`"(alice[^"]*\.part)"`).FindStringSubmatch(line)[1])
					if policy != "never" && unsynced[name] > 0 {
						t.Errorf("%s has got its final name before it was synced", filepath.Base(name))
					}
					fresh = append(fresh, fmt.Sprint("the final name of ", filepath.Base(name)))
				}
			}
			if len(writes) < 3 || renames != len(writes) {
				t.Errorf("%d files written, %d renamed\n%.3000s", len(writes), renames, b)
			}
			if policy == "never" {
				if syncs > 0 {
					t.Errorf("%d syncs", syncs)
				}
				return
			}
			if len(fresh) > 0 {
				t.Errorf("the folder was not synced after %v", fresh)
			}
			for f := range writes {
				if !named[f] {
					t.Errorf("the folder was not synced after %s had been made", filepath.Base(f))
				}
			}
		})
	}
}

// stopAfter lets a participant leave when what it has sent is so long.
func stopAfter(t *testing.T, p *synthetic.Peer, d time.Duration) {
	t.Helper()
	waitFor(t, "a participant to have sent enough", time.Minute, func() bool {
		_, audio := p.Sent()
		return time.Duration(audio)*20*time.Millisecond >= d
	})
	p.Stop()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
