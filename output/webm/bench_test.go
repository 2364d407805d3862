package webm

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/muxertest"
)

const benchFrame = 4096

// discard counts the calls.
type discard struct{ writes int }

func (d *discard) Write(b []byte) (int, error) {
	d.writes++
	return len(b), nil
}

// BenchmarkWriter writes 4 KB frames of which a thousand make a chunk. Next to
// it, BenchmarkCopy is what the one copy into the chunk costs at least.
func BenchmarkWriter(b *testing.B) {
	var d discard
	w := start(b, &d, Config{}, vp8)
	f := media.Frame{Data: make([]byte, benchFrame)}
	b.SetBytes(benchFrame)
	b.ReportAllocs()
	for i := range b.N {
		f.Time = time.Duration(i) * time.Millisecond
		f.Key = i%1000 == 0
		if err := w.WriteFrame(1, f); err != nil {
			b.Fatal(err)
		}
	}
	end(b, w)
	b.ReportMetric(float64(b.N)/float64(d.writes), "frames/write")
}

func BenchmarkCopy(b *testing.B) {
	data := make([]byte, benchFrame)
	buf := make([]byte, 0, 1000*benchFrame)
	b.SetBytes(benchFrame)
	for range b.N {
		if len(buf) == cap(buf) {
			buf = buf[:0]
		}
		buf = append(buf, data...)
	}
	_ = buf
}

// BenchmarkWriterAudio writes Opus packets of 80 bytes.
func BenchmarkWriterAudio(b *testing.B) {
	w := start(b, &discard{}, Config{}, opus)
	f := media.Frame{Data: make([]byte, 80), Key: true, Duration: 20 * time.Millisecond}
	b.SetBytes(80)
	b.ReportAllocs()
	for i := range b.N {
		f.Time = time.Duration(i) * 20 * time.Millisecond
		if err := w.WriteFrame(1, f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	var file muxertest.File
	w := start(b, &file, Config{}, vp8)
	f := media.Frame{Data: make([]byte, benchFrame)}
	const frames = 4000
	for i := range frames {
		f.Time = time.Duration(i) * time.Millisecond
		if err := w.WriteFrame(1, f); err != nil {
			b.Fatal(err)
		}
	}
	end(b, w)
	b.SetBytes(int64(len(file.Data)))
	b.ReportAllocs()
	for range b.N {
		r := NewReader(bytes.NewReader(file.Data))
		n := 0
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			n++
		}
		if n != frames {
			b.Fatal(n)
		}
	}
}

// BenchmarkIndex makes the index of a day with a keyframe every two seconds.
func BenchmarkIndex(b *testing.B) {
	var l cueList
	for i := range int64(43200) {
		l.add(cue{time: i * 2000, cluster: i * 1 << 20, track: 1})
	}
	b.ReportAllocs()
	for range b.N {
		l.marshal(0, nil)
	}
}

func TestWritingAFrameAllocatesNothing(t *testing.T) {
	w := start(t, &discard{}, Config{}, vp8, opus)
	f := media.Frame{Data: make([]byte, benchFrame)}
	n := 0
	step := func() {
		f.Time = time.Duration(n) * time.Millisecond
		f.Key = n%3000 == 0
		n++
		if err := w.WriteFrame(1+n%2, f); err != nil {
			t.Fatal(err)
		}
	}
	for range 5000 { // the header, and the buffer as large as it gets
		step()
	}
	w.cues.cues = append(make([]cue, 0, 1000), w.cues.cues...)
	if got := testing.AllocsPerRun(20000, step); got != 0 {
		t.Errorf("%v allocations for a frame", got)
	}
}
