package guest

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

type rtcpPacket = rtcp.Packet

const (
	// kept is how many packets can be sent again.
	kept = 1024
	// probeEvery is after how many pictures the way is probed.
	probeEvery = 40
)

// flow is one source with that of its retransmissions. It implements
// webrtc.TrackLocal.
type flow struct {
	codec     media.Codec
	id, rid   string
	payloader *payloader
	base      uint32 // RTP timestamp at zero
	zero      time.Time

	mu        sync.Mutex
	out       webrtc.TrackLocalWriter
	mid       string
	ids       map[string]uint8 // of the header extensions
	ssrc, rtx uint32
	pt, rtxPT uint8
	sequence  uint16
	rtxNumber uint16
	history   [kept]rtp.Packet
	packets   uint32
	octets    uint32

	known   map[uint32]bool // the sources that somebody has reported on
	off     bool
	wantKey bool
	at      int // place in the clip
	sent    []Sent
	asked   int
	again   int
}

func newFlow(codec media.Codec, id, rid string, random *rand.Rand) *flow {
	// Whoever misses packets before a wrap to 0 can't decrypt (RFC 3711 §3.3.1).
	return &flow{
		codec: codec, id: id, rid: rid, base: random.Uint32(), zero: time.Now(),
		sequence: uint16(random.IntN(1 << 15)), rtxNumber: uint16(random.IntN(1 << 15)), known: map[uint32]bool{},
	}
}

// Bind implements webrtc.TrackLocal.
func (f *flow) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var chosen webrtc.RTPCodecParameters
	for _, p := range c.CodecParameters() {
		if _, name, _ := strings.Cut(p.MimeType, "/"); media.ParseCodec(name) == f.codec {
			chosen = p
		}
	}
	if chosen.PayloadType == 0 {
		return chosen, webrtc.ErrUnsupportedCodec
	}
	f.ids = map[string]uint8{}
	for _, e := range c.HeaderExtensions() {
		f.ids[e.URI] = uint8(e.ID)
	}
	f.ssrc, f.rtx = uint32(c.SSRC()), uint32(c.SSRCRetransmission())
	f.pt, f.rtxPT, f.out = uint8(chosen.PayloadType), uint8(chosen.PayloadType)+1, c.WriteStream()
	return chosen, nil
}

// Unbind implements webrtc.TrackLocal.
func (f *flow) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (f *flow) ID() string { return f.id }

// RID implements webrtc.TrackLocal.
func (f *flow) RID() string { return f.rid }

// StreamID implements webrtc.TrackLocal.
func (f *flow) StreamID() string { return "stream" }

