package main

import "github.com/urfave/cli/v2"

// defaultDiskFloor is the free space at which every file is finished, and
// smallDisk the part of a small disk that is enough instead.
const (
	defaultDiskFloor = 16_000_000
	smallDisk        = 20
)

// diskOptionsOf reads the values of --disk-reserve and --disk-floor; its errors
// are usage errors. A floor of less than 0 is the default.
func diskOptionsOf(c *cli.Context) (reserve, floor int64, err error) {
	reserve, ok := parseBytes(c.String("disk-reserve"))
	if !ok {
		return 0, 0, usagef("--disk-reserve %q is no size in bytes, such as 200M or 1GiB", c.String("disk-reserve"))
	}
	floor = -1
	if c.IsSet("disk-floor") {
		if floor, ok = parseBytes(c.String("disk-floor")); !ok {
			return 0, 0, usagef("--disk-floor %q is no size in bytes, such as 16M", c.String("disk-floor"))
		}
	}
	return reserve, floor, nil
}

// floor gives the free space at which every file is finished: what was asked
// for, or what suits the disk.
func (s *sink) floor(asked int64) int64 {
	if asked >= 0 || s.space == nil {
		return asked
	}
	space, err := s.space()
	if err != nil {
		return defaultDiskFloor // the session will see what it can see
	}
	return min(defaultDiskFloor, space.Size/smallDisk)
}
