package dump

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// pcapng reads the pcapng file format (draft-ietf-opsawg-pcapng): sections of
// either byte order, each with interfaces of their own.
type pcapng struct {
	*input
	order      binary.ByteOrder
	interfaces []pcapInterface
	net        network
	// own is set when the section says that we have written it.
	own *ownHeader
	// comment is that of the latest packet, valid until the next record.
	comment []byte
	// unknown is the first link type that could not be read, if none could.
	unknown error
	read    bool
	// foreign is set in a section of a version that is not known.
	foreign bool
}

type pcapInterface struct {
	link   linkType
	snap   uint32
	ticks  uint64 // a second
	offset int64  // in seconds
}

// Types of block.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6

	sectionMagic = 0x1a2b3c4d
	// maxInterfaces is how many interfaces of a section are known. Packets of
	// further ones are damage.
	maxInterfaces = 65536
)

// Codes of options.
const (
	optionEnd        = 0
	optionComment    = 1
	optionResolution = 9
	optionOffset     = 14
)

func isPcapng(head []byte) bool {
	return len(head) >= 12 && binary.BigEndian.Uint32(head) == blockSection &&
		(binary.BigEndian.Uint32(head[8:]) == sectionMagic || binary.LittleEndian.Uint32(head[8:]) == sectionMagic)
}

// newPcapng reads the first section's header.
func newPcapng(in *input) (*pcapng, error) {
	f := &pcapng{input: in, order: binary.LittleEndian}
	f.begin()
	kind, body, err := f.block()
	if err != nil {
		return nil, err
	}
	if kind != blockSection {
		return nil, f.damage("no section begins here")
	}
	return f, f.section(body)
}

func (f *pcapng) format() string {
	if f.own != nil {
		return "roomtape dump"
	}
	return "pcapng"
}

// block reads a whole block. Of one too large to be of use, the body is nil.
func (f *pcapng) block() (kind uint32, body []byte, err error) {
	head, err := f.take(8)
	if err != nil {
		return 0, nil, err
	}
	kind = f.order.Uint32(head)
	size := f.order.Uint32(head[4:])
	if kind == blockSection { // reads alike either way; what follows tells the order
		raw := [4]byte(head[4:8])
		magic, err := f.r.Peek(4)
		if err != nil {
			return 0, nil, f.damage("the file is cut off")
		}
		switch uint32(sectionMagic) {
		case binary.LittleEndian.Uint32(magic):
			f.order = binary.LittleEndian
		case binary.BigEndian.Uint32(magic):
			f.order = binary.BigEndian
		default:
			return 0, nil, f.damage("a section of unknown byte order")
		}
		size = f.order.Uint32(raw[:])
	}
	if size < 12 || size%4 != 0 {
		return 0, nil, f.damage("a block of %d bytes", size)
	}
	if size > maxRecord {
		switch kind {
		case blockSection, blockInterface, blockPacket, blockSimple, blockEnhanced:
			return 0, nil, f.damage("a block of %d bytes", size)
		}
		return kind, nil, f.skip(int64(size) - 8)
	}
	rest, err := f.take(int(size) - 8)
	if err != nil {
		return 0, nil, err
	}
	body = rest[:len(rest)-4]
	if again := f.order.Uint32(rest[len(rest)-4:]); again != size {
		return 0, nil, f.damage("a block of %d bytes that ends as one of %d", size, again)
	}
	return kind, body, nil
}

// section begins a section; body is its header.
func (f *pcapng) section(body []byte) error {
	if len(body) < 16 {
		return f.damage("a section header of %d bytes", len(body)+12)
	}
	f.interfaces = f.interfaces[:0]
	f.own = nil
	if f.foreign = f.order.Uint16(body[4:]) != 1; f.foreign {
		return nil
	}
	for code, value := range f.options(body[16:]) {
		if code == optionComment {
			if own := parseOwnHeader(value); own != nil {
				f.own = own
			}
		}
	}
	return nil
}

// options gives the options in b. It ends early when they are damaged.
func (f *pcapng) options(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			code, size := f.order.Uint16(b), int(f.order.Uint16(b[2:]))
			padded := (size + 3) &^ 3
			if code == optionEnd || padded > len(b)-4 {
				return
			}
			if !yield(code, b[4:4+size]) {
				return
			}
			b = b[4+padded:]
		}
	}
}

