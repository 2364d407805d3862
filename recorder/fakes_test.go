package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

var t0 = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// script is a Room that has happened already: it gives its events in the order
// of time, ticks in between, and io.EOF at its end.
type script struct {
	events []signaling.Event
	next   int
	// now is the time of the latest event, end that of io.EOF; the zero end is
	// right after the last event.
	now, end time.Time
	// ended is returned at the end, io.EOF when nil.
	ended error
	// before is called before each event and tick.
	before func(now time.Time)
}

func (r *script) Next(ctx context.Context, deadline time.Time) (signaling.Event, error) {
	if err := ctx.Err(); err != nil {
		return signaling.Event{}, err
	}
	at := r.end
	if r.next < len(r.events) {
		at = r.events[r.next].Time
	}
	if !deadline.IsZero() && deadline.Before(at) {
		r.now = maxTime(r.now, deadline)
		if r.before != nil {
			r.before(r.now)
		}
		return signaling.Event{Kind: signaling.Tick, Time: r.now}, nil
	}
	r.now = maxTime(r.now, at)
	if r.before != nil {
		r.before(r.now)
	}
	if r.next == len(r.events) {
		if r.ended != nil {
			return signaling.Event{}, r.ended
		}
		return signaling.Event{}, io.EOF
	}
	r.next++
	return r.events[r.next-1], nil
}

func (r *script) Close() error { return nil }

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// add puts an event where its time says.
func (r *script) add(e signaling.Event) {
	i, _ := slices.BinarySearchFunc(r.events, e.Time, func(o signaling.Event, t time.Time) int {
		if o.Time.After(t) {
			return 1
		}
		return -1
	})
	r.events = slices.Insert(r.events, i, e)
	r.end = maxTime(r.end, e.Time)
}

func (r *script) joined(at time.Duration, id string) {
	r.add(signaling.Event{Kind: signaling.Joined, Time: t0.Add(at), Participant: id})
}

func (r *script) left(at time.Duration, id string) {
	r.add(signaling.Event{Kind: signaling.Left, Time: t0.Add(at), Participant: id})
}

// sender is a track in a script.
type sender struct {
	room *script
	in   *signaling.Track
	seq  uint16
	rtp  uint32
	pt   uint8
	pic  uint16
	// size is the payload of an inter frame or Opus packet.
	size int
	// ssrc is in the packets in place of the track's, when it is not 0.
	ssrc          uint32
	width, height int
	// drop is asked before each packet is sent.
	drop func(seq uint16) bool
	// log, when not nil, gets each frame that was sent whole.
	log *[]sent
}

// sent is a frame that was sent, and when its last packet arrived.
type sent struct {
	at   time.Time
	data string
}

func (r *script) start(at time.Duration, in *signaling.Track) *sender {
	if in.Codecs == nil {
		in.Codecs = map[uint8]media.Codec{96: media.VP8, 98: media.VP9, 97: media.H264, 99: media.CodecUnknown}
		if in.Kind == media.Audio {
			in.Codecs = map[uint8]media.Codec{111: media.Opus, 0: media.CodecUnknown}
		}
	}
	r.add(signaling.Event{Kind: signaling.TrackStarted, Time: t0.Add(at), Track: in})
	s := &sender{room: r, in: in, seq: 65500, rtp: 4294900000, pt: 96, size: 500, width: 640, height: 480}
	if in.Kind == media.Audio {
		s.pt, s.size = 111, 80
	}
	return s
}

func (s *sender) stop(at time.Duration) {
	s.room.add(signaling.Event{Kind: signaling.TrackEnded, Time: t0.Add(at), Track: s.in})
}

func rtp(pt uint8, seq uint16, timestamp, ssrc uint32, marker bool, payload []byte) []byte {
	b := make([]byte, 12, 12+len(payload))
	b[0], b[1] = 0x80, pt
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return append(b, payload...)
}

// packet sends one RTP packet.
func (s *sender) packet(at time.Duration, marker bool, payload []byte) {
	seq := s.seq
	s.seq++
	if s.drop != nil && s.drop(seq) {
		return
	}
	s.raw(at, seq, marker, payload)
}

