//go:build netbsd || solaris

package output

import (
	"os"

	"golang.org/x/sys/unix"
)

func spaceOf(f *os.File) (Space, error) {
	var s unix.Statvfs_t
	if err := unix.Fstatvfs(int(f.Fd()), &s); err != nil {
		return Space{}, err
	}
	return spaceIn(int64(s.Bavail), int64(s.Blocks), int64(s.Frsize))
}
