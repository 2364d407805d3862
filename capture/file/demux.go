package file

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/ivf"
	"github.com/roomtape/roomtape/capture/ogg"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
)

// demux gives the demuxer that the file's first bytes ask for.
func demux(r *bufio.Reader) (demuxer, error) {
	magic, err := r.Peek(4)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	case string(magic) == "DKIF":
		d, err := ivf.NewReader(r)
		if err != nil {
			return nil, damaged(err)
		}
		if d.Codec == media.CodecUnknown {
			return nil, fmt.Errorf("%w: IVF with codec %q", capture.ErrDamaged, d.FourCC)
		}
		return ivfFile{d}, nil
	case string(magic) == "OggS":
		d, err := ogg.NewReader(r)
		if err != nil {
			return nil, damaged(err)
		}
		return &oggFile{r: d}, nil
	case bytes.Equal(magic, []byte{0x1a, 0x45, 0xdf, 0xa3}):
		return openWebM(r)
	}
	return nil, fmt.Errorf("%w: it is none of IVF, Ogg, WebM and Matroska", capture.ErrDamaged)
}

// damaged makes the error of a reader one of this package.
func damaged(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("%w: %w", capture.ErrDamaged, err)
}

type ivfFile struct{ r *ivf.Reader }

func (f ivfFile) codecs() (video, audio media.Codec) { return f.r.Codec, media.CodecUnknown }

func (f ivfFile) next() (frame, error) {
	data, at, err := f.r.Next()
	if err != nil {
		return frame{}, damaged(err)
	}
	return frame{kind: media.Video, data: data, at: at, key: capture.IsKey(f.r.Codec, data)}, nil
}

type oggFile struct {
	r  *ogg.Reader
	at time.Duration
}

func (f *oggFile) codecs() (video, audio media.Codec) { return media.CodecUnknown, media.Opus }

func (f *oggFile) next() (frame, error) {
	for {
		data, err := f.r.Next()
		if err != nil {
			return frame{}, damaged(err)
		}
		d, ok := media.OpusDuration(data)
		if !ok {
			continue // it can't be played
		}
		at := f.at
		f.at += d
		return frame{kind: media.Audio, data: data, at: at, key: true}, nil
	}
}

// webmFile is a WebM or Matroska file. Its tracks are known when its first frame
// is.
type webmFile struct {
	r            *webm.Reader
	video, audio media.Codec
	videoNumber  int
	audioNumber  int
	sets         []byte // H264: the parameter sets, in Annex B
	lengthSize   int
	ahead        *frame
}

func openWebM(r io.Reader) (demuxer, error) {
	f := &webmFile{r: webm.NewReader(r)}
	block, err := f.r.Next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it has no frames", capture.ErrDamaged)
	}
	if err != nil {
		return nil, damaged(err)
	}
	for _, t := range f.r.Tracks() {
		switch {
		case t.Codec.Kind() == media.Video && f.video == media.CodecUnknown:
			f.video, f.videoNumber = t.Codec, t.Number
			if t.Codec == media.H264 {
				if f.sets, f.lengthSize, err = parameterSets(t.Private); err != nil {
					return nil, err
				}
			}
		case t.Codec == media.Opus && f.audio == media.CodecUnknown:
			f.audio, f.audioNumber = t.Codec, t.Number
		}
	}
	if first, ok, err := f.frame(&block); err != nil {
		return nil, err
	} else if ok {
		f.ahead = &first
	}
	return f, nil
}

func (f *webmFile) codecs() (video, audio media.Codec) { return f.video, f.audio }

func (f *webmFile) next() (frame, error) {
	if f.ahead != nil {
		first := *f.ahead
		f.ahead = nil
		return first, nil
	}
	for {
		block, err := f.r.Next()
		if err != nil {
			return frame{}, damaged(err)
		}
		if out, ok, err := f.frame(&block); ok || err != nil {
			return out, err
		}
	}
}

// frame makes a frame of a block, unless it is of another track.
func (f *webmFile) frame(b *webm.Block) (out frame, ok bool, err error) {
	switch {
	case b.Track == f.audioNumber && f.audio != media.CodecUnknown:
		return frame{kind: media.Audio, data: slices.Clone(b.Data), at: b.Time, key: true}, true, nil
	case b.Track != f.videoNumber || f.video == media.CodecUnknown:
		return frame{}, false, nil
	}
	data := slices.Clone(b.Data)
	if f.video == media.H264 {
		if data, err = annexB(data, f.lengthSize); err != nil {
			return frame{}, false, err
		}
	}
	key := capture.IsKey(f.video, data)
	if key && f.video == media.H264 {
		data = slices.Concat(f.sets, data)
	}
	return frame{kind: media.Video, data: data, at: b.Time, key: key}, true, nil
}

var errAVC = fmt.Errorf("%w: its H264 is not as it should be", capture.ErrDamaged)

var startCode = []byte{0, 0, 0, 1}

// parameterSets reads an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3).
func parameterSets(record []byte) (sets []byte, lengthSize int, err error) {
	if len(record) < 7 {
		return nil, 0, errAVC
	}
	lengthSize = int(record[4]&3) + 1
	n, rest := int(record[5]&0x1f), record[6:]
	for range 2 { // SPS, then PPS
		for range n {
			if len(rest) < 2 {
				return nil, 0, errAVC
			}
			size := int(binary.BigEndian.Uint16(rest))
			if rest = rest[2:]; len(rest) < size {
				return nil, 0, errAVC
			}
			sets = append(append(sets, startCode...), rest[:size]...)
			rest = rest[size:]
		}
		if len(rest) == 0 {
			break
		}
		n, rest = int(rest[0]), rest[1:]
	}
	return sets, lengthSize, nil
}

// annexB gives an access unit with start codes in place of lengths.
func annexB(b []byte, lengthSize int) ([]byte, error) {
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		if len(b) < lengthSize {
			return nil, errAVC
		}
		size := 0
		for _, c := range b[:lengthSize] {
			size = size<<8 | int(c)
		}
		if b = b[lengthSize:]; size > len(b) {
			return nil, errAVC
		}
		out = append(append(out, startCode...), b[:size]...)
		b = b[size:]
	}
	return out, nil
}