func (s *sender) raw(at time.Duration, seq uint16, marker bool, payload []byte) {
	ssrc := s.in.SSRC
	if s.ssrc != 0 {
		ssrc = s.ssrc
	}
	p, err := media.NewPacket(rtp(s.pt, seq, s.rtp, ssrc, marker, payload), t0.Add(at))
	if err != nil {
		panic(err)
	}
	s.room.add(signaling.Event{Kind: signaling.PacketArrived, Time: p.Arrival, Track: s.in, Packet: p})
}

// vp8Payload makes a VP8 payload with a PictureID (RFC 7741) of a frame that
// does not decode but has a right header (RFC 6386 §9.1).
func vp8Payload(pic uint16, first, key bool, width, height, size int) []byte {
	b := []byte{0x80, 0x80, 0x80 | byte(pic>>8), byte(pic)}
	if !first {
		return append(b, bytes.Repeat([]byte{0xee}, size)...)
	}
	b[0] |= 0x10
	tag := 1<<5 | 1<<4
	if !key {
		tag |= 1
	}
	b = append(b, byte(tag), byte(tag>>8), byte(tag>>16))
	if key {
		b = append(b, 0x9d, 0x01, 0x2a, byte(width), byte(width>>8), byte(height), byte(height>>8))
	}
	return append(b, bytes.Repeat([]byte{byte(pic)}, size)...)
}

// frame sends a VP8 frame of two packets.
func (s *sender) frame(at time.Duration, key bool) {
	first := vp8Payload(s.pic, true, key, s.width, s.height, s.size/2)
	second := vp8Payload(s.pic, false, false, 0, 0, s.size/2)
	s.packet(at, false, first)
	s.packet(at+ms(1), true, second)
	if s.log != nil {
		*s.log = append(*s.log, sent{t0.Add(at + ms(1)), string(first[4:]) + string(second[4:])})
	}
	s.pic = (s.pic + 1) & 0x7fff
}

// opus sends an Opus packet of 20 ms.
func (s *sender) opus(at time.Duration) {
	b := append([]byte{0xfc}, bytes.Repeat([]byte{byte(s.seq)}, s.size)...)
	s.packet(at, false, b)
	if s.log != nil {
		*s.log = append(*s.log, sent{t0.Add(at), string(b)})
	}
}

// video sends 25 frames a second in [from, to), with a keyframe first.
func (s *sender) video(from, to time.Duration) {
	for at := from; at < to; at += ms(40) {
		s.frame(at, at == from)
		s.rtp += 3600
	}
}

// audio sends Opus packets of 20 ms in [from, to).
func (s *sender) audio(from, to time.Duration) {
	for at := from; at < to; at += ms(20) {
		s.opus(at)
		s.rtp += 960
	}
}

// feedback notes what was asked of a sender.
type feedback struct {
	room      *script
	keyframes []time.Duration
	nacks     map[uint16]int
}

func (f *feedback) RequestKeyframe() { f.keyframes = append(f.keyframes, f.room.now.Sub(t0)) }
func (f *feedback) Nack(seqs []uint16) {
	for _, n := range seqs {
		f.nacks[n]++
	}
}
func (f *feedback) RoundTrip() time.Duration { return ms(50) }

// memory is a Store that can run full.
type memory struct {
	files map[string]*memoryFile
	order []string
	other map[string][]byte
	// room is how many bytes still fit; less than 0: any number.
	room int
	// broken names a file whose writes fail.
	broken string
	stream bool
}

func newMemory() *memory {
	return &memory{files: map[string]*memoryFile{}, other: map[string][]byte{}, room: -1}
}

var errFull = errors.New("no space left on device")

type memoryFile struct {
	store  *memory
	name   string
	data   []byte
	syncs  int
	writes int
	closed bool
}

func (m *memory) Create(name, ext string) (output.File, error) {
	if m.stream && len(m.files) > 0 {
		return nil, output.ErrOneFile
	}
	if m.room == 0 {
		return nil, errFull
	}
	for i := 1; ; i++ {
		full := name + ext
		if i > 1 {
			full = fmt.Sprintf("%s-%d%s", name, i, ext)
		}
		if m.files[full] != nil {
			continue
		}
		f := &memoryFile{store: m, name: full}
		m.files[full] = f
		m.order = append(m.order, full)
		if m.stream {
			return struct{ output.File }{f}, nil
		}
		return f, nil
	}
}

