package dump_test

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// minute makes a minute of VP8 at 2.5 Mbit/s and Opus.
func minute() []frame {
	var out []frame
	seq := 0
	for n := range 60 * 30 {
		at := time.Duration(n) * time.Second / 30
		for k := range 9 {
			b := rtp(96, uint16(seq), uint32(3000*n), 1, make([]byte, 1158)...)
			seq++
			switch {
			case k > 0:
				b[12] = 0
			case n%150 == 0:
				copy(b[12:], []byte{0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0})
			default:
				b[12], b[13] = 0x10, 1
			}
			if k == 8 {
				b[1] |= 0x80
			}
			out = append(out, frame{at, ip4(1, 2, udp(1, 2, 5000, 6000, b))})
		}
	}
	for n := range 60 * 50 {
		out = append(out, frame{time.Duration(n) * 20 * time.Millisecond, ip4(1, 2, udp(1, 2, 5000, 6000, opus(2, n)))})
	}
	return merge(out)
}

// BenchmarkRead reads a minute of sound and picture at 2.5 Mbit/s. The bytes are
// those of the file.
func BenchmarkRead(b *testing.B) {
	capture := pcap(binary.LittleEndian, true, 101, minute())
	own := write(b, playBytes(b, dump.Config{}, capture).events)
	for _, c := range []struct {
		name string
		file []byte
	}{{"pcap", capture}, {"own", own}} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "dump")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.file)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := dump.Open(b.Context(), []string{path}, dump.Config{})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for {
					e, err := r.Next(b.Context(), time.Time{})
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					if e.Kind == signaling.PacketArrived {
						n++
						e.Packet.Release()
					}
				}
				if err := r.Close(); err != nil || n != 60*30*9+60*50 {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// Reading twice and giving the events costs less than an allocation a packet.
func TestPacketsCostNoAllocations(t *testing.T) {
	capture := pcap(binary.LittleEndian, true, 101, minute())
	path := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(path, capture, 0o600); err != nil {
		t.Fatal(err)
	}
	allocated := testing.AllocsPerRun(1, func() {
		r, err := dump.Open(t.Context(), []string{path}, dump.Config{Map: map[uint8]dump.Format{96: dump.NewFormat("vp8"), 111: {Codec: media.Opus}}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := r.Next(t.Context(), time.Time{})
			if err == io.EOF {
				break
			}
			if e.Packet != nil {
				e.Packet.Release()
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
	// Of 19,200 packets. Under the race detector, pools lose some.
	if allocated > 15000 {
		t.Errorf("%v allocations for reading %d bytes", allocated, len(capture))
	}
}
