package unit

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/forward"
)

// publication is a track that a client publishes, with those who are sent it.
type publication struct {
	owner  *Client
	id     string
	kind   media.Kind
	number int
	place  int // among the owner's of the kind, from 1

	mu            sync.Mutex
	over          bool
	stream        string      // the MediaStream that it is of, as the publisher has it
	codec         media.Codec // of its first packet
	encodings     []*encoding
	subscriptions []*subscription
	volume        volume
}

// encoding is one encoding of a publication. It is guarded by the publication's
// lock.
type encoding struct {
	track  *signaling.Track
	latest time.Time // of its packets
	pixels int       // of its latest keyframe; 0: not known

	descriptions forward.Descriptions

	since time.Time // of what is counted
	bytes int
	rate  int // bit/s
	first int // the same, of less time, until rate is known
	// The same of each layer, spatial first, when it says which.
	layerBytes, layerRates [forward.MaxLayers][forward.MaxLayers]int

	asked time.Time // for a keyframe
	owed  bool      // somebody has asked since
}

// subject names a track in a room.
type subject struct{ publisher, track string }

// subscription is a publication to one client.
type subscription struct {
	client      *Client
	key         subject
	publication *publication
	number      int
	limit       atomic.Int32
	anew        atomic.Bool // limit has changed since an encoding was chosen
	outlet      atomic.Pointer[peer.Outlet]

	// Guarded by the publication's lock.
	stream *forward.Stream
	wanted uint32
	paused bool
	layers forward.Layers
	out    []forward.Packet
	rate   meter

	told bool // the client knows the m-line; belongs to the client's loop
}

func newPublication(c *Client, id string, kind media.Kind) *publication {
	c.count++
	place := 1
	for _, p := range c.published {
		if p.kind == kind {
			place++
		}
	}
	return &publication{owner: c, id: id, kind: kind, number: c.count, place: place}
}

func (p *publication) available() message.Message {
	return message.Message{Type: message.TrackAvailable, ParticipantID: p.owner.id, TrackID: p.id, TrackType: p.kind.String()}
}

func (p *publication) add(s *subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscriptions = append(p.subscriptions, s)
}

func (p *publication) drop(s *subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscriptions = slices.DeleteFunc(p.subscriptions, func(o *subscription) bool { return o == s })
}

func (p *publication) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over, p.subscriptions, p.encodings = true, nil, nil
}

// begin adds an encoding. It takes the place of one with the same source or, when
// there are too many, of the one that has been silent for longest.
func (p *publication) begin(t *signaling.Track) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || t.Kind != p.kind {
		return
	}
	p.stream = t.Stream
	p.encodings = slices.DeleteFunc(p.encodings, func(e *encoding) bool { return e.track.SSRC == t.SSRC })
	if len(p.encodings) >= MaxEncodings {
		oldest := slices.MinFunc(p.encodings, func(a, b *encoding) int { return a.latest.Compare(b.latest) })
		p.encodings = slices.DeleteFunc(p.encodings, func(e *encoding) bool { return e == oldest })
	}
	p.encodings = append(p.encodings, &encoding{track: t})
}

func (p *publication) finish(t *signaling.Track) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.encodings = slices.DeleteFunc(p.encodings, func(e *encoding) bool { return e.track == t })
}

// ready gives the codec and the stream, as far as they are known.
func (p *publication) ready() (codec media.Codec, stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.codec, p.stream
}

// outletConfig is how the track is sent to subscribers. Two participants may have
// chosen the same ids, so they get others.
func (s *subscription) outletConfig(codec media.Codec, stream string) peer.OutletConfig {
	p := s.publication
	n := strconv.Itoa(p.owner.number)
	return peer.OutletConfig{
		Codec: codec, Stream: "p" + n + "-" + p.owner.streamNumber(stream),
		ID:         "t" + n + "-" + strconv.Itoa(p.number) + "-" + strconv.Itoa(s.number),
		OnKeyframe: func() { p.wantKeyframe(s) },
	}
}