// Kind implements webrtc.TrackLocal.
func (f *flow) Kind() webrtc.RTPCodecType {
	if f.codec.Kind() == media.Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// name says which m-line the flow is of.
func (f *flow) name(mid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mid = mid
}

// timestamp gives the RTP timestamp of an instant.
func (f *flow) timestamp(at time.Time) uint32 {
	return f.base + uint32(at.Sub(f.zero)*time.Duration(f.codec.ClockRate()/1000)/time.Millisecond)
}

// ntp gives an instant in 32.32 fixed point since 1900.
func ntp(t time.Time) uint64 {
	const epoch = 2208988800
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// show sends the clip's next picture, or its next keyframe if that was asked for.
func (f *flow) show(c *Clip, place int, due time.Time) {
	f.mu.Lock()
	if f.off {
		f.mu.Unlock()
		return
	}
	for f.wantKey && !c.Pictures[f.at].Key {
		f.at = (f.at + 1) % len(c.Pictures)
	}
	f.wantKey = false
	p := &c.Pictures[f.at]
	f.sent = append(f.sent, Sent{Clip: place, Picture: f.at, At: due})
	f.at = (f.at + 1) % len(c.Pictures)
	f.mu.Unlock()
	f.send(due, f.payloader.payloads(p), true)
}

// send sends what was captured at an instant, with the marker on the last packet
// of a picture, or where somebody begins to speak.
func (f *flow) send(captured time.Time, payloads [][]byte, marker bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, b := range payloads {
		h := f.header(f.pt, f.ssrc, f.sequence, f.timestamp(captured))
		f.sequence++
		h.Marker = marker && i == len(payloads)-1
		f.extend(&h, sdp.SDESRTPStreamIDURI)
		if id := f.ids[uriCaptureTime]; id != 0 && i == 0 {
			_ = h.SetExtension(id, binary.BigEndian.AppendUint64(nil, ntp(captured)))
		}
		if id := f.ids[sdp.AudioLevelURI]; id != 0 && f.codec.Kind() == media.Audio {
			_ = h.SetExtension(id, []byte{0x80 | 30})
		}
		f.history[h.SequenceNumber%kept] = rtp.Packet{Header: h, Payload: b}
		f.packets++
		f.octets += uint32(len(b))
		f.write(&h, b)
	}
}

func (f *flow) header(pt uint8, ssrc uint32, sequence uint16, timestamp uint32) rtp.Header {
	return rtp.Header{Version: 2, PayloadType: pt, SSRC: ssrc, SequenceNumber: sequence, Timestamp: timestamp}
}

// extend says which m-line and encoding a packet is of, as long as that is not
// known.
func (f *flow) extend(h *rtp.Header, rid string) {
	if f.known[h.SSRC] {
		return
	}
	if id := f.ids[sdp.SDESMidURI]; id != 0 {
		_ = h.SetExtension(id, []byte(f.mid))
	}
	if id := f.ids[rid]; id != 0 && f.rid != "" {
		_ = h.SetExtension(id, []byte(f.rid))
	}
}

// write is called locked. The header is given away: interceptors add to it.
func (f *flow) write(h *rtp.Header, payload []byte) {
	copied := h.Clone()
	_, _ = f.out.WriteRTP(&copied, payload) // without a way it is lost, as with any sender
}

// repeat sends a packet again (RFC 4588 §4). It is called locked.
func (f *flow) repeat(sequence uint16) bool {
	p := &f.history[sequence%kept]
	if f.rtx == 0 || p.SSRC == 0 || p.SequenceNumber != sequence {
		return false
	}
	h := f.header(f.rtxPT, f.rtx, f.rtxNumber, p.Timestamp)
	h.Marker = p.Marker
	f.rtxNumber++
	f.extend(&h, sdp.SDESRepairRTPStreamIDURI)
	f.write(&h, append(binary.BigEndian.AppendUint16(nil, sequence), p.Payload...))
	return true
}

// probe sends the latest packets again though nobody has asked, and padding, as
// who wants to know whether more gets through.
func (f *flow) probe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off || f.packets < 3 || f.rtx == 0 {
		return
	}
	for back := range uint16(3) {
		f.repeat(f.sequence - 3 + back)
	}
	last := f.history[(f.sequence-1)%kept]
	h := f.header(f.rtxPT, f.rtx, f.rtxNumber, last.Timestamp)
	f.rtxNumber++
	h.Padding, h.PaddingSize = true, 224
	f.extend(&h, sdp.SDESRepairRTPStreamIDURI)
	f.write(&h, nil)
	// Between two pictures, where Chromium may pad the source itself.
	h = f.header(f.pt, f.ssrc, f.sequence, last.Timestamp)
	f.sequence++
	h.Padding, h.PaddingSize = true, 224
	f.extend(&h, sdp.SDESRTPStreamIDURI)
	f.history[h.SequenceNumber%kept] = rtp.Packet{Header: h}
	f.write(&h, nil)
}

// report gives a sender report (RFC 3550 §6.4.1), or nil when there is nothing to
// report.
func (f *flow) report(now time.Time) *rtcp.SenderReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off || f.packets == 0 {
		return nil
	}
	return &rtcp.SenderReport{SSRC: f.ssrc, NTPTime: ntp(now), RTPTime: f.timestamp(now), PacketCount: f.packets, OctetCount: f.octets}
}

// listen obeys the RTCP that concerns the source, until there is no more.
func (f *flow) listen(read func() ([]rtcp.Packet, interceptor.Attributes, error)) {
	for {
		packets, _, err := read()
		if err != nil {
			return
		}
		f.mu.Lock()
		for _, p := range packets {
			f.obey(p)
		}
		f.mu.Unlock()
	}
}

// obey is called locked.
func (f *flow) obey(p rtcp.Packet) {
	switch p := p.(type) {
	case *rtcp.PictureLossIndication:
		if p.MediaSSRC == f.ssrc {
			f.asked++
			f.wantKey = true
		}
	case *rtcp.TransportLayerNack:
		if p.MediaSSRC != f.ssrc {
			return
		}
		for _, pair := range p.Nacks {
			for _, n := range pair.PacketList() {
				if f.repeat(n) {
					f.again++
				}
			}
		}
	case *rtcp.ReceiverReport:
		for _, r := range p.Reports {
			f.known[r.SSRC] = true
		}
	}
}
