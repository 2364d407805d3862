package capturetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"testing"
)

// IVF gives the frames of an IVF file, without their headers.
func IVF(tb testing.TB, name string) [][]byte {
	tb.Helper()
	b := File(tb, name)
	if len(b) < 32 || string(b[:4]) != "DKIF" {
		tb.Fatalf("%s is no IVF file", name)
	}
	b = b[binary.LittleEndian.Uint16(b[6:]):]
	var frames [][]byte
	for len(b) >= 12 {
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-12 {
			tb.Fatalf("%s ends within a frame", name)
		}
		frames = append(frames, b[12:12+n])
		b = b[12+n:]
	}
	return frames
}

// WriteIVF writes an IVF file of the given frames for a decoder to check. The
// fourCC is "VP80" or "VP90"; timestamps has the RTP timestamp of each frame,
// of a clock of 90 kHz.
func WriteIVF(w io.Writer, fourCC string, width, height int, frames [][]byte, timestamps []uint32) error {
	head := make([]byte, 32)
	copy(head, "DKIF")
	binary.LittleEndian.PutUint16(head[6:], 32)
	copy(head[8:], fourCC)
	binary.LittleEndian.PutUint16(head[12:], uint16(width))
	binary.LittleEndian.PutUint16(head[14:], uint16(height))
	binary.LittleEndian.PutUint32(head[16:], 90000)
	binary.LittleEndian.PutUint32(head[20:], 1)
	binary.LittleEndian.PutUint32(head[24:], uint32(len(frames)))
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("writing IVF header: %w", err)
	}
	for i, f := range frames {
		var h [12]byte
		binary.LittleEndian.PutUint32(h[:], uint32(len(f)))
		binary.LittleEndian.PutUint64(h[4:], uint64(timestamps[i]-timestamps[0]))
		if _, err := w.Write(append(h[:], f...)); err != nil {
			return fmt.Errorf("writing IVF frame %d: %w", i, err)
		}
	}
	return nil
}
