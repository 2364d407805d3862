package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomtape/roomtape/recorder"
)

// replayStdin replays a dump that comes through stdin.
func replayStdin(t *testing.T, want int, content []byte, args ...string) (r replayed, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"roomtape", "replay", "--json", "--log-level", "error"}, append(args, "-")...)
	// A reader that is nothing more, as a pipe is.
	in := struct{ *bytes.Buffer }{bytes.NewBuffer(content)}
	if got := run(t.Context(), args, stdio{in, &out, &errs}); got != want {
		t.Fatalf("exit code %d, want %d\n%s", got, want, &errs)
	}
	if want == exitOK {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
	}
	return r, errs.String()
}

// What comes through a pipe gives the bytes that the file gives.
func TestStdinReplaysAsTheFile(t *testing.T) {
	for _, c := range replayCases {
		if len(c.files) > 1 {
			continue
		}
		t.Run(c.name(), func(t *testing.T) {
			content, err := os.ReadFile(c.paths(t)[0])
			if err != nil {
				t.Fatal(err)
			}
			want, _ := replayFile(t, "--name", "call", c.paths(t)[0])
			got, _ := replayStdin(t, exitOK, content, "--out", t.TempDir(), "--name", "call")
			if w, g := digests(want.Manifest), digests(got.Manifest); w != g || w == "" {
				t.Errorf("%s, want %s", g, w)
			}
		})
	}
}

func digests(m recorder.Manifest) string {
	var all []string
	for _, f := range m.Files {
		all = append(all, f.Path+" "+f.SHA256)
	}
	return strings.Join(all, ", ")
}

// The recording of stdin goes to the current folder, and is called so.
func TestStdinReplaysHere(t *testing.T) {
	c := replayCases[3]
	content, err := os.ReadFile(c.paths(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	replayStdin(t, exitOK, content)
	if got, err := filepath.Glob("stdin-*.webm"); err != nil || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}

// What can't be kept for the second pass is a failure of storage.
func TestStdinNeedsRoomForACopy(t *testing.T) {
	c := replayCases[3]
	content, err := os.ReadFile(c.paths(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nowhere"))
	_, stderr := replayStdin(t, exitStorage, content, "--out", t.TempDir())
	if !strings.Contains(stderr, "keeping what the pipe gives") {
		t.Errorf("it says %q", stderr)
	}
}

// A Janus file that goes on as its beginning did not promise gives what a reading
// of all of it gives, and nothing is left of the first try.
func TestUnforeseenDumpIsReplayedAnew(t *testing.T) {
	b := []byte("MJR00002\x00\x23" + `{"t":"a","c":"opus","u":1700000000}`)
	for i := range 3000 {
		p := []byte{0x80, 111, byte(i >> 8), byte(i)}
		p = binary.BigEndian.AppendUint32(p, uint32(960*i))
		p = append(p, 0, 0, 0, byte(1+i/2900), 0xfc, byte(i))
		b = binary.BigEndian.AppendUint32(append(b, "MEET"...), uint32(20*i))
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	file := filepath.Join(t.TempDir(), "call.mjr")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	want, _ := replayStdin(t, exitOK, b, "--out", t.TempDir(), "--name", "call")
	got, dir := replayFile(t, "--name", "call", file)
	if w, g := digests(want.Manifest), digests(got.Manifest); w != g || len(got.Dump.Streams) != 2 {
		t.Errorf("%s, want %s", g, w)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != len(got.Files) {
		t.Errorf("%v, %v", files, err)
	}
}
