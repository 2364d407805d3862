package forward

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// encoder makes the packets of one encoding.
type encoder struct {
	codec     media.Codec
	source    uint32
	sequence  uint16
	timestamp uint32 // of the epoch
	id        uint16
	tl0       byte
}

// frame gives the packets of one frame of n packets, captured at. The last byte of
// each payload is the encoding.
func (e *encoder) frame(at time.Time, n int, key bool) []Packet {
	e.id++
	e.tl0++
	var out []Packet
	for i := range n {
		var b []byte
		switch e.codec {
		case media.VP8:
			b = []byte{0x80, 0xc0, 0x80 | byte(e.id>>8&0x7f), byte(e.id), e.tl0, 1}
			if i == 0 {
				b[0] |= 0x10
				if key {
					b[5] = 0
				}
			}
		case media.VP9:
			b = []byte{0xe0, 0x80 | byte(e.id>>8&0x7f), byte(e.id), 0, e.tl0}
			if i == 0 {
				b[0] |= 0x08
			}
			if key {
				b[0] &^= 0x40
			}
		case media.Opus:
			b = []byte{0xfc}
		}
		out = append(out, Packet{
			Arrival: at, Sequence: e.sequence, Timestamp: e.timestamp + uint32(at.Sub(epoch).Seconds()*float64(e.codec.ClockRate())),
			Marker: i == n-1, Payload: append(b, byte(e.source)),
		})
		e.sequence++
	}
	return out
}

func (e *encoder) report(s *Stream, at time.Time) {
	s.Report(e.source, uint64(at.Sub(epoch).Seconds()*(1<<32)), e.timestamp+uint32(at.Sub(epoch).Seconds()*float64(e.codec.ClockRate())))
}

// TestSwitches sends three encodings with loss, reordering and padding, switches
// between them at random, and looks at what comes out as a receiver does.
func TestSwitches(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		for seed := range uint64(20) {
			testSwitches(t, codec, seed)
		}
	}
}

