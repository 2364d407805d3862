package dump

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"
)

// datagram is one record of a dump.
type datagram struct {
	// at is when it was captured; zero: not known.
	at time.Time
	// from and to are zero when the file does not say.
	from, to netip.AddrPort
	// data is the payload, until the next record is read.
	data []byte
	// other names what the record is when it is no UDP datagram, such as
	// "ICMP"; then data is empty.
	other string
	// via names what carried it, when it passed a relay; empty: nothing did.
	via string
}

// source gives the records of one file in their order.
type source interface {
	// next reads the next record. The error is io.EOF at the end, and else a
	// *DamageError or from reading the file; after one there is no more.
	next(d *datagram) error
	// format names the file's format.
	format() string
}

// input reads a file and knows where it is.
type input struct {
	name   string
	r      *bufio.Reader
	offset int64
	record int64 // where the current record began
	large  []byte
}

// inputBuffer is how much is read at once: what stays in a processor's cache.
const inputBuffer = 64 << 10

// begin notes that a record begins here.
func (in *input) begin() { in.record = in.offset }

// take gives the next n bytes, n ≤ maxRecord, which stay valid until the next
// call. At the end of the file it is io.EOF if no byte is left, and damage
// otherwise.
func (in *input) take(n int) ([]byte, error) {
	if n > inputBuffer {
		return in.takeLarge(n)
	}
	b, err := in.r.Peek(n)
	if len(b) == n {
		in.offset += int64(n)
		_, err = in.r.Discard(n)
		return b, err
	}
	return nil, in.short(len(b), err)
}

// takeLarge is take of more than the buffer holds.
func (in *input) takeLarge(n int) ([]byte, error) {
	if cap(in.large) < n {
		in.large = make([]byte, maxRecord)
	}
	got, err := io.ReadFull(in.r, in.large[:n])
	if err == nil {
		in.offset += int64(n)
		return in.large[:n], nil
	}
	return nil, in.short(got, err)
}

// short gives the error of a take that got only some bytes.
func (in *input) short(got int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if got == 0 && in.offset == in.record {
			return io.EOF
		}
		return in.damage("the file is cut off")
	}
	return in.failed(err)
}

// failed gives the error for one of reading the file: that of the operating
// system, or damage to what is compressed.
func (in *input) failed(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return fmt.Errorf("reading %s: %w", in.name, err)
	}
	return in.damage("%v", err)
}

// skip passes over n bytes.
func (in *input) skip(n int64) error {
	for n > 0 {
		part, err := in.r.Discard(int(min(n, 1<<30)))
		in.offset += int64(part)
		n -= int64(part)
		if errors.Is(err, io.EOF) {
			return in.damage("the file is cut off")
		}
		if err != nil {
			return in.failed(err)
		}
	}
	return nil
}

func (in *input) damage(what string, args ...any) error {
	return &DamageError{File: in.name, Offset: in.record, What: fmt.Sprintf(what, args...)}
}

// openSource tells the format of what r reads, and gives its records.
func openSource(name string, r io.Reader) (source, error) {
	in := &input{name: name, r: bufio.NewReaderSize(r, inputBuffer)}
	head, err := in.r.Peek(2)
	if err == nil && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in.r)
		if err != nil {
			return nil, in.damage("%v", err)
		}
		in.r = bufio.NewReaderSize(z, inputBuffer)
	}
	head, err = in.r.Peek(sniffed)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w: it is empty", name, ErrFormat)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, in.failed(err)
	}
	switch {
	case isRTPDump(head):
		return newRTPDump(in)
	case isMJR(head):
		return newMJR(in)
	case isPcap(head):
		return newPcap(in)
	case isPcapng(head):
		return newPcapng(in)
	case isFramed(head):
		return &framed{input: in}, nil
	}
	return nil, fmt.Errorf("%s: %w: neither rtpdump, pcap, pcapng, mjr nor framed RTP", name, ErrFormat)
}

// sniffed is how much of a file is looked at to tell its format.
const sniffed = 4096

// framed reads packets that each follow their length in 16 bits (RFC 4571 §2).
type framed struct{ *input }

func (f *framed) format() string { return "RFC 4571" }

// isFramed tells whether what head begins with are framed packets, all of them
// RTP or RTCP (RFC 3550 §5.1, §6.1).
func isFramed(head []byte) bool {
	n := 0
	for len(head) >= 4 {
		size := int(binary.BigEndian.Uint16(head))
		if size < 8 || head[2]>>6 != 2 {
			return false
		}
		n++
		if 2+size > len(head) {
			return n > 1
		}
		head = head[2+size:]
	}
	return n > 0
}

func (f *framed) next(d *datagram) error {
	f.begin()
	b, err := f.take(2)
	if err != nil {
		return err
	}
	*d = datagram{}
	d.data, err = f.take(int(binary.BigEndian.Uint16(b)))
	return err
}
