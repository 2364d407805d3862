package dump

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/roomtape/roomtape/media"
)

// Format is what a payload type stands for.
type Format struct {
	// Name is the encoding's name as SDP has it, such as "VP8", "opus", "rtx"
	// or "PCMU" (RFC 8866 §6.6). It is empty when nothing is known.
	Name string
	// Codec is what can be recorded, or media.CodecUnknown.
	Codec media.Codec
	// ClockRate is in Hz; 0: not known.
	ClockRate uint32
	// Original is the payload type whose packets an rtx one repeats (RFC 4588
	// §8.1), where HasOriginal is set.
	Original    uint8
	HasOriginal bool
}

// NewFormat gives the format with an encoding's name, in any case.
func NewFormat(name string) Format {
	c := media.ParseCodec(name)
	if c != media.CodecUnknown {
		name = c.String()
	}
	return Format{Name: name, Codec: c, ClockRate: c.ClockRate()}
}

// auxiliary tells formats that accompany media: nothing is lost without them.
func (f Format) auxiliary() bool {
	switch strings.ToLower(f.Name) {
	case "rtx", "ulpfec", "flexfec", "flexfec-03", "parityfec", "telephone-event", "cn", "comfort noise", "red":
		return true
	}
	return false
}

// staticFormats are those of RFC 3551 §6, none of which can be recorded.
var staticFormats = map[uint8]Format{
	0: {Name: "PCMU", ClockRate: 8000}, 3: {Name: "GSM", ClockRate: 8000}, 4: {Name: "G723", ClockRate: 8000},
	5: {Name: "DVI4", ClockRate: 8000}, 6: {Name: "DVI4", ClockRate: 16000}, 7: {Name: "LPC", ClockRate: 8000},
	8: {Name: "PCMA", ClockRate: 8000}, 9: {Name: "G722", ClockRate: 8000}, 10: {Name: "L16", ClockRate: 44100},
	11: {Name: "L16", ClockRate: 44100}, 12: {Name: "QCELP", ClockRate: 8000}, 13: {Name: "CN", ClockRate: 8000},
	14: {Name: "MPA", ClockRate: 90000}, 15: {Name: "G728", ClockRate: 8000}, 16: {Name: "DVI4", ClockRate: 11025},
	17: {Name: "DVI4", ClockRate: 22050}, 18: {Name: "G729", ClockRate: 8000}, 25: {Name: "CelB", ClockRate: 90000},
	26: {Name: "JPEG", ClockRate: 90000}, 28: {Name: "nv", ClockRate: 90000}, 31: {Name: "H261", ClockRate: 90000},
	32: {Name: "MPV", ClockRate: 90000}, 33: {Name: "MP2T", ClockRate: 90000}, 34: {Name: "H263", ClockRate: 90000},
}

// ParseMap reads payload types as --map has them: "96=VP8/90000,111=opus/48000/2",
// where clock rate and channels may be left out. Encodings that can't be
// recorded have a place in it too: they need not be recognised then.
func ParseMap(s string) (map[uint8]Format, error) {
	m := map[uint8]Format{}
	for entry := range strings.SplitSeq(s, ",") {
		number, encoding, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form TYPE=ENCODING/RATE", entry)
		}
		pt, err := strconv.ParseUint(strings.TrimSpace(number), 10, 7)
		if err != nil {
			return nil, fmt.Errorf("%q is no payload type from 0 to 127", number)
		}
		if _, ok := m[uint8(pt)]; ok {
			return nil, fmt.Errorf("payload type %d is given twice", pt)
		}
		f, err := parseEncoding(strings.TrimSpace(encoding))
		if err != nil {
			return nil, err
		}
		m[uint8(pt)] = f
	}
	return m, nil
}

var errEncoding = errors.New("no encoding")

// parseEncoding reads "opus/48000/2".
func parseEncoding(s string) (Format, error) {
	name, rest, _ := strings.Cut(s, "/")
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Format{}, fmt.Errorf("%w: %q", errEncoding, s)
	}
	f := NewFormat(name)
	if rest == "" {
		return f, nil
	}
	rate, _, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(rate, 10, 32)
	if err != nil || n == 0 {
		return Format{}, fmt.Errorf("%q: %q is no clock rate", s, rate)
	}
	if want := f.Codec.ClockRate(); want != 0 && n != uint64(want) {
		return Format{}, fmt.Errorf("%q: the clock rate of %v is %d", s, f.Codec, want)
	}
	f.ClockRate = uint32(n)
	return f, nil
}
