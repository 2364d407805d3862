package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// dirFile is a file of a Dir.
type dirFile struct {
	dir       *Dir
	file      *os.File
	name, ext string // as they were given to Create
	final     string
	named     bool // the folder has been synced
}

func (f *dirFile) Name() string { return f.final }

func (f *dirFile) Write(b []byte) (int, error) { return f.file.Write(b) }

// WriteAt implements io.WriterAt.
func (f *dirFile) WriteAt(b []byte, offset int64) (int, error) { return f.file.WriteAt(b, offset) }

// Truncate cuts the file off after size bytes.
func (f *dirFile) Truncate(size int64) error { return f.file.Truncate(size) }

func (f *dirFile) Sync() error {
	if f.dir.opts.NoSync {
		return nil
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("output: syncing %q: %w", f.final, err)
	}
	if f.named {
		return nil
	}
	f.named = true
	return f.dir.syncDirs(path.Dir(f.final))
}

func (f *dirFile) Close() error {
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("output: closing %q: %w", f.final, err)
	}
	suffix := f.dir.opts.PartialSuffix
	if suffix == "" {
		return nil
	}
	partial := f.final + suffix
	for i := range maxCopies {
		if i > 0 {
			f.final = numbered(f.name, i) + f.ext
		}
		err := renameNew(f.dir.root, partial, f.final)
		if err == nil {
			return f.dir.syncDir(path.Dir(f.final))
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("output: renaming %q to %q: %w", partial, f.final, err)
		}
	}
	return fmt.Errorf("output: renaming %q: %w", partial, fs.ErrExist)
}

// linkNew gives a file a new name in the same folder where no file has it, and
// takes the old name away.
func linkNew(root *os.Root, from, to string) error {
	err := root.Link(from, to)
	if err == nil {
		return root.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: take the name with an empty file first.
	f, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return root.Rename(from, to)
}
