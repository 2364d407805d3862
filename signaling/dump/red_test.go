package dump_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// redundant is packet n of a stream of Opus in RED, each with the packet before.
func redundant(ssrc uint32, n int, inner uint8) []byte {
	size := func(n int) int { return 20 + n%7 }
	data := func(n int) []byte {
		b := make([]byte, size(n))
		b[0], b[1], b[2] = 0xfc, byte(n), byte(n>>8)
		return b
	}
	b := rtp(63, uint16(n), uint32(960*n), ssrc)
	if n > 0 {
		b = binary.BigEndian.AppendUint32(b, 0x80<<24|uint32(inner)<<24|960<<10|uint32(size(n-1)))
		return append(append(append(b, inner), data(n-1)...), data(n)...)
	}
	return append(append(b, inner), data(n)...)
}

func TestREDIsOpus(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   dump.Config
		inner uint8
		by    string // empty: no track
	}{
		"by payload":                    {dump.Config{}, 111, "payload"},
		"by --map":                      {dump.Config{Map: map[uint8]dump.Format{63: dump.NewFormat("red")}}, 111, "--map"},
		"by --sdp":                      {dump.Config{SDP: []byte("v=0\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:111 opus/48000/2\r\n")}, 111, "--sdp"},
		"of something else, by --map":   {dump.Config{Map: map[uint8]dump.Format{111: {Name: "PCMU"}}}, 111, ""},
		"something else than RED, also": {dump.Config{Map: map[uint8]dump.Format{63: {Name: "L16"}}}, 111, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []frame
			for n := range 200 {
				frames = append(frames, frame{time.Duration(n) * 20 * time.Millisecond, ip4(1, 2, udp(1, 2, 5000, 5000, redundant(1, n, c.inner)))})
			}
			p := playBytes(t, c.cfg, pcap(binary.LittleEndian, true, 101, frames))
			if c.by == "" {
				if p.err == nil {
					t.Error("there is a track")
				}
				return
			}
			if p.err != nil {
				t.Fatal(p.err)
			}
			for _, e := range p.events {
				if e.Kind == signaling.TrackStarted && (!e.Track.RED[63] || e.Track.Codecs[63] != media.Opus || e.Track.Codecs[c.inner] != media.Opus || e.Track.RED[c.inner]) {
					t.Errorf("%+v", e.Track)
				}
			}
			if y := p.summary.Streams[0].Payloads[0]; y.Format != "red" || y.KnownBy != c.by || !y.Recorded || p.packets[media.Opus] != 200 {
				t.Errorf("%+v, %v", y, p.packets)
			}
		})
	}
}