// forward sends a packet to all subscribers, and tells who is waiting for an
// outlet: the codec has just become known.
func (p *publication) forward(t *signaling.Track, packet *media.Packet) (waiting []*Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.encodings, func(e *encoding) bool { return e.track == t })
	codec, ok := t.Codecs[packet.PayloadType]
	if i < 0 || !ok {
		return nil
	}
	e := p.encodings[i]
	q := forward.Packet{
		Arrival: packet.Arrival, Sequence: packet.SequenceNumber, Timestamp: packet.Timestamp, Marker: packet.Marker,
		Payload: packet.Payload,
	}
	if t.Dependencies != 0 {
		q.Dependency = packet.Extension(t.Dependencies)
		q.Description = e.descriptions.Read(q.Dependency, q.Sequence, q.Timestamp)
	}
	e.count(codec, q)
	if p.codec == media.CodecUnknown {
		p.codec = codec
		for _, s := range p.subscriptions {
			waiting = append(waiting, s.client)
		}
	}
	if codec != p.codec {
		return waiting
	}
	if n := forward.Pixels(codec, packet.Payload); n > 0 {
		e.pixels = n
	}
	level := p.hear(t, packet)
	copied := false
	for _, s := range p.subscriptions {
		o := s.outlet.Load()
		if o == nil || s.stream == nil || !o.Ready() {
			continue
		}
		if s.wanted == 0 {
			s.wanted = t.SSRC
		}
		if !copied { // once for all of them
			copied = true
			q.Payload = slices.Clone(packet.Payload)
			if t.AbsCaptureTime != 0 {
				q.Capture = slices.Clone(packet.Extension(t.AbsCaptureTime))
			}
			q.Level, q.Dependency = slices.Clone(level), slices.Clone(q.Dependency)
		}
		s.out = s.stream.Take(s.out[:0], t.SSRC, s.wanted, q)
		for _, x := range s.out {
			s.rate.count(len(x.Payload), packet.Arrival)
			o.Send(peer.OutletPacket{
				Sequence: x.Sequence, Timestamp: x.Timestamp, Marker: x.Marker, Payload: x.Payload,
				Capture: x.Capture, Dependency: x.Dependency, Level: x.Level,
			})
		}
		clear(s.out)
	}
	return waiting
}

func (e *encoding) count(codec media.Codec, p forward.Packet) {
	e.latest = p.Arrival
	e.bytes += len(p.Payload)
	if l, ok := forward.LayersOf(codec, p); ok {
		e.layerBytes[l.Spatial][l.Temporal] += len(p.Payload)
	}
	if e.since.IsZero() {
		e.since = p.Arrival
	}
	d := p.Arrival.Sub(e.since)
	over := func(bytes int) int { return int(float64(bytes) * 8 / d.Seconds()) }
	if d < rateOver {
		if e.rate == 0 && d >= firstRate {
			e.first = over(e.bytes)
			for i := range e.layerBytes {
				for j, bytes := range e.layerBytes[i] {
					e.layerRates[i][j] = over(bytes)
				}
			}
		}
		return
	}
	average := func(rate *int, bytes int) {
		now := over(bytes)
		if *rate == 0 {
			*rate = now
		}
		*rate = (*rate + now) / 2
	}
	average(&e.rate, e.bytes)
	for i := range e.layerBytes {
		for j := range e.layerBytes[i] {
			average(&e.layerRates[i][j], e.layerBytes[i][j])
		}
	}
	e.since, e.bytes, e.layerBytes = p.Arrival, 0, [forward.MaxLayers][forward.MaxLayers]int{}
}

// steps gives what may be chosen of an encoding, the least first: the temporal layers
// of its lowest spatial layer, one after the other, and then all of one spatial layer
// more at a time.
func (e *encoding) steps() (out []forward.Encoding) {
	var spatial [forward.MaxLayers]int // bit/s
	for i := range e.layerRates {
		for _, rate := range e.layerRates[i] {
			spatial[i] += rate
		}
	}
	sum, whole := 0, cmp.Or(e.rate, e.first)
	add := func(rate int, l forward.Layers) {
		if sum += rate; rate > 0 && sum < whole*99/100 {
			out = append(out, forward.Encoding{Source: e.track.SSRC, Bitrate: sum, Layers: l})
		}
	}
	least := forward.Layers{Spatial: forward.All.Spatial}
	if slices.Max(spatial[1:]) > 0 {
		least.Spatial = 0
	}
	for j, rate := range e.layerRates[0] {
		if least.Temporal = int8(j); sum+rate == spatial[0] {
			least.Temporal = forward.All.Temporal // none is above
		}
		add(rate, least)
	}
	for i, rate := range spatial[1:] {
		add(rate, forward.Layers{Spatial: int8(i + 1), Temporal: forward.All.Temporal})
	}
	return append(out, forward.Encoding{Source: e.track.SSRC, Bitrate: whole, Layers: forward.All})
}

// allowed is how many of some choices, from the least, a wish allows for so many
// sizes of the picture, or for so many choices when there is one size; 0: all.
func allowed(choices []forward.Encoding, limit int) int {
	sizes := 0
	var before forward.Encoding
	for i, c := range choices {
		if i == 0 || c.Source != before.Source || c.Layers.Spatial != before.Layers.Spatial {
			if sizes++; limit > 0 && sizes > limit {
				return i
			}
		}
		before = c
	}
	if sizes > 1 {
		return 0
	}
	return limit
}

