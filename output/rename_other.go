//go:build !linux

package output

import "os"

// renameNew renames a file within its folder, and fails with fs.ErrExist when
// there is one of the new name.
func renameNew(root *os.Root, from, to string) error { return linkNew(root, from, to) }
