package forward

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/media/dependency"
)

// Layers are the highest spatial and temporal layers of one encoding: those of a
// packet, or those that are kept. The least are 0.
type Layers struct{ Spatial, Temporal int8 }

// MaxLayers is how many layers of a kind a codec can have, and All keeps all.
const MaxLayers = 8

// All keeps everything.
var All = Layers{MaxLayers - 1, MaxLayers - 1}

// cut says which layers are kept. The temporal ones of each spatial layer come back
// by themselves, and those of one that refers to another never before that one's.
type cut struct {
	spatial  int8
	temporal [dependency.MaxSpatial]int8 // the last one is of all that are higher too
}

func cutAt(l Layers) cut {
	c := cut{spatial: l.Spatial}
	for i := range c.temporal {
		c.temporal[i] = l.Temporal
	}
	return c
}

// keeps tells whether what is of layers l is kept.
func (c cut) keeps(l Layers) bool {
	return l.Spatial <= c.spatial && l.Temporal <= c.temporal[min(int(l.Spatial), len(c.temporal)-1)]
}

// lower leaves out what is above l.
func (c *cut) lower(l Layers) {
	c.spatial = min(c.spatial, l.Spatial)
	for i := range c.temporal {
		c.temporal[i] = min(c.temporal[i], l.Temporal)
	}
}

// top is the highest spatial layer of which a picture of a temporal layer is kept.
func (c cut) top(temporal int8) int8 {
	top := c.spatial
	for top > 0 && !c.keeps(Layers{top, temporal}) {
		top--
	}
	return top
}

// LayersOf tells which layers a packet is of (VP8, RFC 7741 §4.2; VP9, RFC 9628
// §4.2; else by its Description); ok is false when it does not say.
func LayersOf(codec media.Codec, p Packet) (l Layers, ok bool) {
	info := look(codec, p.Payload)
	if !info.layered && p.Description != nil {
		info.describe(codec, p.Description)
	}
	return info.layers, info.layered
}

// SetLayers says which layers the subscriber is to get. What is above is left out
// from the next picture on. Temporal layers are given back where the encoder says
// that one may switch up, or with a keyframe, and spatial ones with a keyframe.
func (s *Stream) SetLayers(l Layers) { s.wanted = l }

// await notes for how long more temporal layers are wanted than are kept.
func (s *Stream) await(m *mapping, now time.Time) {
	switch {
	case m.kept.temporal[0] >= s.wanted.Temporal:
		m.since, m.waited = time.Time{}, false
	case m.since.IsZero():
		m.since = now
	default:
		m.waited = now.Sub(m.since) > upWithin
	}
}

// settle changes the layers that are kept, where a picture begins, and where a frame
// of it says that one may switch up. It is called with packets in their order.
func (s *Stream) settle(m *mapping, info picture, p Packet) {
	if !info.layered {
		return
	}
	first := !m.layered || p.Timestamp != m.picture
	if !m.layered {
		m.kept = cutAt(s.wanted)
	}
	m.layered, m.picture = true, p.Timestamp
	defer func() { s.await(m, p.Arrival) }()
	if first && info.intra {
		m.kept = cutAt(s.wanted)
		return
	}
	if d := p.Description; d != nil && d.layers == info.layers {
		d.settle(&m.kept, s.wanted, first)
		return
	}
	if !first {
		return
	}
	m.kept.lower(s.wanted)
	kept := m.kept.temporal[0]
	switch tid := info.layers.Temporal; {
	case s.wanted.Temporal <= kept || !info.up:
		return
	case s.codec == media.VP8 && tid == kept+1:
		kept = tid // it refers to the lowest layer only
	case s.codec == media.VP9 && tid <= kept:
		kept = s.wanted.Temporal // what is above does not refer to what was left out
	}
	m.kept = cutAt(Layers{m.kept.spatial, kept})
}

// leave leaves a packet out: what follows moves up. A receiver of VP8 takes a
// missing PictureID for a loss, so pictures that are left out have none; those of VP9
// and AV1 go by layers, and references count those that are left out.
func (s *Stream) leave(m *mapping, info picture, p Packet) {
	m.places[p.Sequence%window] = place{in: p.Sequence, state: taken}
	m.shift--
	if number := p.Sequence + m.shift; number != s.sequence {
		s.sequence, s.whole = number, false // it is still to come
	}
	if s.codec == media.VP8 && info.layered && !m.kept.keeps(info.layers) && (!m.left || p.Timestamp != m.leftOut) {
		m.idShift--
		m.left, m.leftOut = true, p.Timestamp
	}
}

// last tells whether a packet is the last one of a picture whose upper spatial
// layers are left out.
func (info picture) last(kept cut) bool {
	return info.layered && info.ends && info.layers.Spatial == kept.top(info.layers.Temporal)
}
