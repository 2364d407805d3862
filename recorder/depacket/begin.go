package depacket

import "github.com/roomtape/roomtape/media"

// BeginsKeyframe tells whether an RTP payload is the beginning of a keyframe, by
// what can be seen of it alone: for VP8 and VP9 the first packet of one,
// for AV1 of a coded video sequence, for H264 one with a sequence
// parameter set or the beginning of an IDR picture. It is false for every other
// codec, and may be wrong about what a depacketizer would refuse.
func BeginsKeyframe(codec media.Codec, payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	switch codec {
	case media.VP8:
		var d vp8Descriptor
		n, ok := parseVP8Descriptor(payload, &d)
		return ok && d.start && payload[n]&1 == 0 // RFC 6386 §9.1
	case media.VP9:
		// The descriptor's P bit does not tell: some senders never set it.
		var d vp9Descriptor
		var h vp9Header
		n, ok := parseVP9Descriptor(payload, &d)
		return ok && d.begin && d.sid == 0 && parseVP9Header(payload[n:], &h) && h.key
	case media.AV1:
		const n = 0x08 // new coded video sequence
		return payload[0]&n != 0
	case media.H264:
		return hasNAL(payload, nalIDR, nalSPS)
	}
	return false
}

// BeginsStream tells whether a receiver may begin with an RTP payload: it is the
// beginning of a keyframe, and of H264, unless sets says that the parameter sets
// are known already, it brings one. Many senders give them a packet of their own
// before the picture's first, which then is of no use alone.
func BeginsStream(codec media.Codec, payload []byte, sets bool) bool {
	if codec == media.H264 && !sets && len(payload) > 0 {
		return hasNAL(payload, nalSPS, nalSPS)
	}
	return BeginsKeyframe(codec, payload)
}

// hasNAL looks for NAL units of two types, into aggregated ones and at the first
// fragment of one (RFC 6184 §5.7.1, §5.8).
func hasNAL(b []byte, one, other byte) bool {
	sought := func(header byte) bool { return header&0x1f == one || header&0x1f == other }
	switch b[0] & 0x1f {
	case nalSTAPA:
		for b = b[1:]; len(b) > 2; {
			if sought(b[2]) {
				return true
			}
			b = b[min(2+int(b[0])<<8|int(b[1]), len(b)):]
		}
		return false
	case nalFUA:
		return len(b) > 1 && b[1]&0x80 != 0 && sought(b[1])
	}
	return sought(b[0])
}
