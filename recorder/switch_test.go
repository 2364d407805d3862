package recorder

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

// simulcast is a sender whose SFU forwards now one and now another encoding of
// the same camera under one SSRC and one run of sequence numbers, as
// PROTOCOL.md's clients are sent. Each encoding has its own picture ids and
// TL0PICIDX (RFC 7741 §4.2), and, unless the SFU rewrites them, timestamps.
type simulcast struct {
	*sender
	encodings []encoding
	// rewrites says what the SFU makes continuous beside sequence numbers.
	rewritesIDs, rewritesTime bool

	now     int // the encoding that is forwarded
	frames  int // forwarded
	written []string
}

// encoding is what one encoder has sent so far.
type encoding struct {
	width, height int
	pic           uint16
	tl0           uint8
	offset        uint32 // of its timestamps
}

// picture forwards a picture of the current encoding, of two packets and two
// temporal layers, and lets the other encoders go on.
func (s *simulcast) picture(at time.Duration, n int, key bool) {
	for i := range s.encodings {
		e := &s.encodings[i]
		e.pic = (e.pic + 1) & 0x7fff
		if n%2 == 0 {
			e.tl0++
		}
	}
	e := s.encodings[s.now]
	pic, tl0, ts := e.pic, e.tl0, uint32(n)*3600
	if s.rewritesIDs {
		pic, tl0 = uint16(s.frames)&0x7fff, uint8(s.frames/2)
	}
	if !s.rewritesTime {
		ts += e.offset
	}
	s.frames++
	s.rtp = ts
	tid := byte(n % 2)
	descriptor := []byte{0x90, 0xe0, 0x80 | byte(pic>>8), byte(pic), tl0, tid<<6 | 0x20}
	tag := uint32(1<<5 | 1<<4)
	if !key {
		tag |= 1
	}
	data := []byte{byte(tag), byte(tag >> 8), byte(tag >> 16)}
	if key {
		data = append(data, 0x9d, 0x01, 0x2a, byte(e.width), byte(e.width>>8), byte(e.height), byte(e.height>>8))
	}
	data = fmt.Appendf(data, "picture %d of encoding %d", n, s.now)
	s.written = append(s.written, string(data)+"rest")
	s.packet(at, false, append(slices.Clone(descriptor), data...))
	descriptor[0] = 0x80
	s.packet(at+ms(1), true, append(descriptor, "rest"...))
}

// TestLayersSwitchedUnderOneSource: an SFU switches simulcast encodings up, and
// back down, and up again, whatever it rewrites. It is one track in one file,
// nothing is taken for lost, and each size is in the manifest.
func TestLayersSwitchedUnderOneSource(t *testing.T) {
	for _, tt := range []struct{ ids, time bool }{{true, true}, {false, true}, {true, false}, {false, false}} {
		t.Run(fmt.Sprintf("ids %v, time %v", tt.ids, tt.time), func(t *testing.T) {
			m, room := newMemory(), &script{}
			f := &feedback{room: room, nacks: map[uint16]int{}}
			in := videoTrack(f)
			in.Retransmits = true
			s := &simulcast{
				sender: room.start(0, in), rewritesIDs: tt.ids, rewritesTime: tt.time,
				encodings: []encoding{{320, 180, 100, 7, 0}, {1280, 720, 20000, 200, 4000}, {640, 360, 32760, 250, 1 << 31}},
			}
			for n, at := 0, ms(0); at < 20*time.Second; n, at = n+1, at+ms(40) {
				key := n == 0
				switch at {
				case 4 * time.Second, 12 * time.Second:
					s.now, key = 1, true
				case 8 * time.Second:
					s.now, key = 0, true
				case 16 * time.Second:
					s.now, key = 2, true
				}
				s.picture(at, n, key)
			}
			if _, err := run(t, config(m), room); err != nil {
				t.Fatal(err)
			}
			got := manifestOf(t, m)
			if len(got.Files) != 1 || len(got.Files[0].Tracks) != 1 || len(got.Unrecorded) != 0 {
				t.Fatalf("%+v", got)
			}
			tr := got.Files[0].Tracks[0]
			if tr.Codec != media.VP8.String() || tr.Packets.Lost != 0 || tr.Frames.Dropped != 0 || len(tr.Gaps) != 0 || len(f.nacks) != 0 {
				t.Errorf("packets %+v, frames %+v, gaps %+v, %d asked for", tr.Packets, tr.Frames, tr.Gaps, len(f.nacks))
			}
			var sizes []string
			for _, z := range tr.Sizes {
				sizes = append(sizes, fmt.Sprintf("%d at %d s", z.Height, (z.AtMS+500)/1000))
			}
			if want := []string{"180 at 0 s", "720 at 4 s", "180 at 8 s", "720 at 12 s", "360 at 16 s"}; !slices.Equal(sizes, want) {
				t.Errorf("sizes %v, want %v", sizes, want)
			}
			blocks := readBack(t, m.files["a.webm"].data)
			var data []string
			for i, b := range blocks {
				data = append(data, b.data)
				if want := time.Duration(i) * ms(40); (b.at - want).Abs() > ms(120) {
					t.Errorf("picture %d is at %v, want %v", i, b.at, want)
					break
				}
			}
			if !slices.Equal(data, s.written) {
				t.Errorf("%d pictures in the file, %d sent", len(data), len(s.written))
			}
		})
	}
}
