package dump

import "encoding/binary"

// What a datagram is (RFC 7983 §7, RFC 5761 §4).
const (
	isRTP  = ""
	isRTCP = "RTCP"
	isSTUN = "STUN"
	isDTLS = "DTLS"
	isTURN = viaChannel
	isText = "SIP or SDP"
	isElse = "other datagrams"
)

const stunCookie = 0x2112a442

// classify tells what a datagram is by its first bytes.
func classify(b []byte) string {
	if len(b) < 8 {
		return isElse
	}
	switch first := b[0]; {
	case first>>6 == 2:
		if b[1] >= 192 && b[1] <= 223 {
			return isRTCP
		}
		if len(b) < 12 {
			return isElse
		}
		return isRTP
	case first < 4 && len(b) >= 20 && (binary.BigEndian.Uint32(b[4:]) == stunCookie || int(binary.BigEndian.Uint16(b[2:])) == len(b)-20):
		return isSTUN
	case first >= 20 && first < 64 && len(b) >= 13 && (b[1] == 254 || b[1] == 1):
		return isDTLS
	case first >= 64 && first < 80 && int(binary.BigEndian.Uint16(b[2:])) <= len(b)-4 && len(b)-4-int(binary.BigEndian.Uint16(b[2:])) < 4:
		return isTURN
	case looksLikeSDP(b):
		return isText
	}
	return isElse
}
