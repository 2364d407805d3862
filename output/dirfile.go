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
	file      *os.File // nil until the first Write
	name, ext string   // as they were given to Create
	final     string
	named     bool // the folder has been synced
	closed    bool
}

func (f *dirFile) Name() string { return f.final }

func (f *dirFile) Write(b []byte) (int, error) {
	if err := f.open(); err != nil {
		return 0, err
	}
	return f.file.Write(b)
}

// WriteAt implements io.WriterAt.
func (f *dirFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.open(); err != nil {
		return 0, err
	}
	return f.file.WriteAt(b, offset)
}

// Truncate cuts the file off after size bytes.
func (f *dirFile) Truncate(size int64) error {
	if f.file == nil {
		return nil
	}
	return f.file.Truncate(size)
}

// open makes the file appear.
func (f *dirFile) open() error {
	if f.closed {
		return fmt.Errorf("output: writing %q: %w", f.final, fs.ErrClosed)
	}
	if f.file != nil {
		return nil
	}
	for i := range maxCopies {
		if i > 0 && !f.rename(i) {
			continue
		}
		file, err := f.dir.root.OpenFile(f.partial(), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if err == nil {
			f.file = file
			delete(f.dir.promised, f.final)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("output: making file %q: %w", f.partial(), err)
		}
	}
	return fmt.Errorf("output: making file %q: %w", f.name+f.ext, fs.ErrExist)
}

// partial is the name that the file has while it is written.
func (f *dirFile) partial() string { return f.final + f.dir.opts.PartialSuffix }

// rename chooses another final name, unless that is promised to another file.
func (f *dirFile) rename(i int) bool {
	final := numbered(f.name, i) + f.ext
	if f.dir.promised[final] {
		return false
	}
	delete(f.dir.promised, f.final)
	f.final = final
	return true
}

func (f *dirFile) Sync() error {
	if f.dir.opts.NoSync || f.file == nil {
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
	if f.closed {
		return fmt.Errorf("output: closing %q: %w", f.final, fs.ErrClosed)
	}
	f.closed = true
	delete(f.dir.promised, f.final)
	if f.file == nil {
		return nil
	}
	info, err := f.file.Stat()
	empty := err == nil && info.Size() == 0
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("output: closing %q: %w", f.final, err)
	}
	if empty {
		if err := f.dir.root.Remove(f.partial()); err != nil {
			return fmt.Errorf("output: removing the empty file %q: %w", f.final, err)
		}
		return nil
	}
	if f.dir.opts.PartialSuffix == "" {
		return nil
	}
	return f.finalize()
}

// finalize takes the PartialSuffix away.
func (f *dirFile) finalize() error {
	partial := f.partial()
	for i := range maxCopies {
		if i > 0 && !f.rename(i) {
			continue
		}
		err := renameNew(f.dir.root, partial, f.final)
		if err == nil {
			return f.dir.syncDirs(path.Dir(f.final))
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
