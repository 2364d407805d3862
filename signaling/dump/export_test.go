package dump

import (
	"bytes"
	"context"
	"io"
	"os"
	"time"
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

// Datagram is a UDP datagram of a file.
type Datagram struct {
	At   time.Time
	Data []byte
}

// Datagrams gives those in a file.
func Datagrams(b []byte) ([]Datagram, error) {
	src, err := openSource("dump", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var out []Datagram
	for {
		var d datagram
		if err := src.next(&d); err == io.EOF {
			return out, nil
		} else if err != nil {
			return out, err
		}
		if d.other == "" {
			out = append(out, Datagram{d.at, bytes.Clone(d.data)})
		}
	}
}
