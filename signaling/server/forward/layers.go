package forward

import "github.com/roomtape/roomtape/media"

// Layers are the highest spatial and temporal layers of one encoding: those of a
// packet, or those that are kept. The least are 0.
type Layers struct{ Spatial, Temporal int8 }

// MaxLayers is how many layers of a kind a codec can have, and All keeps all.
const MaxLayers = 8

// All keeps everything.
var All = Layers{MaxLayers - 1, MaxLayers - 1}

// within tells whether what is of layers l is kept.
func (l Layers) within(kept Layers) bool {
	return l.Spatial <= kept.Spatial && l.Temporal <= kept.Temporal
}

// LayersOf tells which layers a payload is of (VP8, RFC 7741 §4.2; VP9, RFC 9628
// §4.2); ok is false when it does not say.
func LayersOf(codec media.Codec, payload []byte) (l Layers, ok bool) {
	info := look(codec, payload)
	return info.layers, info.layered
}

// SetLayers says which layers the subscriber is to get. What is above is left out
// from the next picture on. Temporal layers are given back where the encoder says
// that one may switch up, or with a keyframe, and spatial ones with a keyframe.
func (s *Stream) SetLayers(l Layers) { s.wanted = l }

// settle changes the layers that are kept, where a picture begins. It is called
// with packets in their order.
func (s *Stream) settle(m *mapping, info picture, p Packet) {
	if !info.layered || m.layered && p.Timestamp == m.picture {
		return
	}
	if !m.layered {
		m.kept = s.wanted
	}
	m.layered, m.picture = true, p.Timestamp
	if info.intra {
		m.kept = s.wanted
		return
	}
	m.kept.Spatial = min(m.kept.Spatial, s.wanted.Spatial)
	switch tid := info.layers.Temporal; {
	case s.wanted.Temporal <= m.kept.Temporal:
		m.kept.Temporal = s.wanted.Temporal
	case !info.up:
	case s.codec == media.VP8 && tid == m.kept.Temporal+1:
		m.kept.Temporal = tid // it refers to the lowest layer only
	case s.codec == media.VP9 && tid <= m.kept.Temporal:
		m.kept.Temporal = s.wanted.Temporal // what is above does not refer to what was left out
	}
}

// leave leaves a packet out: what follows moves up. A receiver of VP8 takes a
// missing PictureID for a loss, so pictures that are left out have none; one of VP9
// goes by layers, and references count those that are left out.
func (s *Stream) leave(m *mapping, info picture, p Packet) {
	m.places[p.Sequence%window] = place{in: p.Sequence, state: taken}
	m.shift--
	if number := p.Sequence + m.shift; number != s.sequence {
		s.sequence, s.whole = number, false // it is still to come
	}
	if s.codec == media.VP8 && info.layered && !info.layers.within(m.kept) && (!m.left || p.Timestamp != m.leftOut) {
		m.idShift--
		m.left, m.leftOut = true, p.Timestamp
	}
}

// last tells whether a packet is the last one of a picture whose upper spatial
// layers are left out.
func (info picture) last(kept Layers) bool {
	return info.layered && info.ends && info.layers.Spatial == kept.Spatial
}
