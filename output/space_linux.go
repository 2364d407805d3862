package output

import (
	"os"

	"golang.org/x/sys/unix"
)

func spaceOf(f *os.File) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return Space{}, err
	}
	size := int64(s.Frsize) //nolint:unconvert // narrower on some systems
	if size == 0 {
		size = int64(s.Bsize) //nolint:unconvert // narrower on some systems
	}
	return spaceIn(int64(s.Bavail), int64(s.Blocks), size)
}