func testSwitches(t *testing.T, codec media.Codec, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	encoders := make([]*encoder, 3)
	for i := range encoders {
		encoders[i] = &encoder{codec, uint32(i + 1), uint16(rng.Uint32()), rng.Uint32(), uint16(rng.Uint32()), byte(rng.Uint32())}
	}
	s := NewStream(codec, 65000)
	wanted, pending := uint32(1), true
	var got []Packet
	switches := 0
	for frame := range 1000 {
		at := epoch.Add(time.Duration(frame) * 33 * time.Millisecond)
		if rng.IntN(15) == 0 {
			wanted, pending = uint32(1+rng.IntN(3)), true
			switches++
		}
		var packets []struct {
			source uint32
			p      Packet
		}
		for _, e := range encoders {
			if frame%30 == 5 {
				e.report(s, at)
			}
			key := e.source == wanted && pending && rng.IntN(3) == 0
			if key {
				pending = false
			}
			for _, p := range e.frame(at, 1+rng.IntN(4), key) {
				packets = append(packets, struct {
					source uint32
					p      Packet
				}{e.source, p})
			}
			if rng.IntN(10) == 0 { // probing
				e.sequence++
				packets = append(packets, struct {
					source uint32
					p      Packet
				}{e.source, Packet{Arrival: at, Sequence: e.sequence - 1, Timestamp: e.timestamp}})
			}
		}
		if rng.IntN(4) == 0 && len(packets) > 1 {
			i := rng.IntN(len(packets) - 1)
			packets[i], packets[i+1] = packets[i+1], packets[i]
		}
		for _, x := range packets {
			got = s.Take(got, x.source, wanted, x.p)
		}
	}
	// By sequence number, as a jitter buffer puts them.
	bySequence := map[int]Packet{}
	highest := int(got[0].Sequence)
	for _, p := range got {
		n := highest + int(int16(p.Sequence-uint16(highest)))
		if _, twice := bySequence[n]; twice {
			t.Fatalf("seed %d: sequence number %d goes out twice", seed, n)
		}
		bySequence[n] = p
		highest = max(highest, n)
	}
	var last *Packet
	missing := 0
	for n := int(got[0].Sequence); n <= highest; n++ {
		p, ok := bySequence[n]
		if !ok {
			missing++
			last = nil
			continue
		}
		if len(p.Payload) == 0 {
			continue
		}
		if last != nil {
			step := int32(p.Timestamp - last.Timestamp)
			a, b := look(codec, last.Payload), look(codec, p.Payload)
			id := (b.getID(p.Payload) - a.getID(last.Payload)) & 0x7fff
			tl0 := p.Payload[b.tl0] - last.Payload[a.tl0]
			switch {
			case last.Marker && (step <= 0 || id != 1 || tl0 != 1):
				t.Fatalf("%v, seed %d: the next frame is %d later, PictureID %d, TL0PICIDX %d", codec, seed, step, id, tl0)
			case !last.Marker && (step != 0 || id != 0 || tl0 != 0):
				t.Fatalf("%v, seed %d: within a frame time goes %d on, PictureID %d", codec, seed, step, id)
			case last.Payload[len(last.Payload)-1] != p.Payload[len(p.Payload)-1] && !b.key:
				t.Fatalf("%v, seed %d: another encoding begins without a keyframe", codec, seed)
			}
		}
		last = &p
	}
	// A number may be left out for a frame that a switch has cut off, or that came
	// too late for it.
	if missing > switches+5 {
		t.Errorf("%v, seed %d: %d numbers are missing after %d switches", codec, seed, missing, switches)
	}
	// Nor does time drift, however often it was switched.
	end := got[len(got)-1]
	want := got[0].Timestamp + uint32(end.Arrival.Sub(got[0].Arrival).Seconds()*90000)
	if d := int32(end.Timestamp - want); d < -90*50 || d > 90*50 {
		t.Errorf("%v, seed %d: after %d switches time is %d ms off", codec, seed, switches, d/90)
	}
}