func (f *pcapng) describe(body []byte) error {
	if len(body) < 8 {
		return f.damage("an interface of %d bytes", len(body)+12)
	}
	if len(f.interfaces) >= maxInterfaces {
		return f.damage("more than %d interfaces", maxInterfaces)
	}
	i := pcapInterface{link: linkType(f.order.Uint16(body)), snap: f.order.Uint32(body[4:]), ticks: 1_000_000}
	for code, value := range f.options(body[8:]) {
		switch {
		case code == optionResolution && len(value) >= 1:
			ticks, ok := resolution(value[0])
			if !ok {
				return f.damage("a time resolution that can't be")
			}
			i.ticks = ticks
		case code == optionOffset && len(value) >= 8:
			i.offset = int64(f.order.Uint64(value))
		}
	}
	f.interfaces = append(f.interfaces, i)
	if i.link.known() {
		f.read = true
	} else if f.unknown == nil {
		f.unknown = fmt.Errorf("%s: %w: link type %v", f.name, ErrFormat, i.link)
	}
	return nil
}

// resolution gives the ticks of a second for the option if_tsresol.
func resolution(v byte) (uint64, bool) {
	if v&0x80 != 0 {
		return 1 << (v & 0x3f), v&0x7f < 64
	}
	if v > 19 {
		return 0, false
	}
	ticks := uint64(1)
	for range v {
		ticks *= 10
	}
	return ticks, true
}

// time gives the instant of a timestamp.
func (i *pcapInterface) time(ticks uint64) time.Time {
	if i.ticks == 0 { // 2^64 does not fit
		return time.Time{}
	}
	hi, lo := bits.Mul64(ticks%i.ticks, 1_000_000_000)
	nanos, _ := bits.Div64(hi, lo, i.ticks)
	return plausible(time.Unix(int64(ticks/i.ticks)+i.offset, int64(nanos)))
}

// plausible gives the time in UTC, or no time when RFC 3339 can't say it or it is
// before there was RTP.
func plausible(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

func (f *pcapng) next(d *datagram) error {
	for {
		f.begin()
		kind, body, err := f.block()
		if err != nil {
			return err
		}
		switch {
		case kind == blockSection:
			err = f.section(body)
		case f.foreign:
		case kind == blockInterface:
			err = f.describe(body)
		case kind == blockEnhanced, kind == blockPacket:
			return f.packet(kind, body, d)
		case kind == blockSimple:
			return f.simple(body, d)
		}
		if err != nil {
			return err
		}
	}
}

// packet reads an enhanced packet block, or the obsolete one.
func (f *pcapng) packet(kind uint32, body []byte, d *datagram) error {
	if len(body) < 20 {
		return f.damage("a packet block of %d bytes", len(body)+12)
	}
	id := f.order.Uint32(body)
	if kind == blockPacket {
		id = uint32(f.order.Uint16(body))
	}
	size := f.order.Uint32(body[12:])
	if int64(size) > int64(len(body)-20) {
		return f.damage("a packet of %d bytes in a block of %d", size, len(body)+12)
	}
	if int64(id) >= int64(len(f.interfaces)) {
		return f.damage("a packet of interface %d, which there is not", id)
	}
	i := &f.interfaces[id]
	*d = datagram{at: i.time(uint64(f.order.Uint32(body[4:]))<<32 | uint64(f.order.Uint32(body[8:])))}
	f.net.decode(i.link, body[20:20+size], d)
	f.comment = nil
	if padded := 20 + (int(size)+3)&^3; f.own != nil && padded < len(body) {
		for code, value := range f.options(body[padded:]) {
			if code == optionComment {
				f.comment = value
				break
			}
		}
	}
	return nil
}

// simple reads a simple packet block, which has no time and belongs to the first
// interface.
func (f *pcapng) simple(body []byte, d *datagram) error {
	if len(body) < 4 || len(f.interfaces) == 0 {
		return f.damage("a simple packet block without an interface or of %d bytes", len(body)+12)
	}
	i := &f.interfaces[0]
	size := f.order.Uint32(body)
	if i.snap != 0 {
		size = min(size, i.snap)
	}
	if int64(size) > int64(len(body)-4) {
		return f.damage("a packet of %d bytes in a block of %d", size, len(body)+12)
	}
	*d = datagram{}
	f.net.decode(i.link, body[4:4+size], d)
	return nil
}
