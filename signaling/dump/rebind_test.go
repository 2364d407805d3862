package dump_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// way is between which hosts and ports a packet goes.
type way struct {
	from, to byte
	port     uint16
}

// shifted is Opus packet n of a stream whose numbers and timestamps begin
// elsewhere.
func shifted(ssrc uint32, n int, seq uint16, ts uint32) []byte {
	b := opus(ssrc, n)
	binary.BigEndian.PutUint16(b[2:], uint16(n)+seq)
	binary.BigEndian.PutUint32(b[4:], uint32(960*n)+ts)
	return b
}

func TestStreamsThatMoveStayOne(t *testing.T) {
	a, b, c := way{1, 2, 5000}, way{1, 2, 5001}, way{3, 4, 6000}
	at := func(n int, w way, p []byte) frame {
		return frame{time.Duration(n) * 20 * time.Millisecond, ip4(w.from, w.to, udp(w.from, w.to, w.port, 7000, p))}
	}
	// one is a stream that goes the way that each packet is told.
	one := func(pick func(n int) way) (out []frame) {
		for n := range 1000 {
			out = append(out, at(n, pick(n), opus(1, n)))
		}
		return out
	}
	for _, x := range []struct {
		name   string
		frames []frame
		tracks int
		moved  int // of the first stream
	}{
		{"another port", one(func(n int) way { return []way{a, b}[n/500] }), 1, 1},
		{"other hosts", one(func(n int) way { return []way{a, c}[n/500] }), 1, 1},
		{"there and back", one(func(n int) way { return []way{a, b, a, c}[n/250] }), 1, 2},
		{"early and late at once", one(func(n int) way {
			if n > 495 && n < 505 {
				return []way{a, b}[n%2]
			}
			return []way{a, b}[n/500]
		}), 1, 1},
		{"with a pause and loss", func() []frame {
			all := one(func(n int) way { return []way{a, b}[n/500] })
			return append(all[:480:480], all[600:]...)
		}(), 1, 1},
		{"captured on both sides", func() []frame {
			return merge(one(func(int) way { return a }), one(func(int) way { return b }))
		}(), 2, 0},
		{"two senders at the same time", func() (out []frame) {
			for n := range 1000 {
				out = append(out, at(n, a, opus(1, n)), at(n, b, shifted(1, n, 30000, 1<<30)))
			}
			return out
		}(), 2, 0},
		{"one sender after another", func() (out []frame) {
			for n := range 500 {
				out = append(out, at(n, a, opus(1, n)))
			}
			for n := range 500 {
				out = append(out, at(n+500, b, opus(1, n)))
			}
			return out
		}(), 2, 0},
		{"one sender after another, numbers alike", func() (out []frame) {
			for n := range 1000 {
				out = append(out, at(n, []way{a, c}[n/500], shifted(1, n, 0, uint32(n/500)<<30)))
			}
			return out
		}(), 2, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, x.frames))
			if p.err != nil {
				t.Fatal(p.err)
			}
			tracks := 0
			for _, e := range p.events {
				if e.Kind == signaling.TrackStarted {
					tracks++
				}
			}
			if tracks != x.tracks || p.packets[media.Opus] != len(x.frames) {
				t.Errorf("%d tracks with %d packets, want %d with %d", tracks, p.packets[media.Opus], x.tracks, len(x.frames))
			}
			s := p.summary.Streams
			if len(s) != x.tracks || len(s[0].Moved) != x.moved {
				t.Errorf("%+v", s)
			}
			if x.tracks == 1 && (s[0].Packets != int64(len(x.frames)) || s[0].Payloads[0].Packets != s[0].Packets) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Reports from the new address are the track's, its name may come from there,
// and what the sender sends from there only is theirs.
func TestWhoMovesIsTheSame(t *testing.T) {
	var frames []frame
	for n := range 1000 {
		from, to := byte(1), byte(2)
		if n >= 500 {
			from = 3
		}
		at := time.Duration(n) * 20 * time.Millisecond
		frames = append(frames, frame{at, ip4(from, to, udp(from, to, 5000, 5000, opus(1, n)))})
		if n >= 500 {
			frames = append(frames, frame{at, ip4(from, to, udp(from, to, 5000, 5000, vp8(2, n-500)))})
		}
		if n == 900 {
			frames = append(frames, frame{at, ip4(from, to, udp(from, to, 5001, 5001, sdes(1, "alice", false)))})
		}
	}
	p := playBytes(t, dump.Config{}, pcap(binary.LittleEndian, true, 101, frames))
	if p.err != nil {
		t.Fatal(p.err)
	}
	reports := 0
	for _, e := range p.events {
		if e.Track != nil && e.Track.Participant != "alice" {
			t.Fatalf("a track of %q", e.Track.Participant)
		}
		if e.Kind == signaling.Reported {
			reports++
		}
	}
	if reports != 1 || p.packets[media.Opus] != 1000 || p.packets[media.VP8] != 500 {
		t.Errorf("%d reports, %v", reports, p.packets)
	}
}

// The numbers of SRTP go on beyond 16 bits at the new address (RFC 3711 §3.3.1).
func TestWhoMovesKeepsTheirKey(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcd")
	c, err := srtp.CreateContext(key[:16], key[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		t.Fatal(err)
	}
	var frames []frame
	for n := range 1000 {
		w := []way{{1, 2, 5000}, {3, 2, 6000}}[n/500]
		b, err := c.EncryptRTP(nil, shifted(1, n, 65300, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, frame{time.Duration(n) * 20 * time.Millisecond, ip4(w.from, w.to, udp(w.from, w.to, w.port, 5000, b))})
	}
	p := playBytes(t, dump.Config{SRTPKey: key}, pcap(binary.LittleEndian, true, 101, frames))
	if p.err != nil {
		t.Fatal(p.err)
	}
	if len(p.summary.Streams) != 1 || p.packets[media.Opus] != 1000 {
		t.Errorf("%v, %+v", p.packets, p.summary)
	}
}
