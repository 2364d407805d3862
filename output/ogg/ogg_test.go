package ogg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/muxertest"
)

var opus = media.Track{Codec: media.Opus, Channels: 2}

func TestMuxer(t *testing.T) {
	muxertest.Run(t, muxertest.Format{
		New: func(w io.Writer, chunk time.Duration) (output.Muxer, error) {
			return NewWriter(w, Config{Chunk: chunk, UID: "test"}), nil
		},
		Tracks: []media.Track{opus}, Late: media.Track{Codec: media.Opus, Channels: 2},
		Read: read, MaxGap: time.Minute,
	})
}

// packet is one packet of a file; fill is set on one that only conceals.
type packet struct {
	data    []byte
	granule int64 // of its page
	fill    bool
}

// packets gives the packets of the whole pages of a file, after the headers.
func packets(file []byte) ([]packet, error) {
	var ps []packet
	var part []byte
	for n := uint32(0); len(file) >= pageHeader; n++ {
		segments := int(file[26])
		if len(file) < pageHeader+segments {
			break
		}
		size := pageHeader + segments
		for _, s := range file[pageHeader:size] {
			size += int(s)
		}
		if len(file) < size {
			break
		}
		page := bytes.Clone(file[:size])
		sum := binary.LittleEndian.Uint32(page[22:])
		clear(page[22:26])
		switch {
		case string(page[:4]) != "OggS":
			return nil, errors.New("no page")
		case checksum(page) != sum:
			return nil, errors.New("wrong checksum")
		case binary.LittleEndian.Uint32(page[18:]) != n:
			return nil, errors.New("a page is missing")
		case (page[5]&firstPage != 0) != (n == 0):
			return nil, errors.New("the first page is not marked, or another is")
		case (page[5]&continued != 0) != (len(part) > 0):
			return nil, errors.New("a packet is not continued, or none is")
		}
		granule := int64(binary.LittleEndian.Uint64(page[6:]))
		body := page[pageHeader+segments:]
		ended := false
		for _, s := range page[pageHeader : pageHeader+segments] {
			part = append(part, body[:s]...)
			body = body[s:]
			if s < 255 {
				data := bytes.Clone(part)
				ps = append(ps, packet{data, granule, len(data) < 3 && data[0]>>3 >= fullband})
				part = part[:0]
				ended = true
			}
		}
		if !ended && segments > 0 && granule != noPacket {
			return nil, errors.New("a page without the end of a packet has a position")
		}
		file = file[size:]
	}
	return ps[min(2, len(ps)):], nil
}

// read gives the frames of the suite. Those with a text last 20 ms, others none.
func read(file []byte) ([]muxertest.Frame, error) {
	ps, err := packets(file)
	if err != nil {
		return nil, err
	}
	var fs []muxertest.Frame
	var at int64
	for _, p := range ps {
		if p.fill {
			at += fillLength(p.data)
			continue
		}
		fs = append(fs, muxertest.Frame{Track: 1, Frame: media.Frame{Data: p.data, Time: time.Duration(at) * time.Second / sampleRate, Key: true}})
		if bytes.HasPrefix(p.data, []byte("1 at")) {
			at += frame20
		}
	}
	return fs, nil
}

func fillLength(b []byte) int64 {
	n := int64(minFill) << (b[0]>>3 - fullband)
	if b[0]&3 == 3 {
		n *= int64(b[1])
	}
	return n
}

func write(t *testing.T, times ...time.Duration) []byte {
	t.Helper()
	var file muxertest.File
	w := NewWriter(&file, Config{Chunk: time.Second})
	if _, err := w.AddTrack(opus); err != nil {
		t.Fatal(err)
	}
	for _, at := range times {
		if err := w.WriteFrame(1, media.Frame{Data: []byte{0xfc, 1, 2, 3}, Time: at, Duration: 20 * time.Millisecond, Key: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Data
}

// The position of each page is the sum of what its packets last, and so never
// has a hole.
func TestPausesAreFilled(t *testing.T) {
	ms := time.Millisecond
	file := write(t, 0, 20*ms, 40*ms, 1337*ms, 1357*ms, 1359*ms, 90*time.Second)
	ps, err := packets(file)
	if err != nil {
		t.Fatal(err)
	}
	var at int64
	var starts []time.Duration
	for i, p := range ps {
		n := int64(frame20)
		if p.fill {
			n = fillLength(p.data)
		} else {
			starts = append(starts, time.Duration(at)*time.Second/sampleRate)
		}
		at += n
		if last := i+1 == len(ps) || ps[i+1].granule != p.granule; last && p.granule != at {
			t.Errorf("a page ends at %d, and its packets at %d", p.granule, at)
		}
	}
	want := []time.Duration{0, 20 * ms, 40 * ms, 1337 * ms, 1357 * ms, 1377 * ms, 90 * time.Second}
	for i, w := range want {
		if d := starts[i] - w; d > 0 || d < -5*ms/2 {
			t.Errorf("packet %d starts at %v, want %v", i, starts[i], w)
		}
	}
	if end := file[len(file)-pageHeader:]; len(ps) == 0 || !bytes.Contains(file, []byte("OggS\x00\x04")) {
		t.Errorf("no last page: % x", end)
	}
}

func TestSerialComesFromUID(t *testing.T) {
	a, b := NewWriter(nil, Config{UID: "a"}), NewWriter(nil, Config{UID: "b"})
	if a.pages.serial == b.pages.serial {
		t.Error("two recordings have the same serial number")
	}
}
