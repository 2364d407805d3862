package ogg_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/roomtape/roomtape/capture/ogg"
)

// page makes a page of whole packets, of which the last goes on when more is set.
func page(serial uint32, kind byte, more bool, packets ...[]byte) []byte {
	b := append([]byte("OggS\x00"), kind)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = append(b, make([]byte, 8)...)
	var segments, body []byte
	for i, p := range packets {
		for n := len(p); ; n -= 255 {
			if n < 255 {
				if !more || i < len(packets)-1 {
					segments = append(segments, byte(n))
				}
				break
			}
			segments = append(segments, 255)
		}
		body = append(body, p...)
	}
	b = append(append(b, byte(len(segments))), segments...)
	return append(b, body...)
}

func head() []byte { return append([]byte("OpusHead\x01\x02\x38\x01"), make([]byte, 7)...) }

func stream(pages ...[]byte) []byte {
	all := [][]byte{page(7, 2, false, []byte("\x01vorbis")), page(1, 2, false, head()), page(1, 0, false, []byte("OpusTags"))}
	return bytes.Join(append(all, pages...), nil)
}

func TestReaderGivesPackets(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 510)
	b := stream(
		page(1, 0, false, []byte("one"), []byte("two")),
		page(7, 0, false, []byte("somebody else's")),
		page(1, 0, true, []byte("three"), long),
		page(1, 1, false, []byte("end of long"), nil),
	)
	r, err := ogg.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if r.Channels != 2 || r.PreSkip != 312 {
		t.Errorf("%d channels, pre-skip %d", r.Channels, r.PreSkip)
	}
	for _, want := range []string{"one", "two", "three", string(long) + "end of long", ""} {
		p, err := r.Next()
		if err != nil || string(p) != want {
			t.Fatalf("%q, %v, want %q", p, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) || errors.Is(err, ogg.ErrFormat) {
		t.Errorf("at the end: %v", err)
	}
}

func TestReaderRefusesWhatIsNoOpus(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("this is no Ogg, and long enough to be told so"),
		"no tags":  bytes.Join([][]byte{page(1, 2, false, head()), page(1, 0, false, []byte("sound"))}, nil),
		"another":  page(1, 2, false, []byte("\x01vorbis")),
		"cut head": stream()[:60],
	} {
		if _, err := ogg.NewReader(bytes.NewReader(b)); !errors.Is(err, ogg.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(page(1, 0, false, []byte("one"))))
	f.Add(stream(page(1, 0, true, bytes.Repeat([]byte("x"), 255))))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ogg.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for read := 0; ; {
			p, err := r.Next()
			if err != nil {
				return
			}
			if read += len(p) + 1; read > len(b) {
				t.Fatalf("%d bytes of %d", read, len(b))
			}
		}
	})
}