func (m *memory) WriteFile(name string, data []byte) error {
	m.other[name] = slices.Clone(data)
	return nil
}

func (m *memory) Open(name string) (io.ReadCloser, error) {
	f := m.files[name]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(f.data)), nil
}

func (f *memoryFile) Name() string { return f.name }

func (f *memoryFile) Write(b []byte) (int, error) {
	if f.store.broken == f.name {
		return 0, errors.New("input/output error")
	}
	n := len(b)
	if f.store.room >= 0 {
		n = min(n, f.store.room)
		f.store.room -= n
	}
	f.writes++
	f.data = append(f.data, b[:n]...)
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

func (f *memoryFile) WriteAt(b []byte, off int64) (int, error) {
	if grow := int(off) + len(b) - len(f.data); grow > 0 {
		if f.store.room >= 0 && grow > f.store.room {
			return 0, errFull
		}
		f.data = append(f.data, make([]byte, grow)...)
		if f.store.room >= 0 {
			f.store.room -= grow
		}
	}
	return copy(f.data[off:], b), nil
}

func (f *memoryFile) Truncate(size int64) error {
	if f.store.room >= 0 {
		f.store.room += len(f.data) - int(size)
	}
	f.data = f.data[:size]
	return nil
}

func (f *memoryFile) Sync() error  { f.syncs++; return nil }
func (f *memoryFile) Close() error { f.closed = true; return nil }

// config makes a Config that writes WebM into m.
func config(m *memory) Config {
	return Config{
		Room: "standup", URL: "ws://localhost/standup", Recorder: "roomtape test",
		Store: m,
		NewMuxer: func(w io.Writer, o MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{Chunk: o.Chunk, UID: o.UID, Date: o.Date, Matroska: o.Ext == ".mkv"})
		},
		Ext: func([]media.Codec) string { return ".webm" },
	}
}

// run records a room.
func run(tb testing.TB, cfg Config, room signaling.Room) (*Session, error) {
	tb.Helper()
	s, err := NewSession(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	err = s.Run(context.Background(), room)
	if err := s.Hash(context.Background()); err != nil {
		tb.Error(err)
	}
	for name, f := range cfg.Store.(*memory).files {
		if !f.closed {
			tb.Errorf("%s is not closed", name)
		}
	}
	checkAccounts(tb, s.Manifest())
	return s, err
}

// checkAccounts checks that every packet received has one fate, and that gaps
// hold all that was lost.
func checkAccounts(tb testing.TB, m Manifest) {
	tb.Helper()
	check := func(what string, p PacketCounts) {
		sum := p.Written + p.Late + p.Duplicate
		for _, n := range p.Discarded {
			sum += n
		}
		if sum != p.Received {
			tb.Errorf("%s: %d packets received, but %d accounted for: %+v", what, p.Received, sum, p)
		}
	}
	for _, f := range m.Files {
		for _, t := range f.Tracks {
			what := fmt.Sprintf("%s track %d", f.Path, t.Number)
			check(what, t.Packets)
			var lost, dropped int64
			for _, g := range t.Gaps {
				lost += g.Packets
				dropped += g.Frames
			}
			if lost != t.Packets.Lost || dropped != t.Frames.Dropped {
				tb.Errorf("%s: gaps hold %d packets and %d frames of %d and %d", what, lost, dropped, t.Packets.Lost, t.Frames.Dropped)
			}
		}
	}
	for _, u := range m.Unrecorded {
		check("unrecorded "+u.Participant+" "+u.Kind, u.Packets)
	}
}

// written is a frame read back from a file.
type written struct {
	track int
	at    time.Duration
	key   bool
	data  string
}

// readBack gives the frames of a recording in the order of the file.
func readBack(tb testing.TB, data []byte) []written {
	tb.Helper()
	var out []written
	r := webm.NewReader(bytes.NewReader(data))
	for {
		b, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, written{b.Track, b.Time, b.Key, string(b.Data)})
	}
}

func manifestOf(tb testing.TB, m *memory) Manifest {
	tb.Helper()
	var got Manifest
	if err := json.Unmarshal(m.other[ManifestName], &got); err != nil {
		tb.Fatal(err)
	}
	return got
}

func isStorage(err error) bool { return errors.Is(err, ErrStorage) }
