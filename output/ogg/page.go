package ogg

import "encoding/binary"

// The flags of a page (RFC 3533 §6).
const (
	continued = 0x01 // it begins in the middle of a packet
	firstPage = 0x02
	lastPage  = 0x04
)

const (
	pageHeader  = 27
	maxSegments = 255
	// noPacket is the granule position of a page on which no packet ends.
	noPacket = -1
)

// pager puts packets into pages.
type pager struct {
	serial, sequence uint32
	done             []byte // whole pages

	// Of the page that is being filled; granule is of the last packet that
	// ends in it.
	segments, body []byte
	granule        int64
	flags          byte
	// last is the granule position of the latest packet of all.
	last int64
}

// add puts a packet into the page, and into further ones when it is large.
// granule is the number of samples up to its end.
func (p *pager) add(packet []byte, granule int64) {
	if len(p.segments) == 0 {
		p.granule = noPacket
	}
	for more := false; ; more = true {
		if len(p.segments) == maxSegments {
			p.end(0)
			p.granule = noPacket
			if more {
				p.flags |= continued
			}
		}
		n := min(len(packet), 255)
		p.segments = append(p.segments, byte(n))
		p.body = append(p.body, packet[:n]...)
		packet = packet[n:]
		if n < 255 { // a packet of a multiple of 255 bytes ends with an empty segment
			break
		}
	}
	p.granule, p.last = granule, granule
}

// end ends the page. One without packets is made only to be the last.
func (p *pager) end(flags byte) {
	if len(p.segments) == 0 {
		if flags&lastPage == 0 {
			return
		}
		p.granule = p.last
	}
	flags |= p.flags
	if p.sequence == 0 {
		flags |= firstPage
	}
	at := len(p.done)
	b := append(p.done, "OggS\x00"...)
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.granule))
	b = binary.LittleEndian.AppendUint32(b, p.serial)
	b = binary.LittleEndian.AppendUint32(b, p.sequence)
	b = append(b, 0, 0, 0, 0, byte(len(p.segments)))
	b = append(b, p.segments...)
	b = append(b, p.body...)
	binary.LittleEndian.PutUint32(b[at+22:], checksum(b[at:]))
	p.done = b
	p.sequence++
	p.segments, p.body, p.flags = p.segments[:0], p.body[:0], 0
}

// size is how many bytes wait.
func (p *pager) size() int { return len(p.done) + len(p.body) }

// take gives the whole pages, until the next call of add or end.
func (p *pager) take() []byte {
	b := p.done
	p.done = p.done[:0]
	return b
}

// checksums is the table of the CRC with the generator 0x04c11db7, which is not
// reflected, unlike that of package crc32.
var checksums = func() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			if r&0x80000000 != 0 {
				r = r<<1 ^ 0x04c11db7
			} else {
				r <<= 1
			}
		}
		t[i] = r
	}
	return t
}()

func checksum(b []byte) uint32 {
	var c uint32
	for _, x := range b {
		c = c<<8 ^ checksums[byte(c>>24)^x]
	}
	return c
}
