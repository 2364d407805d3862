package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/pion/webrtc/v4/pkg/media/h264reader"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"

	"github.com/roomtape/roomtape/media"
)

// Clip is one encoding of what a Publisher shows, in a loop. It is not changed once
// it is made, so any number of publishers may send it.
type Clip struct {
	// RID names the encoding (RFC 8851).
	RID string
	// Pictures begin with a keyframe.
	Pictures []Picture
}

// Picture is one encoded picture.
type Picture struct {
	// Data is a frame of VP8 or VP9, or an access unit of H264 in Annex B.
	Data []byte
	Key  bool
	// Layer is the temporal one. Sync is set when a picture of an upper layer refers
	// to the lowest layer only.
	Layer uint8
	Sync  bool
}

// Layers3 are the temporal layers of four pictures from a keyframe on, when there
// are three (WebRTC scalability mode L1T3), and whether they refer to the lowest
// only.
var Layers3 = [4]Picture{{}, {Layer: 2, Sync: true}, {Layer: 1, Sync: true}, {Layer: 2}}

// ReadIVF reads a clip of VP8 or VP9. layers are those of the pictures from each
// keyframe on, again and again; none when there are no layers.
func ReadIVF(r io.Reader, rid string, layers ...Picture) (Clip, error) {
	c := Clip{RID: rid}
	f, h, err := ivfreader.NewWith(r)
	if err != nil {
		return c, fmt.Errorf("reading an IVF file: %w", err)
	}
	since := 0
	for {
		b, _, err := f.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return c, c.check()
		}
		if err != nil {
			return c, fmt.Errorf("reading an IVF file: %w", err)
		}
		var p Picture
		key := b[0]&1 == 0 // RFC 6386 §9.1
		if h.FourCC == "VP90" {
			key = b[0]&0x0c == 0 // profile 0: neither of a frame that is there, nor an interframe
		}
		if key {
			since = 0
		}
		if len(layers) > 0 {
			p = layers[since%len(layers)]
		}
		p.Data, p.Key = b, key
		c.Pictures = append(c.Pictures, p)
		since++
	}
}

// ReadH264 reads a clip whose pictures are of one slice each, from Annex B.
func ReadH264(r io.Reader, rid string) (Clip, error) {
	c := Clip{RID: rid}
	f, err := h264reader.NewReader(r)
	if err != nil {
		return c, fmt.Errorf("reading H264: %w", err)
	}
	var data []byte
	for {
		n, err := f.NextNAL()
		if errors.Is(err, io.EOF) {
			return c, c.check()
		}
		if err != nil {
			return c, fmt.Errorf("reading H264: %w", err)
		}
		data = append(append(data, 0, 0, 0, 1), n.Data...)
		if t := n.UnitType; t == h264reader.NalUnitTypeCodedSliceIdr || t == h264reader.NalUnitTypeCodedSliceNonIdr {
			c.Pictures = append(c.Pictures, Picture{Data: data, Key: t == h264reader.NalUnitTypeCodedSliceIdr})
			data = nil
		}
	}
}

func (c *Clip) check() error {
	if len(c.Pictures) == 0 || !c.Pictures[0].Key {
		return fmt.Errorf("a clip of %d pictures that begins with no keyframe", len(c.Pictures))
	}
	return nil
}

// SameAs tells whether a frame as it was recorded is a picture of a clip. Of H264
// only the slices are compared: recorders keep parameter sets elsewhere, and put
// lengths before each unit.
func (p *Picture) SameAs(codec media.Codec, recorded []byte) bool {
	if codec != media.H264 {
		return bytes.Equal(p.Data, recorded)
	}
	// The slice is the last unit.
	_, slice := cutLast(p.Data)
	return len(recorded) > 4+len(slice)-1 && bytes.HasSuffix(recorded, slice)
}

// cutLast cuts the last unit off an access unit in Annex B.
func cutLast(b []byte) (before, last []byte) {
	i := bytes.LastIndex(b, []byte{0, 0, 0, 1})
	return b[:i], b[i+4:]
}
