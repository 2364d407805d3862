package dump

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"
)

// mjr reads what Janus records. Each record has eight bytes of magic, a length
// of 16 bits, and that many bytes. The header is the first record: in the form
// of 2014 "MEETECHO" and the word "video" or "audio"; since then "MJR00001" or
// "MJR00002" and JSON. After such a header, the magic of a packet ends in its
// time in milliseconds.
type mjr struct {
	*input
	old    bool
	header mjrHeader
	start  time.Time
}

// mjrHeader is what we use of the JSON header.
type mjrHeader struct {
	Type       string            `json:"t"` // "a", "v" or "d"
	Codec      string            `json:"c"`
	Created    int64             `json:"s"` // µs
	Written    int64             `json:"u"` // µs, of the first packet
	Extensions map[string]string `json:"x"`
	Encrypted  bool              `json:"e"`
	RED        int               `json:"or"` // payload type of RED, for Opus
}

// mjrRecord is the size of what comes before each record's bytes.
const mjrRecord = 10

func isMJR(head []byte) bool {
	return len(head) >= mjrRecord &&
		(bytes.HasPrefix(head, []byte("MEETECHO")) || bytes.HasPrefix(head, []byte("MJR0000")))
}

func newMJR(in *input) (*mjr, error) {
	f := &mjr{input: in}
	head, err := in.take(mjrRecord)
	if err != nil {
		return nil, err
	}
	f.old = head[1] == 'E'
	size := int(binary.BigEndian.Uint16(head[8:]))
	text, err := in.take(size)
	if err != nil {
		return nil, err
	}
	if f.old {
		switch string(text) {
		case "video":
			f.header.Type = "v"
		case "audio":
			f.header.Type = "a"
		default:
			return nil, in.damage("a header that says neither audio nor video")
		}
		return f, nil
	}
	if err := json.Unmarshal(text, &f.header); err != nil {
		return nil, in.damage("its header is no JSON: %v", err)
	}
	if at := f.header.Written; at != 0 {
		f.start = plausible(time.UnixMicro(at))
	} else if at := f.header.Created; at != 0 {
		f.start = plausible(time.UnixMicro(at))
	}
	return f, nil
}

func (f *mjr) format() string {
	if f.old {
		return "mjr (old header)"
	}
	return "mjr"
}

func (f *mjr) next(d *datagram) error {
	f.begin()
	head, err := f.take(mjrRecord)
	if err != nil {
		return err
	}
	*d = datagram{}
	if !bytes.HasPrefix(head, []byte("MEET")) {
		return f.damage("no record begins here")
	}
	if !f.old && !f.start.IsZero() {
		d.at = f.start.Add(time.Duration(binary.BigEndian.Uint32(head[4:])) * time.Millisecond)
	}
	d.data, err = f.take(int(binary.BigEndian.Uint16(head[8:])))
	if f.header.Type == "d" {
		d.data, d.other = nil, "data channel"
	}
	return err
}

// formatOf gives what the header says of the codec; the name is empty when it
// says nothing.
func (f *mjr) formatOf() Format {
	name := f.header.Codec
	if name == "" {
		return Format{}
	}
	return NewFormat(strings.ToUpper(name))
}
