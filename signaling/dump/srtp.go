package dump

import (
	"fmt"

	"github.com/pion/srtp/v3"
)

const (
	srtpKeySize  = 16
	srtpSaltSize = 14
)

// cipher decrypts SRTP (RFC 3711) with one key for all. A nil cipher lets
// everything pass as it is.
type cipher struct {
	key      []byte
	contexts map[streamKey]*srtp.Context
	buf      []byte
	// fits and fails count the RTP packets that the key fits, and the others.
	fits, fails int64
}

func newCipher(key []byte) (*cipher, error) {
	if key == nil {
		return nil, nil //nolint:nilnil // nil is the cipher that does nothing
	}
	if len(key) != srtpKeySize+srtpSaltSize {
		return nil, fmt.Errorf("an SRTP key has %d bytes, %d of the key and %d of the salt; this has %d",
			srtpKeySize+srtpSaltSize, srtpKeySize, srtpSaltSize, len(key))
	}
	return &cipher{key: key, contexts: map[streamKey]*srtp.Context{}}, nil
}

func (c *cipher) context(k streamKey) *srtp.Context {
	if x := c.contexts[k]; x != nil {
		return x
	}
	if len(c.contexts) >= 2*MaxStreams {
		return nil
	}
	x, err := srtp.CreateContext(c.key[:srtpKeySize], c.key[srtpKeySize:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		return nil
	}
	c.contexts[k] = x
	return x
}

// rtp decrypts a packet of the stream. What it gives is valid until the next
// call.
func (c *cipher) rtp(k streamKey, b []byte) ([]byte, bool) {
	if c == nil {
		return b, true
	}
	x := c.context(k)
	if x == nil {
		return nil, false
	}
	out, err := x.DecryptRTP(c.buf[:0], b, nil)
	if err != nil {
		c.fails++
		return nil, false
	}
	c.fits++
	c.buf = out
	return out, true
}

// rtcp decrypts a compound packet; k has no SSRC.
func (c *cipher) rtcp(k streamKey, b []byte) ([]byte, bool) {
	if c == nil {
		return b, true
	}
	x := c.context(k)
	if x == nil {
		return nil, false
	}
	out, err := x.DecryptRTCP(c.buf[:0], b, nil)
	if err != nil {
		return nil, false
	}
	c.buf = out
	return out, true
}
