package output

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func openDir(t *testing.T, opts DirOptions) (*Dir, string) {
	t.Helper()
	path := t.TempDir()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	d := OpenDir(root, opts)
	t.Cleanup(func() {
		d.Close()
		root.Close()
	})
	return d, path
}

// list gives all files below a folder, slash-separated.
func list(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(path), ".", func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func create(t *testing.T, d *Dir, name, text string) File {
	t.Helper()
	f, err := d.Create(name, ".webm")
	if err != nil {
		t.Fatal(err)
	}
	if text != "" {
		if _, err := io.WriteString(f, text); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func finish(t *testing.T, f File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, d *Dir, name string) string {
	t.Helper()
	r, err := d.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDirNeverReplacesAFile(t *testing.T) {
	d, path := openDir(t, DirOptions{})
	if err := os.WriteFile(filepath.Join(path, "alice-2.webm"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b, c := create(t, d, "alice", "a"), create(t, d, "alice", "b"), create(t, d, "alice", "")
	if got := []string{a.Name(), b.Name(), c.Name()}; !slices.Equal(got, []string{"alice.webm", "alice-3.webm", "alice-4.webm"}) {
		t.Errorf("the names are %q", got)
	}
	// Somebody takes the name before the file appears.
	if err := os.WriteFile(filepath.Join(path, "alice-4.webm"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "c"); err != nil {
		t.Fatal(err)
	}
	if c.Name() != "alice-5.webm" {
		t.Errorf("the name is %q", c.Name())
	}
	for _, f := range []File{a, b, c} {
		finish(t, f)
	}
	for name, want := range map[string]string{"alice.webm": "a", "alice-2.webm": "old", "alice-3.webm": "b", "alice-4.webm": "other", "alice-5.webm": "c"} {
		if got := content(t, d, name); got != want {
			t.Errorf("%s holds %q; want %q", name, got, want)
		}
	}
}

// A recording of months has very many files of one name.
func TestDirTellsManyCopiesApart(t *testing.T) {
	const files = 12_000
	d, path := openDir(t, DirOptions{NoSync: true})
	for range files {
		finish(t, create(t, d, "alice", "x"))
	}
	if names := list(t, path); len(names) != files {
		t.Errorf("%d files of %d", len(names), files)
	}
	if f := create(t, d, "alice", "x"); f.Name() != "alice-12001.webm" {
		t.Errorf("the next is %q", f.Name())
	}
}

func TestDirFileAppearsWithItsFirstByte(t *testing.T) {
	d, path := openDir(t, DirOptions{})
	f := create(t, d, "room/now/bob", "")
	if got := list(t, path); len(got) != 0 {
		t.Errorf("before the first byte there is %q", got)
	}
	other := create(t, d, "room/now/bob", "")
	if f.Name() == other.Name() {
		t.Errorf("two files have the name %q", f.Name())
	}
	finish(t, other)
	if _, err := io.WriteString(f, "x"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, path); !slices.Equal(got, []string{"room/now/bob.webm"}) {
		t.Errorf("after the first byte there is %q", got)
	}
	finish(t, f)
	if _, err := f.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
}

func TestDirRemovesAFileWithNothingInIt(t *testing.T) {
	d, path := openDir(t, DirOptions{PartialSuffix: ".part"})
	f := create(t, d, "bob", "half a chunk")
	if err := f.(interface{ Truncate(int64) error }).Truncate(0); err != nil {
		t.Fatal(err)
	}
	finish(t, f)
	if got := list(t, path); len(got) != 0 {
		t.Errorf("what is left is %q", got)
	}
}

func TestDirPartialSuffix(t *testing.T) {
	d, path := openDir(t, DirOptions{PartialSuffix: ".part"})
	f := create(t, d, "s/alice", "one")
	if got := list(t, path); !slices.Equal(got, []string{"s/alice.webm.part"}) {
		t.Errorf("while it grows there is %q", got)
	}
	if got := content(t, d, f.Name()); got != "one" {
		t.Errorf("a growing file opened by its name holds %q", got)
	}
	// The final name is taken meanwhile.
	if err := os.WriteFile(filepath.Join(path, "s", "alice.webm"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	finish(t, f)
	if f.Name() != "s/alice-2.webm" || content(t, d, "s/alice-2.webm") != "one" || content(t, d, "s/alice.webm") != "other" {
		t.Errorf("the name is %q, among %q", f.Name(), list(t, path))
	}
}

func TestLinkNewReplacesNothing(t *testing.T) {
	d, path := openDir(t, DirOptions{})
	finish(t, create(t, d, "a", "a"))
	finish(t, create(t, d, "b", "b"))
	if err := linkNew(d.root, "a.webm", "b.webm"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("linking onto a file: %v", err)
	}
	if err := linkNew(d.root, "a.webm", "c.webm"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, path); !slices.Equal(got, []string{"b.webm", "c.webm"}) {
		t.Errorf("there is %q", got)
	}
}

func TestDirFileIsWrittenInPlace(t *testing.T) {
	d, _ := openDir(t, DirOptions{})
	f := create(t, d, "a", "hello world")
	if _, err := f.(io.WriterAt).WriteAt([]byte("J"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.(interface{ Truncate(int64) error }).Truncate(5); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	finish(t, f)
	if got := content(t, d, "a.webm"); got != "Jello" {
		t.Errorf("the file holds %q", got)
	}
}

func TestDirWriteFile(t *testing.T) {
	d, path := openDir(t, DirOptions{})
	for _, text := range []string{"long text", "short", strings.Repeat("x", 100_000)} {
		if err := d.WriteFile("room/now/manifest.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, d, "room/now/manifest.json"); got != text {
			t.Errorf("the file holds %.20q; want %.20q", got, text)
		}
	}
	if got := list(t, path); !slices.Equal(got, []string{"room/now/manifest.json"}) {
		t.Errorf("there is %q", got)
	}
}

func TestDirMakeDir(t *testing.T) {
	d, _ := openDir(t, DirOptions{})
	for _, want := range []string{"room/now", "room/now-2", "room/now-3"} {
		if got, err := d.MakeDir("room/now"); got != want || err != nil {
			t.Errorf("MakeDir gives %q, %v; want %q", got, err, want)
		}
	}
}

func TestDirStaysInside(t *testing.T) {
	d, path := openDir(t, DirOptions{})
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(path, "link")); err != nil {
		t.Skip(err)
	}
	for _, name := range []string{"../x", "/x", "a/../../x", "", ".", "a//b", "link/x"} {
		f, err := d.Create(name, "")
		if err == nil {
			_, err = f.Write([]byte("x"))
		}
		if err == nil {
			t.Errorf("a file can be made at %q", name)
		}
		if d.WriteFile(name, []byte("x")) == nil {
			t.Errorf("a file can be written at %q", name)
		}
	}
	if got := list(t, outside); len(got) != 0 {
		t.Errorf("outside there is %q", got)
	}
	if _, err := d.Open("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening nothing: %v", err)
	}
}

func TestDirFailsOnWhatCantBeMade(t *testing.T) {
	d, path := openDir(t, DirOptions{})
	if err := os.WriteFile(filepath.Join(path, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("file/x", ".webm"); err == nil {
		t.Error("a file can be made below a file")
	}
	if err := d.WriteFile("file", []byte("x")); err != nil {
		t.Errorf("replacing a file: %v", err)
	}
}

func TestStreamHoldsOneFile(t *testing.T) {
	var b strings.Builder
	s := NewStream(&b)
	f, err := s.Create("alice", ".webm")
	if err != nil || f.Name() != "alice.webm" {
		t.Fatal(f, err)
	}
	if _, ok := f.(io.WriterAt); ok {
		t.Error("a stream can be written in place")
	}
	if _, err := s.Create("bob", ".webm"); !errors.Is(err, ErrOneFile) {
		t.Errorf("a second file: %v", err)
	}
	if _, err := io.WriteString(f, "text"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), s.WriteFile("manifest.json", nil)); err != nil {
		t.Error(err)
	}
	if _, err := s.Open("alice.webm"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a stream: %v", err)
	}
	if b.String() != "text" {
		t.Errorf("the stream holds %q", b.String())
	}
}
