package dump

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/roomtape/roomtape/signaling"
)

// WriterConfig says what a dump says of itself. The zero WriterConfig is ready
// for use.
type WriterConfig struct {
	Session SessionInfo
}

const (
	// writerChunk is how much a Writer gathers, in bytes, and writerHold for
	// how long, in the time of events, before it writes.
	writerChunk = 64 << 10
	writerHold  = time.Second
)

// Writer writes the events of a room as a dump: a pcapng file that Wireshark
// opens and Open reads. docs/DUMP.md has the format.
//
// The file is whole after each write to the underlying writer, which gets
// several blocks at once: up to 64 KiB or a second of them. Errors are sticky. A
// Writer is used by one goroutine.
type Writer struct {
	w       io.Writer
	buf     []byte
	flushed time.Time // Time of the event after the last flush
	tracks  map[*signaling.Track]uint32
	count   uint32
	packet  []byte
	err     error
}

// NewWriter writes the beginning of a dump to w.
func NewWriter(w io.Writer, cfg WriterConfig) (*Writer, error) {
	d := &Writer{w: w, tracks: map[*signaling.Track]uint32{}}
	header, err := json.Marshal(ownHeader{Version: ownVersion, Session: cfg.Session})
	if err != nil {
		return nil, fmt.Errorf("writing a dump: %w", err)
	}
	if len(header) > maxComment {
		return nil, fmt.Errorf("writing a dump: %w", errComment)
	}
	at := d.begin(blockSection)
	d.u32(sectionMagic)
	d.u16(1) // version 1.0
	d.u16(0)
	d.u32(^uint32(0)) // the section's length is not known
	d.u32(^uint32(0))
	d.option(optionComment, header)
	if name := cfg.Session.Recorder; name != "" && len(name) < maxComment {
		d.option(optionApplication, []byte(name))
	}
	d.u32(0) // no more options
	d.end(at)

	at = d.begin(blockInterface)
	d.u16(uint16(linkRaw))
	d.u16(0)
	d.u32(0) // no packet is cut
	d.option(optionName, []byte("room"))
	d.option(optionResolution, []byte{9}) // nanoseconds
	d.u32(0)
	d.end(at)
	return d, d.Flush()
}

var (
	errComment = errors.New("more text than a dump holds")
	errTrack   = errors.New("an event of a track that has not started")
)

// Write records an event, except a Tick: those are for who waits. It keeps
// nothing of it, and does not release its packet. What is written may wait for more until Flush.
func (d *Writer) Write(e signaling.Event) error {
	if d.err != nil {
		return d.err
	}
	if err := d.event(&e); err != nil {
		d.err = fmt.Errorf("writing a dump: %w", err)
		return d.err
	}
	if d.flushed.IsZero() {
		d.flushed = e.Time
	}
	if len(d.buf) >= writerChunk || e.Time.Sub(d.flushed) >= writerHold {
		d.flushed = e.Time
		return d.Flush()
	}
	return nil
}

func (d *Writer) event(e *signaling.Event) error {
	switch e.Kind {
	case signaling.Tick:
		return nil
	case signaling.Joined:
		return d.note(e.Time, 0, ownEvent{Event: eventJoined, Participant: text(e.Participant)})
	case signaling.Left:
		return d.note(e.Time, 0, ownEvent{Event: eventLeft, Participant: text(e.Participant)})
	case signaling.MessageArrived:
		return d.message(e.Time, e.Participant, e.Message)
	case signaling.TrackStarted:
		if d.count >= maxTrackNumber {
			return errors.New("more tracks than a dump holds")
		}
		d.count++
		d.tracks[e.Track] = d.count
		return d.note(e.Time, d.count, describe(e.Track, d.count))
	}
	n, ok := d.tracks[e.Track]
	if !ok {
		return errTrack
	}
	switch e.Kind {
	case signaling.TrackEnded:
		delete(d.tracks, e.Track)
		return d.note(e.Time, n, ownEvent{Event: eventEnded, Track: n})
	case signaling.PacketArrived:
		port := portRTP
		if e.Packet.Recovered {
			port = portRecovered
		}
		d.packet = e.Packet.Append(d.packet[:0])
		return d.datagram(e.Time, n, port, portRTP, d.packet, nil)
	case signaling.Reported:
		d.packet = append(d.packet[:0], 0x80, rtcpSenderReport, 0, 6)
		d.packet = binary.BigEndian.AppendUint32(d.packet, e.Track.SSRC)
		d.packet = binary.BigEndian.AppendUint64(d.packet, e.Report.NTP)
		d.packet = binary.BigEndian.AppendUint32(d.packet, e.Report.RTP)
		d.packet = append(d.packet, 0, 0, 0, 0, 0, 0, 0, 0) // counts that are not known
		return d.datagram(e.Time, n, portRTCP, portRTCP, d.packet, nil)
	}
	return fmt.Errorf("an event of kind %d", e.Kind)
}

