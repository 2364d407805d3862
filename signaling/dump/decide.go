package dump

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Where the meaning of a payload type comes from.
const (
	byMap     = "--map"
	bySDP     = "--sdp"
	byDump    = "SDP in the dump"
	byHeader  = "header"
	byPayload = "payload"
	byRFC     = "RFC 3551"
)

// decide works out what the streams are.
func (v *survey) decide() {
	v.join()
	for _, s := range v.streams {
		for _, k := range append([]streamKey{s.key}, s.moved...) {
			s.name = cmp.Or(s.name, v.names[nameKey{host: k.from.Addr(), file: k.file, ssrc: k.ssrc}])
		}
		v.decideStream(s)
	}
	for _, s := range v.streams {
		v.pairWithOriginal(s)
	}
	for i, f := range v.files {
		f.rtpTime = v.timeless(i)
		f.RTPTime = f.rtpTime
	}
	v.group()
}

func (v *survey) decideStream(s *stream) {
	slices.SortStableFunc(s.payloads, func(a, b *payload) int { return cmp.Compare(b.packets, a.packets) })
	hint := v.files[s.file].hint
	for i, y := range s.payloads {
		h := Format{}
		if i == 0 {
			h = hint
		}
		if y.format, y.knownBy = v.formatOf(y, h); v.files[s.file].red == int(y.pt) && y.pt != 0 {
			y.format, y.knownBy = Format{Name: formatRED, ClockRate: media.Opus.ClockRate()}, byHeader
		}
	}
	v.decideRED(s)
	for _, y := range s.payloads {
		if s.main == nil && y.format.Codec != media.CodecUnknown {
			s.main = y
		}
	}
	if s.main == nil && len(s.payloads) > 0 {
		s.main = s.payloads[0]
		for _, y := range s.payloads {
			if !y.format.auxiliary() {
				s.main = y
				break
			}
		}
	}
	if s.main == nil {
		s.reason = "RTP that can't be read"
		if v.cipher != nil {
			s.encrypted = true
			s.reason = "encrypted with another key"
		}
		return
	}
	if s.encrypted = v.looksEncrypted(s); s.encrypted {
		s.reason = "encrypted"
		return
	}
	f := s.main.format
	if f.Codec == media.CodecUnknown {
		s.reason = cmp.Or(f.Name, "not recognised")
		return
	}
	s.kind = f.Codec.Kind()
	s.codecs = map[uint8]media.Codec{}
	for _, y := range s.payloads {
		if y.format.Codec.Kind() == s.kind {
			s.codecs[y.pt] = y.format.Codec
		}
		if y.red {
			if s.red == nil {
				s.red = map[uint8]bool{}
			}
			s.red[y.pt] = true
			s.codecs[y.evidence.red.inner] = y.format.Codec
		}
	}
}

// formatOf says what a payload type of a stream is, and by what that is known.
func (v *survey) formatOf(y *payload, hint Format) (Format, string) {
	if f, by := v.told(y.pt); by == byMap || by == bySDP {
		return f, by
	}
	seen := y.evidence.verdict()
	certain := seen.Codec != media.CodecUnknown && y.evidence.codecs[seen.Codec].certain > 0
	if f, ok := v.dump.formats[y.pt]; ok && (!certain || f.Codec == seen.Codec) {
		return f, byDump
	}
	if hint.Name != "" && !seen.auxiliary() {
		return hint, byHeader
	}
	if f, ok := staticFormats[y.pt]; ok && !certain {
		return f, byRFC
	}
	if seen.Name != "" {
		return seen, byPayload
	}
	return Format{}, ""
}

// looksEncrypted tells whether the payloads are SRTP's.
func (v *survey) looksEncrypted(s *stream) bool {
	y := s.main
	e := &y.evidence
	warned := v.dtls || v.dump.encrypted
	switch {
	case v.cipher != nil:
		return false
	case y.format.Codec != media.CodecUnknown:
		return y.knownBy != byPayload && e.random() && e.codecs[y.format.Codec].share() < 60
	case y.format.Name != "":
		return warned && e.random()
	}
	return e.random() || warned
}

// pairWithOriginal finds the stream that s repeats.
func (v *survey) pairWithOriginal(s *stream) {
	if s.main == nil || !strings.EqualFold(s.main.format.Name, "rtx") {
		return
	}
	if o := s.main.evidence.repeated.root(); o != nil && o.codecs != nil && s.main.evidence.rtx.share() >= 50 {
		s.original = o
		return
	}
	var found *stream
	for _, o := range v.pairs[s.key.pair] {
		if o = o.root(); o == s || o == found || o.kind != media.Video {
			continue
		}
		if _, ok := o.codecs[s.main.format.Original]; s.main.format.HasOriginal && !ok {
			continue
		}
		if found != nil {
			return // it could be either
		}
		found = o
	}
	s.original = found
}