// report passes on what the publisher says of its clocks.
func (p *publication) report(t *signaling.Track, r signaling.SenderReport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subscriptions {
		if s.stream == nil {
			continue
		}
		if timestamp, ok := s.stream.Report(t.SSRC, r.NTP, r.RTP); ok {
			if o := s.outlet.Load(); o != nil {
				o.Report(r.NTP, timestamp)
			}
		}
	}
}

// open begins to send to a subscriber by its outlet.
func (p *publication) open(s *subscription, o *peer.Outlet, codec media.Codec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A receiver who misses the packets before a wrap to 0 can't decrypt (RFC 3711
	// §3.3.1), so the first wrap is far away.
	s.stream, s.paused = forward.NewStream(codec, uint16(rand.IntN(1<<15))), false
	s.stream.SetLayers(s.layers)
	s.outlet.Store(o)
}

// live gives the encodings that are being sent, the least first. It is called
// locked.
func (p *publication) live() []*encoding {
	var newest time.Time
	for _, e := range p.encodings {
		if e.latest.After(newest) {
			newest = e.latest
		}
	}
	var live []*encoding
	for _, e := range p.encodings {
		if !e.latest.IsZero() && newest.Sub(e.latest) < encodingEnds {
			live = append(live, e)
		}
	}
	sized := !slices.ContainsFunc(live, func(e *encoding) bool { return e.pixels == 0 })
	slices.SortStableFunc(live, func(a, b *encoding) int {
		if sized && a.pixels != b.pixels {
			return cmp.Compare(a.pixels, b.pixels)
		}
		return cmp.Compare(a.rate, b.rate)
	})
	return live
}

// demand is what may be chosen for a subscriber.
func (p *publication) demand(s *subscription) *forward.Demand {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &forward.Demand{
		Anew: s.anew.Swap(false), Encodings: p.choices(), Wanted: s.wanted, Layers: s.layers,
		Video: p.kind == media.Video, Paused: s.paused,
	}
	d.Limit = allowed(d.Encodings, int(s.limit.Load()))
	return d
}

// choices are the encodings that are being sent, or the layers of the only one, the
// least first. It is called locked.
func (p *publication) choices() (out []forward.Encoding) {
	live := p.live()
	if len(live) == 1 {
		return live[0].steps()
	}
	for _, e := range live {
		out = append(out, forward.Encoding{Source: e.track.SSRC, Bitrate: cmp.Or(e.rate, e.first), Layers: forward.All})
	}
	return out
}

// choose sets which encoding a subscriber is to get, if any, and asks for a keyframe
// when it is another one than it gets.
func (p *publication) choose(s *subscription, wanted uint32, layers forward.Layers, paused bool) {
	p.mu.Lock()
	s.wanted, s.layers = wanted, layers
	settled := true
	if s.stream != nil && p.kind == media.Video {
		if s.paused != paused {
			s.paused = paused
			s.stream.Pause(paused)
		}
		s.stream.SetLayers(layers)
		settled = paused || s.stream.Follows(wanted)
	}
	p.mu.Unlock()
	if !settled {
		p.wantKeyframe(s)
	}
}

// wantKeyframe asks for a keyframe of the encoding that a subscriber is to get,
// unless that was done a moment ago: then later.
func (p *publication) wantKeyframe(s *subscription) {
	p.mu.Lock()
	var ask *signaling.Track
	for _, e := range p.encodings {
		if e.track.SSRC == s.wanted || s.wanted == 0 {
			e.owed = true
			ask = e.due(time.Now())
			break
		}
	}
	p.mu.Unlock()
	if ask != nil {
		ask.Feedback.RequestKeyframe()
	}
}

// remind asks for the keyframes that could not be asked for when somebody wanted
// them.
func (p *publication) remind(now time.Time) {
	p.mu.Lock()
	var ask []*signaling.Track
	for _, e := range p.encodings {
		if t := e.due(now); t != nil {
			ask = append(ask, t)
		}
	}
	p.mu.Unlock()
	for _, t := range ask {
		t.Feedback.RequestKeyframe()
	}
}

// due gives the track whose keyframe is to be asked for now, or nil.
func (e *encoding) due(now time.Time) *signaling.Track {
	if !e.owed || now.Sub(e.asked) < keyframeEvery {
		return nil
	}
	e.owed, e.asked = false, now
	return e.track
}
