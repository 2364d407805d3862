package peer

import (
	"encoding/binary"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

// flow is one source that we send on one connection, with that of its
// retransmissions: what was negotiated, what was sent and can be sent again. Whose
// it is guards it.
type flow struct {
	// 0 is nothing negotiated yet, or no such source or extension.
	ssrc, rtx            uint32
	clockRate            uint32
	payloadType, rtxType uint8
	captureID, dependID  uint8
	levelID              uint8

	rtxSequence     uint16
	timestamp       uint32 // of the latest packet
	packets, octets uint32
	history         history
}

// bind takes what was negotiated for a codec, and adds the sources to the estimate.
func (f *flow) bind(c webrtc.TrackLocalContext, codec media.Codec, estimate *estimator) (webrtc.RTPCodecParameters, error) {
	params, rtxType, ok := chooseFormat(c.CodecParameters(), codec)
	if !ok {
		return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
	}
	var twcc uint8
	for _, e := range c.HeaderExtensions() {
		switch e.URI {
		case uriTWCC:
			twcc = uint8(e.ID)
		case uriCaptureTime:
			f.captureID = uint8(e.ID)
		case uriAudioLevel:
			f.levelID = uint8(e.ID)
		case uriDependency:
			f.dependID = uint8(e.ID)
		}
	}
	f.ssrc, f.payloadType, f.clockRate = uint32(c.SSRC()), uint8(params.PayloadType), params.ClockRate
	estimate.add(f.ssrc, twcc, c.WriteStream())
	if rtx := uint32(c.SSRCRetransmission()); rtx != 0 && rtxType != 0 {
		f.rtx, f.rtxType = rtx, rtxType
		estimate.add(f.rtx, twcc, c.WriteStream())
	}
	return params, nil
}

// packet counts and keeps a packet that is about to be sent, and gives its header.
// The payload and the dependency descriptor, which may be empty, are kept.
func (f *flow) packet(sequence uint16, timestamp uint32, marker bool, payload, dependency []byte) rtp.Header {
	p := sent{
		payload: payload, dependency: dependency,
		timestamp: timestamp, sequence: sequence, payloadType: f.payloadType, marker: marker,
	}
	f.timestamp = timestamp
	f.packets++
	f.octets += uint32(len(payload))
	f.history.put(p, f.clockRate)
	return f.header(&p)
}

// header gives that of a packet as it was sent first, without extensions.
func (f *flow) header(p *sent) rtp.Header {
	return rtp.Header{
		Version: 2, PayloadType: p.payloadType, SequenceNumber: p.sequence,
		Timestamp: p.timestamp, SSRC: f.ssrc, Marker: p.marker,
	}
}

// repeat gives a packet of the history as it is sent again: as RFC 4588 §4 has it
// when that was negotiated, else as it was. Of header extensions it has the dependency
// descriptor, without which a receiver would not know what the packet belongs to.
func (f *flow) repeat(p *sent) (rtp.Header, []byte) {
	h, payload := f.header(p), p.payload
	if f.rtx != 0 {
		payload = append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(p.payload)), h.SequenceNumber), p.payload...)
		h.SSRC, h.PayloadType, h.SequenceNumber = f.rtx, f.rtxType, f.rtxSequence
		f.rtxSequence++
	}
	if f.dependID != 0 && len(p.dependency) > 0 {
		_ = h.SetExtension(f.dependID, p.dependency) // it fitted before
	}
	return h, payload
}

// pad is padding that fills a packet: the last byte says how much (RFC 3550 §5.1).
var pad = [padding]byte{padding - 1: padding}

// padding gives the header of a packet of the source of retransmissions that has
// nothing but padding: who receives it knows that nothing is missing.
func (f *flow) padding() rtp.Header {
	h := rtp.Header{
		Version: 2, Padding: true, PayloadType: f.rtxType, SequenceNumber: f.rtxSequence, Timestamp: f.timestamp, SSRC: f.rtx,
	}
	f.rtxSequence++
	return h
}

// report gives a sender report (RFC 3550 §6.4.1), or nil before the first packet.
func (f *flow) report(ntp uint64, timestamp uint32) *rtcp.SenderReport {
	if f.ssrc == 0 || f.packets == 0 {
		return nil
	}
	return &rtcp.SenderReport{
		SSRC: f.ssrc, NTPTime: ntp, RTPTime: timestamp, PacketCount: f.packets, OctetCount: f.octets,
	}
}