const (
	// uselessBelow is how much more media time than capture time must have
	// gone by for capture times to be useless.
	uselessBelow = 10
	// leastSpan is how much media time must have gone by to tell.
	leastSpan = 200 * time.Millisecond
)

// timeless tells whether the capture times of a file are useless: none, all
// equal, or nearly so, while RTP's go on.
func (v *survey) timeless(file int) bool {
	var longest, captured time.Duration
	for _, s := range v.streams {
		if s.file != file || s.main == nil {
			continue
		}
		if s.first.IsZero() {
			return true
		}
		if d := ticks(s.span, s.clockRate()); d > longest {
			longest, captured = d, s.last.Sub(s.first)
		}
	}
	return longest >= leastSpan && captured < longest/uselessBelow
}

// ticks gives how long n ticks of a clock of rate Hz last.
func ticks(n int64, rate uint32) time.Duration {
	return time.Duration(n/int64(rate))*time.Second + time.Duration(n%int64(rate))*time.Second/time.Duration(rate)
}

// clockRate gives the stream's clock rate, as far as it is known.
func (s *stream) clockRate() uint32 {
	if s.main != nil && s.main.format.ClockRate != 0 {
		return s.main.format.ClockRate
	}
	return media.VP8.ClockRate()
}

// person is a participant of the room that a dump is.
type person struct {
	id         string
	connection int
	name       string
	streams    []*stream // tracks only
	joined     bool
}

// group makes participants of the tracks.
func (v *survey) group() {
	var people []*person
	for _, named := range []bool{true, false} {
		for _, s := range v.streams {
			if s.kind == media.KindUnknown || (s.name != "") != named {
				continue
			}
			p := ownerOf(people, s)
			if p == nil {
				p = &person{name: s.name}
				people = append(people, p)
			}
			p.streams = append(p.streams, s)
			s.owner = p
		}
	}
	taken := map[string]bool{}
	n := 0
	for _, s := range v.streams {
		p := s.owner
		if p == nil || p.id != "" {
			continue
		}
		n++
		p.connection = n
		id := fmt.Sprintf("%08x", s.key.ssrc)
		if safeName(p.name) {
			id = p.name
		}
		p.id = id
		for k := 2; taken[p.id]; k++ {
			p.id = fmt.Sprintf("%s-%d", id, k)
		}
		taken[p.id] = true
	}
}

// ownerOf gives whose s is, or nil when it is nobody's yet.
func ownerOf(people []*person, s *stream) *person {
	var found *person
	for _, p := range people {
		o := p.streams[0]
		if !o.sameHosts(s.key) && !s.sameHosts(o.key) {
			continue
		}
		if s.name != "" {
			if p.name == s.name {
				return p
			}
			continue
		}
		if slices.ContainsFunc(p.streams, func(t *stream) bool { return t.kind == s.kind && t.overlaps(s) }) {
			continue
		}
		if o.key.pair == s.key.pair {
			return p
		}
		if found == nil {
			found = p
		}
	}
	return found
}

func (s *stream) overlaps(o *stream) bool { return !s.first.After(o.last) && !o.first.After(s.last) }

func sameHosts(a, b streamKey) bool {
	return a.from.Addr() == b.from.Addr() && a.to.Addr() == b.to.Addr()
}

// safeName tells names that may stand for a participant.
func safeName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// summary says what has been decided.
func (v *survey) summary() Summary {
	out := Summary{Start: v.start, End: v.end, Ignored: v.ignored.list(), Relayed: v.relayed.list(), Streams: []Stream{}}
	for _, f := range v.files {
		out.Files = append(out.Files, f.File)
	}
	for _, s := range v.streams {
		y := Stream{
			SSRC: s.key.ssrc, From: address(s.key.from), To: address(s.key.to), Packets: s.packets,
			Kind: s.kind, Track: s.kind != media.KindUnknown, Reason: s.reason,
		}
		for _, k := range s.moved {
			y.Moved = append(y.Moved, Way{address(k.from), address(k.to)})
		}
		if s.owner != nil {
			y.Participant = s.owner.id
		}
		if s.main != nil && !y.Track {
			y.Auxiliary = !s.encrypted && s.main.format.auxiliary()
		}
		for _, p := range s.payloads {
			_, recorded := s.codecs[p.pt]
			y.Payloads = append(y.Payloads, Payload{
				Type: p.pt, Packets: p.packets, Format: p.format.Name, KnownBy: p.knownBy, Recorded: recorded,
			})
		}
		out.Streams = append(out.Streams, y)
	}
	return out
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
