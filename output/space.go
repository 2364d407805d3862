package output

import (
	"errors"
	"fmt"
)

// errNoSpaceKnown: the file system does not say how much room it has.
var errNoSpaceKnown = fmt.Errorf("the file system does not say: %w", errors.ErrUnsupported)

// Space is how much room a file system has, in bytes.
type Space struct {
	// Free is what this user can still write, Size what there is in all.
	Free, Size int64
}

// Space tells how much room there is where the files of the Dir are. The error
// wraps errors.ErrUnsupported where the system does not say.
func (d *Dir) Space() (Space, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return Space{}, fmt.Errorf("output: opening the folder: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only looked at
	s, err := spaceOf(f)
	if err != nil {
		return Space{}, fmt.Errorf("output: asking for free disk space: %w", err)
	}
	return s, nil
}

// spaceIn makes a Space of blocks of a size. What can't be right, such as a file
// system of no size, is nothing known.
func spaceIn(free, all, size int64) (Space, error) {
	const most = 1 << 62
	if all <= 0 || size <= 0 || all > most/size {
		return Space{}, errNoSpaceKnown
	}
	return Space{Free: min(max(free, 0), all) * size, Size: all * size}, nil
}
