package dump

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/roomtape/roomtape/media"
)

// pair is the way of a datagram.
type pair struct{ from, to netip.AddrPort }

// streamKey is what tells streams apart.
type streamKey struct {
	pair
	// file is the number of the file when there are no addresses, else 0: a
	// capture may go on in another file.
	file int
	ssrc uint32
}

// stream is what the first pass learns of a stream.
type stream struct {
	key  streamKey
	file int // in which it began
	// first and last are the earliest and latest capture times.
	first, last time.Time
	packets     int64
	partial     bool // packets counts those of the second pass
	payloads    []*payload
	name        string // canonical name

	// span is the latest media time less the first, in RTP clock ticks.
	span      int64
	ticks     int64
	timestamp uint32
	sequence  uint16
	// before is the stream that this one goes on from, as it looked at its
	// first packet; into, once decided, the one that it is part of. moved has the
	// keys of those that are part of this.
	before, into *stream
	flow         *flow
	moved        []streamKey

	// frames is set when several packets shared a timestamp.
	frames bool

	// What has been decided.
	main      *payload
	kind      media.Kind
	codecs    map[uint8]media.Codec
	red       map[uint8]bool // as in signaling.Track
	encrypted bool
	original  *stream // whose packets it repeats
	owner     *person
	reason    string

	play playback
}

// payload is one payload type of a stream.
type payload struct {
	pt       uint8
	packets  int64
	evidence evidence
	format   Format
	knownBy  string
	red      bool // RED with format.Codec inside
}

// fileFacts is what the first pass learns of a file.
type fileFacts struct {
	File
	hint    Format // the codec that its header says
	red     int    // the payload type of RED, by its header; 0: none
	rtpTime bool
	partial bool // there is more than the first pass has read
	start   time.Time
	damage  error
}

// survey is the first pass over a dump and what it has learned.
type survey struct {
	cfg     Config
	files   []*fileFacts
	streams []*stream
	byKey   map[streamKey]*stream
	recent  *stream
	pairs   map[pair][]*stream
	ways    map[uint32][]*stream // by SSRC
	names   map[nameKey]string
	ignored counts
	relayed counts
	dump    description // of the session descriptions within
	given   description
	dtls    bool
	cipher  *cipher
	packet  media.Packet
	start   time.Time
	end     time.Time
}

type nameKey struct {
	host netip.Addr
	file int
	ssrc uint32
}

func newSurvey(cfg Config, c *cipher) *survey {
	v := &survey{
		cfg: cfg, cipher: c,
		byKey: map[streamKey]*stream{}, pairs: map[pair][]*stream{}, ways: map[uint32][]*stream{},
		names: map[nameKey]string{}, ignored: counts{}, relayed: counts{},
	}
	if cfg.SDP != nil {
		v.given, _ = parseSDP(cfg.SDP)
	}
	return v
}

// checkEvery is how many records are read between looks at the context.
const checkEvery = 4096

// file goes through one file, or its beginning. A damaged one is no error.
func (v *survey) file(ctx context.Context, src source, name string, glance bool) error {
	f := &fileFacts{File: File{Name: name, Format: src.format()}}
	if m, ok := src.(*mjr); ok {
		f.hint, f.red = m.formatOf(), m.header.RED
	}
	v.files = append(v.files, f)
	var d datagram
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if glance && n == glanceRecords {
			f.partial = true
			return nil
		}
		err := src.next(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				return err
			}
			f.Damage, f.damage = err.Error(), err
			break
		}
		v.take(&d, len(v.files)-1)
	}
	if p, ok := src.(*pcapng); ok && p.unknown != nil && !p.read {
		return p.unknown
	}
	return nil
}

func (v *survey) take(d *datagram, file int) {
	if !d.at.IsZero() {
		if v.start.IsZero() || d.at.Before(v.start) {
			v.start = d.at
		}
		if d.at.After(v.end) {
			v.end = d.at
		}
		if f := v.files[file]; f.start.IsZero() || d.at.Before(f.start) {
			f.start = d.at
		}
	}
	if d.other != "" {
		v.ignored.add(d.other)
		return
	}
	if d.via != "" {
		v.relayed.add(d.via)
	}
	what := classify(d.data)
	switch what {
	case isRTP:
		v.rtp(d, file)
		return
	case isRTCP:
		v.rtcp(d, file)
	case isDTLS:
		v.dtls = true
	case isText:
		if s, ok := parseSDP(d.data); ok {
			v.dump.add(s)
		}
	}
	v.ignored.add(what)
}

// keyOf gives the key of the stream that a packet belongs to.
func keyOf(d *datagram, file int, ssrc uint32) streamKey {
	k := streamKey{pair: pair{d.from, d.to}, ssrc: ssrc}
	if !d.from.IsValid() {
		k.file = file
	}
	return k
}

// find gives the known stream, or nil.
func (v *survey) find(k streamKey) *stream {
	if r := v.recent; r != nil && r.key == k {
		return r
	}
	s := v.byKey[k]
	if s != nil {
		v.recent = s
	}
	return s
}

