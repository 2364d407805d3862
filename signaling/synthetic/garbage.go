package synthetic

import (
	"encoding/binary"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// maxMessage is the line of a description that bounds messages (RFC 8841 §6.1).
var maxMessage = regexp.MustCompile(`a=max-message-size:\d+`)

// unbounded raises the other's bound on messages in its description.
func unbounded(sdp string) string {
	return maxMessage.ReplaceAllString(sdp, "a=max-message-size:2147483647")
}

// talk sends text that is no JSON on each data channel that the other opens,
// and then a message of 100 MB.
func talk(pc *webrtc.PeerConnection) {
	pc.OnDataChannel(func(dc *webrtc.DataChannel) {
		dc.OnOpen(func() {
			for _, text := range []string{"", "{", "\xff\x1b[31m\x00", strings.Repeat("[", 60_000)} {
				_ = dc.SendText(text) // the other may have had enough
			}
			_ = dc.Send(make([]byte, 100<<20))
		})
	})
}

// garbage makes what a track sends worthless.
type garbage struct{ pc *webrtc.PeerConnection }

// spoil changes a packet at random, and now and then sends an RTCP packet that
// says anything at all.
func (g *garbage) spoil(p *rtp.Packet) error {
	for i := range p.Payload {
		// Headers of payloads are more often nearly right than quite wrong.
		if i > 2 || rand.IntN(2) == 0 {
			p.Payload[i] = byte(rand.Uint32())
		}
	}
	p.Payload = p.Payload[:rand.IntN(len(p.Payload)+1)]
	switch rand.IntN(8) {
	case 0:
		p.SequenceNumber = uint16(rand.Uint32())
	case 1:
		p.Timestamp = rand.Uint32()
	case 2:
		p.Marker = !p.Marker
	case 3:
		return g.report()
	}
	return nil
}

// report sends RTCP whose header is right (RFC 3550 §6.4), so that it is not
// thrown away at the door.
func (g *garbage) report() error {
	b := make([]byte, 4*(2+rand.IntN(60)))
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	b[0] = 0x80 | byte(rand.IntN(32))
	b[1] = byte(200 + rand.IntN(8))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	raw := rtcp.RawPacket(b)
	return g.pc.WriteRTCP([]rtcp.Packet{&raw})
}
