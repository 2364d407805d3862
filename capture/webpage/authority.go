package webpage

import (
	"crypto/rand"
	"encoding/binary"
	"os"
)

// writeAuthority writes an X authority file with one random cookie for every
// display, readable by us alone: other users of the machine see nothing of what is
// shown.
func writeAuthority(path string) error {
	const wild = 0xffff // any host
	cookie := make([]byte, 16)
	_, _ = rand.Read(cookie) // it never fails
	b := binary.BigEndian.AppendUint16(nil, wild)
	for _, field := range [][]byte{nil, nil, []byte("MIT-MAGIC-COOKIE-1"), cookie} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return os.WriteFile(path, b, 0o600)
}
