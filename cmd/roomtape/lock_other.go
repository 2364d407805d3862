//go:build !unix

package main

import (
	"errors"
	"os"
)

// lockFolder fails where folders have no locks.
func lockFolder(*os.File) (taken bool, err error) { return false, errors.ErrUnsupported }
