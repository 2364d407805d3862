package peer

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

// outgoing is one track to one viewer. It implements webrtc.TrackLocal, whose
// way it sends by; what pion asks of it is guarded by the feed's lock.
type outgoing struct {
	feed     *feed
	kind     media.Kind
	codec    media.Codec
	base     uint32 // the RTP timestamp of the publication's epoch
	sequence uint16
	flow
}

// Bind implements webrtc.TrackLocal: the descriptions are exchanged.
func (o *outgoing) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	o.feed.mu.Lock()
	defer o.feed.mu.Unlock()
	return o.bind(c, o.codec, o.feed.estimate)
}

// chooseFormat gives the payload type that frames of a codec fit, and its RTX's.
func chooseFormat(params []webrtc.RTPCodecParameters, codec media.Codec) (p webrtc.RTPCodecParameters, rtx uint8, ok bool) {
	for _, p := range params {
		_, name, _ := strings.Cut(p.MimeType, "/")
		if media.ParseCodec(name) != codec || !fits(codec, p.SDPFmtpLine) {
			continue
		}
		for _, r := range params {
			if strings.EqualFold(r.MimeType, webrtc.MimeTypeRTX) && r.SDPFmtpLine == fmt.Sprintf("apt=%d", p.PayloadType) {
				return p, uint8(r.PayloadType), true
			}
		}
		return p, 0, true
	}
	return p, 0, false
}

// fits tells whether what we send is of the profile that these parameters name.
func fits(c media.Codec, fmtp string) bool {
	switch c {
	case media.VP9:
		return !strings.Contains(fmtp, "profile-id=") || strings.Contains(fmtp, "profile-id=0")
	case media.H264:
		return strings.Contains(fmtp, "packetization-mode=1")
	}
	return true
}

// Unbind implements webrtc.TrackLocal.
func (o *outgoing) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (o *outgoing) ID() string { return o.feed.pub.TrackID(o.kind) }

// RID implements webrtc.TrackLocal.
func (o *outgoing) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (o *outgoing) StreamID() string { return o.feed.pub.cfg.Stream }

// Kind implements webrtc.TrackLocal.
func (o *outgoing) Kind() webrtc.RTPCodecType { return pionKind(o.kind) }

// timestamp gives the RTP timestamp of an instant.
func (o *outgoing) timestamp(at time.Time) uint32 {
	since := at.Sub(o.feed.pub.epoch)
	rate := int64(o.codec.ClockRate())
	whole, rest := int64(since/time.Second), int64(since%time.Second)
	return o.base + uint32(whole*rate+(rest*rate+int64(time.Second)/2)/int64(time.Second))
}

// send sends the i-th packet of a frame, and gives its size in bytes.
func (o *outgoing) send(b *burst, i int) int {
	s := o.feed
	s.mu.Lock()
	if o.ssrc == 0 { // not negotiated with this viewer
		s.mu.Unlock()
		return 0
	}
	payload := b.payloads[i]
	h := o.packet(o.sequence, o.timestamp(b.captured), b.kind == media.Video && i == len(b.payloads)-1, payload, nil)
	o.sequence++
	s.packets++
	s.mu.Unlock()
	if i == 0 && o.captureID != 0 {
		_ = h.SetExtension(o.captureID, binary.BigEndian.AppendUint64(nil, ntpTime(b.captured))) // 8 bytes always fit
	}
	_ = s.estimate.write(&h, payload) // a connection that is down tells so elsewhere
	return len(payload)
}

// ntpTime gives an instant as a 64-bit NTP timestamp (RFC 3550 §4).
func ntpTime(t time.Time) uint64 {
	const epoch = 2_208_988_800 // seconds from 1900 to 1970
	seconds := uint64(t.Unix() + epoch)
	return seconds<<32 | uint64(t.Nanosecond())<<32/1e9
}