func TestLatePacketsTakeTheirPlace(t *testing.T) {
	s := NewStream(media.VP8, 100)
	e := &encoder{codec: media.VP8, source: 1, sequence: 7}
	first, second := e.frame(epoch, 3, true), e.frame(epoch.Add(33*time.Millisecond), 2, false)
	var got []uint16
	for _, p := range []Packet{first[0], first[2], second[0], first[1], first[1], second[1]} {
		for _, q := range s.Take(nil, 1, 1, p) {
			got = append(got, q.Sequence)
		}
	}
	want := []uint16{100, 102, 103, 101, 104}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// TestKeyframeIsWholeWhoseBeginningIsLate switches to an encoding, and goes on after
// a pause, with a keyframe whose first packet was lost and is sent again: what has
// come before it must not be missing.
func TestKeyframeIsWholeWhoseBeginningIsLate(t *testing.T) {
	for _, whole := range []bool{true, false} {
		s := NewStream(media.VP8, 10)
		a, b := &encoder{codec: media.VP8, source: 1}, &encoder{codec: media.VP8, source: 2, sequence: 65534}
		last := a.frame(epoch, 2, true)
		if !whole {
			last = last[:1]
		}
		var got []uint16
		take := func(wanted uint32, packets ...Packet) {
			for _, p := range packets {
				for _, q := range s.Take(nil, uint32(p.Payload[len(p.Payload)-1]), wanted, p) {
					got = append(got, q.Sequence)
				}
			}
		}
		take(1, last...)
		take(2, b.frame(epoch, 2, false)...) // is of no use
		key, next := b.frame(epoch.Add(33*time.Millisecond), 3, true), b.frame(epoch.Add(66*time.Millisecond), 1, false)
		take(2, key[2], key[1], next[0])
		if len(got) != len(last) {
			t.Fatalf("the beginning is missing, and %v go out", got)
		}
		take(2, key[0])
		if !whole { // the end of the frame before comes last
			end := a.frame(epoch, 1, false)[0]
			end.Sequence, end.Timestamp = last[0].Sequence+1, last[0].Timestamp
			take(2, end)
		}
		slices.Sort(got)
		if want := []uint16{10, 11, 12, 13, 14, 15}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		s.Pause(true)
		s.Pause(false)
		got = nil
		key = b.frame(epoch.Add(time.Second), 2, true)
		take(2, key[1], key[0])
		slices.Sort(got)
		if want := []uint16{16, 17}; !slices.Equal(got, want) {
			t.Fatalf("after a pause got %v, want %v", got, want)
		}
	}
}

func TestH264BeginsWithParameterSets(t *testing.T) {
	for _, c := range []struct {
		payload []byte
		key     bool
	}{
		{[]byte{0x67, 1, 2}, true},
		{[]byte{24, 0, 2, 0x67, 1, 0, 2, 0x68, 1}, true}, // STAP-A
		{[]byte{0x65, 1, 2}, false},
		{[]byte{28, 0x85, 1}, false}, // FU-A
		{[]byte{0x41, 1, 2}, false},
		{[]byte{24, 0, 2, 0x41}, false},
	} {
		if got := Key(media.H264, c.payload); got != c.key {
			t.Errorf("%x: %t, want %t", c.payload, got, c.key)
		}
	}
}

func TestWhatIsCutOffIsNotTakenForAFrame(t *testing.T) {
	s := NewStream(media.VP8, 0)
	a, b := &encoder{codec: media.VP8, source: 1}, &encoder{codec: media.VP8, source: 2, sequence: 500}
	s.Take(nil, 1, 1, a.frame(epoch, 3, true)[0])
	if out := s.Take(nil, 2, 2, b.frame(epoch, 1, true)[0]); len(out) != 0 {
		t.Fatal("a frame of the other encoding goes out amid one of the first")
	}
	later := b.frame(epoch.Add(time.Second), 1, false)[0]
	out := s.Take(nil, 2, 2, later)
	if len(out) != 2 || out[0].Sequence != 2 || out[1].Sequence != 3 {
		t.Fatalf("when its end does not come, %v goes out, want 2 and 3", out)
	}
}

func TestReportIsOfTheStream(t *testing.T) {
	s := NewStream(media.VP8, 0)
	a, b := &encoder{codec: media.VP8, source: 1, timestamp: 1000}, &encoder{codec: media.VP8, source: 2, timestamp: 77_000_000}
	a.report(s, epoch)
	b.report(s, epoch)
	s.Take(nil, 1, 1, a.frame(epoch, 1, true)[0])
	at := epoch.Add(40 * time.Millisecond)
	out := s.Take(nil, 2, 2, b.frame(at, 1, true)[0])
	if len(out) != 1 || out[0].Timestamp != 1000+3600 {
		t.Fatalf("40 ms later is %+v, want timestamp 4600", out)
	}
	if ts, ok := s.Report(2, 1<<32, 77_090_000); !ok || ts != 91_000 {
		t.Errorf("the report of the instant is of %d, want 91000", ts)
	}
	if _, ok := s.Report(1, 1<<32, 91_000); ok {
		t.Error("a report of an encoding that does not go out goes out")
	}
}

// TestWhoBeginsLateCatchesUp switches to an encoding whose keyframe was captured
// before the latest pictures of the other one: timestamps rise, and are soon those
// of when things were captured.
func TestWhoBeginsLateCatchesUp(t *testing.T) {
	s := NewStream(media.VP8, 0)
	a, b := &encoder{codec: media.VP8, source: 1}, &encoder{codec: media.VP8, source: 2, timestamp: 1<<32 - 90_000}
	a.report(s, epoch)
	b.report(s, epoch)
	const every = 40 * time.Millisecond
	for i := range 10 {
		s.Take(nil, 1, 1, a.frame(epoch.Add(time.Duration(i)*every), 1, i == 0)[0])
	}
	last := uint32(9 * 3600)
	for i := range 20 {
		n := 6 + i // three before the latest
		p := b.frame(epoch.Add(time.Duration(n)*every), 1, i == 0)[0]
		p.Arrival = epoch.Add(time.Duration(10+i) * every)
		out := s.Take(nil, 2, 2, p)
		if len(out) != 1 || int32(out[0].Timestamp-last) <= 0 {
			t.Fatalf("after %d picture %d is %+v", last, n, out)
		}
		last = out[0].Timestamp
		if late := int32(last) - int32(n*3600); late < 0 || late > 0 && i > 13 {
			t.Errorf("picture %d is %d late", n, late)
		}
	}
}

func TestChooser(t *testing.T) {
	three := []Encoding{{Source: 1, Bitrate: 150_000}, {Source: 2, Bitrate: 500_000}, {Source: 3, Bitrate: 2_000_000}}
	now := epoch
	var c Chooser
	d := &Demand{Encodings: three}
	step := func(after time.Duration, estimate int, want uint32) {
		t.Helper()
		now = now.Add(after)
		if c.Choose(now, estimate, []*Demand{d}); d.Wanted != want {
			t.Fatalf("with %d bit/s encoding %d is chosen, want %d", estimate, d.Wanted, want)
		}
	}
	step(0, 5_000_000, 3)
	step(time.Second, 300_000, 1)
	step(time.Second, 700_000, 1) // not at once
	step(3*time.Second, 700_000, 2)
	step(time.Second, 400_000, 1)
	step(4*time.Second, 700_000, 1) // twice bitten
	step(3*time.Second, 700_000, 2)
	d.Limit = 1
	step(0, 5_000_000, 1)
	d.Limit = 0
	d.Anew = true
	step(time.Second, 5_000_000, 3) // as wished
	d.Anew = false
	d.Encodings = three[:2] // the largest is sent no more
	step(0, 5_000_000, 2)
	step(0, 10, 1)
}

func TestChooserSharesEvenly(t *testing.T) {
	var c Chooser
	demands := make([]*Demand, 3)
	for i := range demands {
		n := uint32(10 * i)
		demands[i] = &Demand{Encodings: []Encoding{{Source: n + 1, Bitrate: 100_000}, {Source: n + 2, Bitrate: 400_000}, {Source: n + 3, Bitrate: 1_500_000}}}
	}
	c.Choose(epoch, 1_400_000, demands)
	for i, want := range []uint32{2, 12, 22} {
		if demands[i].Wanted != want {
			t.Errorf("track %d gets %d, want %d", i, demands[i].Wanted, want)
		}
	}
}

// FuzzStream looks for panics, and numbers that go out twice.
func FuzzStream(f *testing.F) {
	f.Add(uint8(1), []byte{0x10, 0, 1, 0, 1, 0, 2, 0, 0x90, 0x80, 0x11, 0x00})
	f.Fuzz(func(t *testing.T, codec uint8, b []byte) {
		s := NewStream(media.Codec(codec%6), 0)
		at := epoch
		for len(b) >= 8 {
			n := min(int(b[7]%16), len(b)-8)
			p := Packet{
				Arrival: at, Sequence: uint16(b[1])<<8 | uint16(b[2]), Timestamp: uint32(b[3])<<24 | uint32(b[4]),
				Marker: b[5]&1 != 0, Payload: b[8 : 8+n],
			}
			if b[5]&2 != 0 {
				s.Report(uint32(b[0]%4), uint64(b[6])<<32, uint32(b[4])<<20)
			}
			before := string(p.Payload)
			for _, q := range s.Take(nil, uint32(b[0]%4), uint32(b[0]>>2%4), p) {
				if len(q.Payload) > 1<<16 {
					t.Fatal("a payload has grown")
				}
			}
			if string(p.Payload) != before {
				t.Fatal("a shared payload was changed")
			}
			b = b[8+n:]
			at = at.Add(time.Millisecond)
		}
	})
}
