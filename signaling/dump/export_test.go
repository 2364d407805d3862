package dump

import (
	"bytes"
	"context"
	"io"
	"os"
)

// OpenBytes is Open of what would be in files, by name.
func OpenBytes(ctx context.Context, names []string, content map[string][]byte, cfg Config) (*Room, error) {
	return open(ctx, names, cfg, func(name string) (io.ReadCloser, error) {
		b, ok := content[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	})
}
