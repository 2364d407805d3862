package ivf

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/pion/webrtc/v4/pkg/media/ivfreader"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/muxertest"
)

var (
	vp8 = media.Track{Codec: media.VP8, Width: 640, Height: 480}
	vp9 = media.Track{Codec: media.VP9, Width: 640, Height: 480}
)

func newMuxer(w io.Writer, chunk time.Duration) (output.Muxer, error) {
	return NewWriter(w, chunk), nil
}

// The frames of the suite are of no codec; for VP9, ivfwriter does not mind.
func TestMuxer(t *testing.T) {
	muxertest.Run(t, muxertest.Format{New: newMuxer, Tracks: []media.Track{vp9}, Late: vp8, Read: read, NoKeys: true})
}

func read(file []byte) ([]muxertest.Frame, error) {
	if len(file) < headerSize {
		return nil, nil
	}
	r, h, err := ivfreader.NewWith(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var fs []muxertest.Frame
	for {
		data, fh, err := r.ParseNextFrame()
		if err != nil { // whole, or cut off
			return fs, nil //nolint:nilerr // what is cut off is no fault here
		}
		// The reader has multiplied by the rate what is in units of it.
		rate := float64(h.TimebaseDenominator)
		at := time.Duration(float64(fh.Timestamp) / rate / rate * float64(time.Second)).Round(time.Microsecond)
		fs = append(fs, muxertest.Frame{Track: 1, Frame: media.Frame{Data: data, Time: at}})
	}
}

func TestHeaderSaysHowManyFrames(t *testing.T) {
	var file muxertest.File
	w := NewWriter(&file, time.Second)
	if _, err := w.AddTrack(vp8); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		if err := w.WriteFrame(1, media.Frame{Data: []byte{0x10, 0, 0}, Time: time.Duration(i) * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if n := binary.LittleEndian.Uint32(file.Data[countOffset:]); n != 0 {
		t.Errorf("a growing file says %d frames", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint32(file.Data[countOffset:]); n != 7 {
		t.Errorf("the header says %d frames, want 7", n)
	}
	if d, n := binary.LittleEndian.Uint32(file.Data[16:]), binary.LittleEndian.Uint32(file.Data[20:]); d != 90000 || n != 1 {
		t.Errorf("time base %d/%d, want 1/90000", n, d)
	}
}

// The temporal delimiter, which RTP and Matroska leave out, is there in IVF.
func TestAV1GetsTemporalDelimiters(t *testing.T) {
	var file muxertest.File
	w := NewWriter(&file, time.Second)
	if _, err := w.AddTrack(media.Track{Codec: media.AV1, Width: 64, Height: 48}); err != nil {
		t.Fatal(err)
	}
	unit := []byte{0x0a, 0x03, 1, 2, 3, 0x36, 0x10, 0x02, 4, 5} // a sequence header, a frame with an extension
	if err := w.WriteFrame(1, media.Frame{Data: unit, Key: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame(1, media.Frame{Data: []byte{0x32, 0x7f, 1}, Time: time.Second}); err == nil {
		t.Error("an OBU that is cut short is taken")
	}
	if err := w.WriteFrame(1, media.Frame{Data: []byte{0x32, 0x01, 9}, Time: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fs, err := read(file.Data)
	if err != nil || len(fs) != 2 {
		t.Fatalf("%d frames, %v", len(fs), err)
	}
	for i, want := range [][]byte{append([]byte{0x12, 0}, unit...), {0x12, 0, 0x32, 1, 9}} {
		if !bytes.Equal(fs[i].Data, want) {
			t.Errorf("frame %d is % x, want % x", i, fs[i].Data, want)
		}
	}
}
