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
	return spaceIn(s.F_bavail, int64(s.F_blocks), int64(s.F_bsize))
}