// What is counted of packets that look like RTP.
const (
	otherBadRTP   = "malformed RTP"
	otherStreams  = "RTP of too many streams"
	otherTypes    = "RTP of too many payload types"
	otherNoAuth   = "RTP that the key does not fit"
	otherNoSender = "RTCP that the key does not fit"
)

func (v *survey) rtp(d *datagram, file int) {
	k := keyOf(d, file, binary.BigEndian.Uint32(d.data[8:]))
	s := v.find(k)
	if s == nil {
		if err := v.packet.Unmarshal(d.data); err != nil || len(d.data) > media.MaxPacketSize {
			v.ignored.add(otherBadRTP)
			return
		}
		if len(v.streams) >= MaxStreams {
			v.ignored.add(otherStreams)
			return
		}
		s = &stream{key: k, file: file, first: d.at, last: d.at}
		v.byKey[k] = s
		v.streams = append(v.streams, s)
		if p := k.pair; len(v.pairs[p]) < maxSiblings {
			v.pairs[p] = append(v.pairs[p], s)
		}
		v.continued(s, &v.packet, d.at)
	}
	data, ok := v.cipher.rtp(s.secret(), d.data)
	if !ok {
		v.ignored.add(otherNoAuth)
		return
	}
	p := &v.packet
	if err := p.Unmarshal(data); err != nil || len(data) > media.MaxPacketSize {
		v.ignored.add(otherBadRTP)
		return
	}
	v.note(s, p, d.at)
}

func (v *survey) note(s *stream, p *media.Packet, at time.Time) {
	if s.packets == 0 {
		s.timestamp = p.Timestamp
	} else if p.Timestamp == s.timestamp && len(p.Payload) > 0 {
		s.frames = true
	}
	s.ticks += steady(p.Timestamp - s.timestamp)
	s.span = max(s.span, s.ticks)
	s.timestamp, s.sequence = p.Timestamp, p.SequenceNumber
	s.packets++
	if s.flow != nil {
		s.flow.see(s)
	}
	if at.Before(s.first) {
		s.first = at
	}
	if at.After(s.last) {
		s.last = at
	}
	var y *payload
	for _, known := range s.payloads {
		if known.pt == p.PayloadType {
			y = known
			break
		}
	}
	if y == nil {
		if len(s.payloads) >= maxPayloadTypes {
			v.ignored.add(otherTypes)
			return
		}
		y = &payload{pt: p.PayloadType}
		s.payloads = append(s.payloads, y)
	}
	y.packets++
	if y.evidence.packets < sampled {
		y.evidence.look(p, siblings{v.pairs[s.key.pair], s})
	}
}

// maxStep is the greatest step of an RTP timestamp, in ticks, that is taken for
// time going by, not for a sender that began anew: 60 s of video.
const maxStep = 60 * 90000

// steady gives a step of RTP timestamps as time goes by.
func steady(step uint32) int64 {
	if n := int64(int32(step)); n < maxStep && n > -maxStep {
		return n
	}
	return 0
}

// maxSiblings is how many streams between two addresses are compared.
const maxSiblings = 32

// siblings are the streams between two addresses, seen from one of them.
type siblings struct {
	all  []*stream
	self *stream
}

// protects looks at FlexFEC's header (draft-ietf-payload-flexible-fec-scheme-03
// §4.2).
func (o siblings) protects(p *media.Packet) bool {
	b := p.Payload
	if len(b) < 20 || b[0]&0xc0 != 0 || b[8] != 1 || b[9]|b[10]|b[11] != 0 {
		return false
	}
	ssrc := binary.BigEndian.Uint32(b[12:])
	for _, s := range o.all {
		if s != o.self && s.key.ssrc == ssrc {
			return true
		}
	}
	return false
}

// recentPackets is how old the packet may be that is sent again.
const recentPackets = 512

// repeated looks at the original sequence number (RFC 4588 §4), and at the time.
func (o siblings) repeated(p *media.Packet) *stream {
	if len(p.Payload) < 2 {
		return nil
	}
	number := binary.BigEndian.Uint16(p.Payload)
	for _, s := range o.all {
		if s != o.self && s.frames && s.packets > 2 && s.sequence-number < recentPackets &&
			s.timestamp-p.Timestamp < 10*90000 {
			return s
		}
	}
	return nil
}

func (v *survey) rtcp(d *datagram, file int) {
	data, ok := v.cipher.rtcp(keyOf(d, file, 0), d.data)
	if !ok {
		v.ignored.add(otherNoSender)
		return
	}
	c := control{name: func(ssrc uint32, name []byte) {
		k := nameKey{host: d.from.Addr(), ssrc: ssrc}
		if !d.from.IsValid() {
			k.file = file
		}
		if old, ok := v.names[k]; (ok && old == string(name)) || (!ok && len(v.names) >= maxNames) {
			return
		}
		v.names[k] = string(name)
	}}
	c.read(data)
}
