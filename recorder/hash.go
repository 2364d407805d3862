package recorder

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Hash reads every file that is final back and adds its SHA-256 to the manifest.
// It is called after Run, by a caller who has the time: it takes as long as
// reading all that was recorded. When ctx is done it returns ctx's error, and
// the files hashed so far have theirs.
func (s *Session) Hash(ctx context.Context) error {
	var failed error
	hashed := false
	stopped := s.eachFile(func(d *doneFile, r *recording) error {
		var path string
		switch {
		case d != nil && d.hashable:
			path = d.path
		case r != nil && r.closed && r.digest == "" && r.readable():
			path = r.file.Name()
		default:
			return nil
		}
		digest, err := s.digest(ctx, path)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && d != nil {
			err = d.setDigest(digest)
		}
		if err != nil {
			failed = cmp.Or(failed, fmt.Errorf("%w: hashing: %w", ErrStorage, err))
			return nil
		}
		if r != nil {
			r.digest = digest
		}
		hashed = true
		return nil
	})
	failed = cmp.Or(stopped, failed)
	if hashed {
		if err := s.writeManifest(); err != nil && failed == nil {
			failed = fmt.Errorf("%w: %w", ErrStorage, err)
		}
	}
	return failed
}

// hashBlock is how much is hashed between two looks at the context.
const hashBlock = 1 << 20

func (s *Session) digest(ctx context.Context, name string) (string, error) {
	f, err := s.cfg.Store.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	for ctx.Err() == nil {
		_, err := io.CopyN(h, f, hashBlock)
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", ctx.Err()
}
