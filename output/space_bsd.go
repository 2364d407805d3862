//go:build darwin || dragonfly || freebsd || aix

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
	return spaceIn(int64(s.Bavail), int64(s.Blocks), int64(s.Bsize))
}
