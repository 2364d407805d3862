package dump

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// SessionInfo is what a recorder's dump says of the session.
type SessionInfo struct {
	// Room and URL are those of the session, Recorder the program that wrote
	// the dump.
	Room     string `json:"room,omitempty"`
	URL      string `json:"url,omitempty"`
	Recorder string `json:"recorder,omitempty"`
	// Start is when the session began, if that was before its first event.
	Start time.Time `json:"start,omitzero"`
	// Options are what else the session's recordings depend on, by names that
	// are the recorder's.
	Options map[string]string `json:"options,omitempty"`
}

// The format's constants; docs/DUMP.md explains them.
const (
	ownVersion = 1

	portRTP       uint16 = 5004
	portRTCP      uint16 = 5005
	portRecovered uint16 = 5006
	portEvent     uint16 = 9 // discard

	maxTrackNumber = 1<<24 - 1<<16
	// maxComment is the most that an option holds.
	maxComment = 65535

	optionName        = 2
	optionApplication = 4

	eventJoined = "joined"
	eventLeft   = "left"
	eventTrack  = "track"
	eventEnded  = "ended"

	// maxLiveTracks is how many tracks of a dump may be live at a time.
	maxLiveTracks = 65536
)

type ownHeader struct {
	Version int         `json:"roomtape_dump"`
	Session SessionInfo `json:"session"`
}

// parseOwnHeader reads the comment of a section, and gives nil when it is not of
// our making.
func parseOwnHeader(b []byte) *ownHeader {
	var h ownHeader
	if err := json.Unmarshal(b, &h); err != nil || h.Version < 1 {
		return nil
	}
	return &h
}

// ownEvent is the comment of a block: an event without a packet.
type ownEvent struct {
	Event       string `json:"event"`
	Participant text   `json:"participant,omitempty"`

	// Of a message, which is the block's payload; More tells that the next one
	// of this kind goes on with it.
	Label text `json:"label,omitempty"`
	Text  bool `json:"text,omitempty"`
	More  bool `json:"more,omitempty"`

	Track       uint32           `json:"track,omitempty"`
	Stream      text             `json:"stream,omitempty"`
	ID          text             `json:"id,omitempty"`
	Connection  int              `json:"connection,omitempty"`
	SSRC        uint32           `json:"ssrc,omitempty"`
	Kind        string           `json:"kind,omitempty"`
	Codecs      map[uint8]string `json:"codecs,omitempty"`
	RED         []int            `json:"red,omitempty"`
	Auxiliary   map[uint8]text   `json:"auxiliary,omitempty"`
	CaptureTime uint8            `json:"abs_capture_time,omitempty"`
	Dependency  uint8            `json:"dependency_descriptor,omitempty"`
	Retransmits bool             `json:"retransmits,omitempty"`
	// Sets are base64.
	Sets map[uint8][][]byte `json:"parameter_sets,omitempty"`
}

// text is a peer's words: it need not be UTF-8, as JSON must.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(struct {
		Bytes []byte `json:"base64"`
	}{[]byte(t)})
}

func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var v struct {
			Bytes []byte `json:"base64"`
		}
		err := json.Unmarshal(b, &v)
		*t = text(v.Bytes)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

func describe(t *signaling.Track, n uint32) ownEvent {
	e := ownEvent{
		Event: eventTrack, Track: n, Participant: text(t.Participant), Stream: text(t.Stream), ID: text(t.ID),
		Connection: t.Connection, SSRC: t.SSRC, Kind: t.Kind.String(), Codecs: map[uint8]string{},
		CaptureTime: t.AbsCaptureTime, Dependency: t.Dependencies, Retransmits: t.Retransmits, Sets: t.ParameterSets,
	}
	for pt, c := range t.Codecs {
		e.Codecs[pt] = c.String()
	}
	for pt, red := range t.RED {
		if red {
			e.RED = append(e.RED, int(pt))
		}
	}
	slices.Sort(e.RED)
	for pt, name := range t.Auxiliary {
		if e.Auxiliary == nil {
			e.Auxiliary = map[uint8]text{}
		}
		e.Auxiliary[pt] = text(name)
	}
	return e
}

func (e *ownEvent) track() *signaling.Track {
	t := &signaling.Track{
		Participant: string(e.Participant), Stream: string(e.Stream), ID: string(e.ID),
		Connection: e.Connection, SSRC: e.SSRC, Codecs: map[uint8]media.Codec{},
		AbsCaptureTime: e.CaptureTime, Dependencies: e.Dependency, Retransmits: e.Retransmits,
	}
	for _, k := range []media.Kind{media.Audio, media.Video} {
		if e.Kind == k.String() {
			t.Kind = k
		}
	}
	for pt, name := range e.Codecs {
		t.Codecs[pt] = media.ParseCodec(name)
	}
	for _, pt := range slices.Sorted(maps.Keys(e.Sets)) {
		for _, set := range e.Sets[pt] {
			t.ParameterSets.Add(pt, set)
		}
	}
	for _, pt := range e.RED {
		if _, ok := t.Codecs[uint8(pt)]; !ok || pt != int(uint8(pt)) {
			continue
		}
		if t.RED == nil {
			t.RED = map[uint8]bool{}
		}
		t.RED[uint8(pt)] = true
	}
	for pt, name := range e.Auxiliary {
		if t.Auxiliary == nil {
			t.Auxiliary = map[uint8]string{}
		}
		t.Auxiliary[pt] = string(name)
	}
	return t
}

