package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"syscall"
)

const (
	// maxCopies is how many files of one name Create tells apart.
	maxCopies = 1_000_000
	// maxTaken is of how many names a Dir remembers the copies.
	maxTaken = 10_000
	// reserveSize is the least disk space kept for WriteFile on a full disk.
	reserveSize = 64 << 10
	// fileMode and dirMode are what the umask takes from.
	fileMode = 0o666
	dirMode  = 0o777
)

// DirOptions says how a Dir keeps its files. The zero value is ready for use.
type DirOptions struct {
	// PartialSuffix, such as ".part", is added to a file's name for as long as
	// it is written. Empty means that a file has its final name from its first
	// byte.
	PartialSuffix string
	// NoSync makes WriteFile and File.Sync leave it to the system when to
	// write to disk: quicker, and a power cut may cost more.
	NoSync bool
}

// Dir is a [Store] in a folder, which no name leads out of. Folders in a name
// are made as they are needed. It is used by one goroutine.
//
// A little disk space is kept back from the first WriteFile on, in a file that
// has no name, so that on a full disk WriteFile can still say what happened.
type Dir struct {
	root *os.Root
	opts DirOptions
	// promised has the names of files that have been created and have not
	// appeared yet.
	promised map[string]bool
	// taken is how many copies of a name have been found to be taken, so that
	// not all are looked at for each new one.
	taken   map[string]int
	reserve *os.File
	kept    int // size of reserve
}

var _ Store = (*Dir)(nil)

// OpenDir makes a Dir on root, which it does not close.
func OpenDir(root *os.Root, opts DirOptions) *Dir {
	return &Dir{root: root, opts: opts, promised: make(map[string]bool), taken: make(map[string]int)}
}

// Close gives the disk space back that is kept for WriteFile. Files that were
// created stay usable. The end of the program does the same.
func (d *Dir) Close() error {
	d.release()
	return nil
}

// MakeDir makes a new folder, with those above it, and returns its name: when
// it is taken, it gets the suffix -2, -3 and so on.
func (d *Dir) MakeDir(name string) (string, error) {
	if err := d.makeParents(name); err != nil {
		return "", err
	}
	for i := range maxCopies {
		got := numbered(name, i)
		err := d.root.Mkdir(got, dirMode)
		if err == nil {
			return got, d.syncDirs(path.Dir(got))
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("output: making folder %q: %w", got, err)
		}
	}
	return "", fmt.Errorf("output: making folder %q: %w", name, fs.ErrExist)
}

// Create makes a new file; see [Store]. The file is an io.WriterAt and has
// Truncate(int64) error. It appears in the folder with the first Write, so that
// a crash before leaves no empty file, and one that is empty when it is closed
// is removed. Should its name be taken by somebody else before it appears, or
// with a PartialSuffix before it is closed, it gets the next free one, and Name
// tells.
func (d *Dir) Create(name, ext string) (File, error) {
	if err := d.makeParents(name + ext); err != nil {
		return nil, err
	}
	f := &dirFile{dir: d, name: name, ext: ext}
	for i := d.taken[name+ext]; i < maxCopies; i++ {
		f.final = numbered(name, i) + ext
		if d.promised[f.final] || d.exists(f.final) || d.opts.PartialSuffix != "" && d.exists(f.final+d.opts.PartialSuffix) {
			continue
		}
		d.promised[f.final] = true
		if i > 0 && (d.taken[name+ext] > 0 || len(d.taken) < maxTaken) {
			d.taken[name+ext] = i
		}
		return f, nil
	}
	return nil, fmt.Errorf("output: making file %q: %w", name+ext, fs.ErrExist)
}

func (d *Dir) exists(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

// WriteFile replaces a file as a whole; see [Store]. When the disk is full, it
// uses the space kept back.
func (d *Dir) WriteFile(name string, data []byte) error {
	if err := d.makeParents(name); err != nil {
		return err
	}
	err := d.replace(name, data)
	if d.reserve != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		d.release()
		err = d.replace(name, data)
	}
	if err != nil {
		return fmt.Errorf("output: writing %q: %w", name, err)
	}
	d.keep(max(reserveSize, 2*len(data)))
	return nil
}

// replace writes a file beside the one that is meant, and renames it.
func (d *Dir) replace(name string, data []byte) error {
	dir, base := path.Split(name)
	temp := dir + "." + base + ".tmp"
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && !d.opts.NoSync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.root.Rename(temp, name)
	}
	if err != nil {
		_ = d.root.Remove(temp) // the first error is what matters
		return err
	}
	return d.syncDir(path.Dir(name))
}

// Open opens a file for reading; see [Store]. A file that is still being
// written is found by its Name too when it has a PartialSuffix.
func (d *Dir) Open(name string) (io.ReadCloser, error) {
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) && d.opts.PartialSuffix != "" {
		f, err = d.root.Open(name + d.opts.PartialSuffix)
	}
	if err != nil {
		return nil, fmt.Errorf("output: opening %q: %w", name, err)
	}
	return f, nil
}

func (d *Dir) makeParents(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("output: making %q: %w", name, fs.ErrInvalid)
	}
	if dir := path.Dir(name); dir != "." {
		if err := d.root.MkdirAll(dir, dirMode); err != nil {
			return fmt.Errorf("output: making folder %q: %w", dir, err)
		}
	}
	return nil
}

// syncDirs makes the names in a folder, and in those above it, survive a power
// cut.
func (d *Dir) syncDirs(name string) error {
	for {
		if err := d.syncDir(name); err != nil || name == "." {
			return err
		}
		name = path.Dir(name)
	}
}

func (d *Dir) syncDir(name string) error {
	if d.opts.NoSync {
		return nil
	}
	f, err := d.root.Open(name)
	if err != nil {
		return fmt.Errorf("output: syncing folder %q: %w", name, err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	// Some systems can't sync a folder, and need not.
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("output: syncing folder %q: %w", name, err)
	}
	return nil
}

// keep sees to it that size bytes of disk are kept back, if they are there, and
// some more, so that it need not do so again for every byte. The
// file's name is taken away at once, so that nothing is left of it whatever
// happens.
func (d *Dir) keep(size int) {
	if d.kept >= size {
		return
	}
	d.release()
	size += size / 2
	const name = ".reserve.tmp"
	_ = d.root.Remove(name) // what a crash may have left
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	err = d.root.Remove(name)
	if err == nil {
		_, err = f.Write(make([]byte, size))
	}
	if err != nil {
		_ = f.Close() // nothing can be kept back; WriteFile will tell if it matters
		_ = d.root.Remove(name)
		return
	}
	d.reserve, d.kept = f, size
}

func (d *Dir) release() {
	if d.reserve != nil {
		_ = d.reserve.Close() // it holds nothing
		d.reserve, d.kept = nil, 0
	}
}

// numbered gives a name its suffix: none, -2, -3 and so on.
func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + "-" + strconv.Itoa(i+1)
}
