package peer

// DTLS, as in the first bytes of a record (RFC 6347 §4.1).
const (
	dtlsHeader          = 13
	dtlsApplicationData = 23
)

// forged tells whether a datagram has a DTLS record that no peer sends:
// application data of epoch 0, which is not encrypted. pion would end the
// connection by it, though anybody can send it, and a flipped bit makes it out of
// what a peer has sent; such records are to be discarded (RFC 6347 §4.1.2.7).
func forged(b []byte) bool {
	if len(b) == 0 || b[0] < 20 || b[0] > 63 { // no DTLS (RFC 7983 §7)
		return false
	}
	for len(b) >= dtlsHeader {
		if b[0] == dtlsApplicationData && b[3] == 0 && b[4] == 0 {
			return true
		}
		b = b[min(dtlsHeader+int(b[11])<<8+int(b[12]), len(b)):]
	}
	return false
}
