package ivf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/capture/ivf"
	"github.com/roomtape/roomtape/media"
)

// build makes an IVF of the frames, times counted in den/num.
func build(fourCC string, den, num uint32, frames map[uint64][]byte, order ...uint64) []byte {
	b := append([]byte("DKIF\x00\x00\x20\x00"), fourCC...)
	b = binary.LittleEndian.AppendUint16(b, 640)
	b = binary.LittleEndian.AppendUint16(b, 360)
	b = binary.LittleEndian.AppendUint32(b, den)
	b = binary.LittleEndian.AppendUint32(b, num)
	b = append(b, make([]byte, 8)...)
	for _, at := range order {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frames[at])))
		b = binary.LittleEndian.AppendUint64(b, at)
		b = append(b, frames[at]...)
	}
	return b
}

func TestReaderGivesFramesAtTheirTimes(t *testing.T) {
	// Microseconds since 1970, as live captures have them.
	const first = 1_795_353_426_521_416
	frames := map[uint64][]byte{first: []byte("one"), first + 33_333: nil, first + 66_667: []byte("three")}
	r, err := ivf.NewReader(bytes.NewReader(build("VP90", 1_000_000, 1, frames, first, first+33_333, first+66_667)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Codec != media.VP9 || r.Width != 640 || r.Height != 360 {
		t.Errorf("header %+v", r.Header)
	}
	for _, want := range []uint64{first, first + 33_333, first + 66_667} {
		data, at, err := r.Next()
		if err != nil || !bytes.Equal(data, frames[want]) {
			t.Fatalf("%q, %v", data, err)
		}
		if d := at - time.Duration(want)*time.Microsecond; d < -time.Microsecond || d > time.Microsecond {
			t.Errorf("at %v, want %d µs", at, want)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) || errors.Is(err, ivf.ErrFormat) {
		t.Errorf("at the end: %v", err)
	}
}

func TestReaderRefusesWhatIsCut(t *testing.T) {
	whole := build("VP80", 30, 1, map[uint64][]byte{0: []byte("frame")}, 0)
	for n := range whole {
		r, err := ivf.NewReader(bytes.NewReader(whole[:n]))
		if err == nil {
			_, _, err = r.Next()
		}
		if n == 32 {
			if !errors.Is(err, io.EOF) {
				t.Errorf("a file without frames: %v", err)
			}
		} else if !errors.Is(err, ivf.ErrFormat) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(build("VP80", 30, 1, map[uint64][]byte{0: []byte("frame")}, 0))
	f.Add(build("AV01", 1, 1<<31, map[uint64][]byte{1 << 63: nil}, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ivf.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for read := 0; ; {
			data, at, err := r.Next()
			if err != nil {
				return
			}
			if read += len(data) + 12; read > len(b) || at < 0 {
				t.Fatalf("%d bytes of %d, at %v", read, len(b), at)
			}
		}
	})
}