// ownPlayer gives the events that a Writer has written.
type ownPlayer struct {
	src     *pcapng
	file    io.Closer
	session SessionInfo
	tracks  map[uint32]*ownTrack
	last    time.Time
	said    []byte // of a message that goes on

	facts   File
	start   time.Time
	streams []*Stream
	ignored counts
}

type ownTrack struct {
	*signaling.Track
	stream *Stream
}

func newOwnPlayer(src *pcapng, f io.Closer) (*ownPlayer, error) {
	if v := src.own.Version; v != ownVersion {
		return nil, fmt.Errorf("%s: %w: a dump of version %d, of a later Roomtape", src.name, ErrFormat, v)
	}
	return &ownPlayer{
		src: src, file: f, session: src.own.Session, tracks: map[uint32]*ownTrack{},
		facts: File{Name: src.name, Format: src.format()}, ignored: counts{},
	}, nil
}

func (p *ownPlayer) close() error {
	if p.file == nil {
		return nil
	}
	err := p.file.Close()
	p.file = nil
	return err
}

func (p *ownPlayer) summary() Summary {
	s := Summary{
		Files: []File{p.facts}, Session: &p.session, Start: p.start, End: p.last,
		Streams: []Stream{}, Ignored: p.ignored.list(),
	}
	for _, y := range p.streams {
		s.Streams = append(s.Streams, *y)
	}
	return s
}

func (p *ownPlayer) event(ctx context.Context) (signaling.Event, error) {
	var d datagram
	for n := 1; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return signaling.Event{}, ctx.Err()
		}
		if err := p.src.next(&d); err != nil {
			if e, ok := err.(*DamageError); ok { //nolint:errorlint // next does not wrap it
				p.facts.Damage = e.Error()
			}
			return signaling.Event{}, err
		}
		e, ok := p.read(&d)
		if !ok && len(p.said) > 0 {
			continue // a part of a message
		}
		if !ok {
			p.ignored.add("records that say nothing")
			continue
		}
		if d.at.After(p.last) {
			p.last = d.at
		}
		if p.start.IsZero() {
			p.start = p.last
		}
		e.Time = p.last
		if e.Packet != nil {
			e.Packet.Arrival = p.last
		}
		return e, nil
	}
}

// read gives the event of a record; it has no time yet.
func (p *ownPlayer) read(d *datagram) (e signaling.Event, ok bool) {
	if d.from.Port() == portEvent {
		return p.note(p.src.comment, d.data)
	}
	t := p.tracks[trackNumber(d.from.Addr())]
	if t == nil {
		return e, false
	}
	e.Track = t.Track
	switch d.from.Port() {
	case portRTP, portRecovered:
		packet, err := media.NewPacket(d.data, time.Time{})
		if err != nil {
			return e, false
		}
		packet.Recovered = d.from.Port() == portRecovered
		t.stream.count(packet.PayloadType)
		e.Kind, e.Packet = signaling.PacketArrived, packet
		return e, true
	case portRTCP:
		control{report: func(_ uint32, r signaling.SenderReport) {
			e.Kind, e.Report, ok = signaling.Reported, r, true
		}}.read(d.data)
	}
	return e, ok
}

func (s *Stream) count(pt uint8) {
	s.Packets++
	for i := range s.Payloads {
		if s.Payloads[i].Type == pt {
			s.Payloads[i].Packets++
			return
		}
	}
	known := ""
	if s.auxiliary[pt] != "" {
		known = byHeader
	}
	if len(s.Payloads) < 2*maxPayloadTypes { // those that the header lists and some
		s.Payloads = append(s.Payloads, Payload{Type: pt, Packets: 1, Format: s.auxiliary[pt], KnownBy: known})
	}
}

// streamOf gives what the summary says of a track.
func streamOf(e *ownEvent) *Stream {
	t := e.track()
	s := &Stream{SSRC: e.SSRC, Participant: string(e.Participant), Track: true, Kind: t.Kind, auxiliary: t.Auxiliary}
	for _, pt := range slices.Sorted(maps.Keys(e.Codecs)) {
		s.Payloads = append(s.Payloads, Payload{Type: pt, Format: e.Codecs[pt], KnownBy: byHeader, Recorded: true})
	}
	return s
}

// trackNumber reads the number in a track's address.
func trackNumber(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func (p *ownPlayer) note(comment, data []byte) (e signaling.Event, ok bool) {
	var own ownEvent
	if err := json.Unmarshal(comment, &own); err != nil {
		return e, false
	}
	switch own.Event {
	case eventJoined:
		e.Kind, e.Participant = signaling.Joined, string(own.Participant)
	case eventLeft:
		e.Kind, e.Participant = signaling.Left, string(own.Participant)
	case eventMessage:
		return p.message(&own, data)
	case eventTrack:
		if own.Track == 0 || p.tracks[own.Track] != nil || len(p.tracks) >= maxLiveTracks {
			return e, false
		}
		t := &ownTrack{Track: own.track(), stream: streamOf(&own)}
		if len(p.streams) < MaxStreams {
			p.streams = append(p.streams, t.stream)
		}
		p.tracks[own.Track] = t
		e.Kind, e.Track = signaling.TrackStarted, t.Track
	case eventEnded:
		t := p.tracks[own.Track]
		if t == nil {
			return e, false
		}
		delete(p.tracks, own.Track)
		e.Kind, e.Track = signaling.TrackEnded, t.Track
	default:
		return e, false
	}
	return e, true
}
