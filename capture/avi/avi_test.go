package avi_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/roomtape/roomtape/capture/avi"
)

func chunk(name, data string) string {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data)))
	b = append(b, data...)
	if len(data)%2 != 0 {
		b = append(b, 0)
	}
	return string(b)
}

func stream() []byte {
	open := "\xff\xff\xff\xff"
	return []byte("RIFF" + open + "AVI " + "LIST" + open + "hdrl" + chunk("avih", "header") + chunk("JUNK", "odd") +
		"LIST" + open + "movi" + chunk("00dc", "one") + chunk("00dc", "") + chunk("01wb", "sound") + chunk("00dc", "two!") +
		"RIFF" + open + "AVIX" + "LIST" + open + "movi" + chunk("00dc", "three"))
}

func TestReaderGivesFrames(t *testing.T) {
	r, err := avi.NewReader(bytes.NewReader(stream()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two!", "three"} {
		got, err := r.Next()
		if err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) || errors.Is(err, avi.ErrFormat) {
		t.Errorf("at the end: %v", err)
	}
	if _, err := avi.NewReader(bytes.NewReader([]byte("RIFF1234WAVE"))); !errors.Is(err, avi.ErrFormat) {
		t.Errorf("another RIFF: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := avi.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for read := 0; ; {
			p, err := r.Next()
			if err != nil {
				return
			}
			if read += len(p); len(p) == 0 || read > len(b) {
				t.Fatalf("%d bytes of %d", read, len(b))
			}
		}
	})
}
