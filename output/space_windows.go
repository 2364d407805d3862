package output

import (
	"os"

	"golang.org/x/sys/windows"
)

func spaceOf(f *os.File) (Space, error) {
	path, err := windows.UTF16PtrFromString(f.Name())
	if err != nil {
		return Space{}, err
	}
	var free, size, all uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &size, &all); err != nil {
		return Space{}, err
	}
	return spaceIn(int64(free), int64(size), 1)
}