// note writes an event that has no packet.
func (d *Writer) note(at time.Time, track uint32, e ownEvent) error {
	return d.block(at, track, e, nil)
}

// block writes an event with what is no packet.
func (d *Writer) block(at time.Time, track uint32, e ownEvent, payload []byte) error {
	comment, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(comment) > maxComment {
		return errComment
	}
	return d.datagram(at, track, portEvent, portEvent, payload, comment)
}

// Flush writes what has gathered.
func (d *Writer) Flush() error {
	if d.err != nil || len(d.buf) == 0 {
		return d.err
	}
	if _, err := d.w.Write(d.buf); err != nil {
		d.err = fmt.Errorf("writing a dump: %w", err)
	}
	d.buf = d.buf[:0]
	return d.err
}

// Close writes what has gathered. It does not close the underlying writer.
func (d *Writer) Close() error {
	err := d.Flush()
	if d.err == nil {
		d.err = errors.New("writing a dump: it is closed")
	}
	return err
}

// datagram writes a packet block with a UDP datagram of a track.
func (d *Writer) datagram(at time.Time, track uint32, from, to uint16, payload, comment []byte) error {
	const ipHeader, udpHeader = 20, 8
	size := ipHeader + udpHeader + len(payload)
	if size > maxDatagram {
		return fmt.Errorf("a packet of %d bytes", len(payload))
	}
	block := d.begin(blockEnhanced)
	d.u32(0) // the only interface
	nanos := uint64(at.UnixNano())
	d.u32(uint32(nanos >> 32))
	d.u32(uint32(nanos))
	d.u32(uint32(size))
	d.u32(uint32(size))

	ip := len(d.buf)
	d.buf = append(d.buf, 0x45, 0)
	d.buf = binary.BigEndian.AppendUint16(d.buf, uint16(size))
	d.buf = append(d.buf,
		0, 0, 0, 0, 64, protoUDP, 0, 0,
		10, byte(track>>16), byte(track>>8), byte(track),
		10, 255, 255, 255)
	binary.BigEndian.PutUint16(d.buf[ip+10:], checksum(d.buf[ip:]))
	d.buf = binary.BigEndian.AppendUint16(d.buf, from)
	d.buf = binary.BigEndian.AppendUint16(d.buf, to)
	d.buf = binary.BigEndian.AppendUint16(d.buf, uint16(udpHeader+len(payload)))
	d.buf = append(d.buf, 0, 0) // no checksum (RFC 768)
	d.buf = append(d.buf, payload...)
	d.pad()
	if comment != nil {
		d.option(optionComment, comment)
		d.u32(0)
	}
	d.end(block)
	return nil
}

// checksum is the Internet checksum (RFC 1071) of a header of even length.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

func (d *Writer) u16(v uint16) { d.buf = binary.LittleEndian.AppendUint16(d.buf, v) }
func (d *Writer) u32(v uint32) { d.buf = binary.LittleEndian.AppendUint32(d.buf, v) }

func (d *Writer) pad() {
	for len(d.buf)%4 != 0 {
		d.buf = append(d.buf, 0)
	}
}

// begin starts a block, which end ends. Blocks and what is gathered have a
// length that 4 divides.
func (d *Writer) begin(kind uint32) int {
	d.u32(kind)
	d.u32(0)
	return len(d.buf) - 8
}

func (d *Writer) end(at int) {
	size := uint32(len(d.buf) - at + 4)
	d.u32(size)
	binary.LittleEndian.PutUint32(d.buf[at+4:], size)
}

func (d *Writer) option(code uint16, value []byte) {
	d.u16(code)
	d.u16(uint16(len(value)))
	d.buf = append(d.buf, value...)
	d.pad()
}
