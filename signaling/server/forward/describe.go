package forward

import (
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/media/dependency"
)

// Description is what the dependency descriptor of a packet says. It is never
// changed, and may be shared.
type Description struct {
	frame   dependency.Frame // without its slices
	layers  Layers
	alone   bool     // the frame refers to no other
	targets []Layers // the highest layers of each decode target
}

// Descriptions reads the dependency descriptors of one encoding. Its zero value is
// ready for use by one goroutine at a time.
type Descriptions struct {
	now, before structure

	// Of the newest picture:
	timestamp uint32
	temporal  uint8
	begun     bool
}

// structure is what a keyframe says of the frames that follow.
type structure struct {
	reader  dependency.Reader
	known   bool
	at      uint16 // the sequence number of the packet that had it
	targets []Layers
	// shifted: the layers of a picture are of different temporal layers
	// (L2T2_KEY_SHIFT), so that nobody can tell which one is its last without
	// those above. Then there are spatial layers only.
	shifted bool
}

// Read gives what the descriptor b of a packet says, or nil when there is none, when
// it can't be right or when the structure that it refers to has not come. Packets are
// given as they come. It keeps nothing of b.
func (d *Descriptions) Read(b []byte, sequence uint16, timestamp uint32) *Description {
	var f dependency.Frame
	s := &d.now
	if dependency.Structured(b) {
		n := structure{known: true, at: sequence}
		if _, ok := n.reader.Read(b, &f); !ok {
			return nil
		}
		n.targets = targets(&f, n.reader.Templates())
		if behind := d.now.at - sequence; d.now.known && behind > 0 && behind < maxJump {
			s = &n // that of another keyframe came before it, and what it begins is over
		} else {
			n.shifted = d.now.shifted && len(n.targets) == len(d.now.targets)
			d.before, d.now = d.now, n
		}
	} else if _, ok := s.reader.Read(b, &f); !ok {
		s = &d.before
		if _, ok := s.reader.Read(b, &f); !ok {
			return nil
		}
	}
	if f.Start && s == &d.now {
		if d.begun && timestamp == d.timestamp && f.Temporal != d.temporal {
			s.shifted = true
		}
		d.begun, d.timestamp, d.temporal = true, timestamp, f.Temporal
	}
	out := &Description{
		frame: f, layers: Layers{int8(f.Spatial), int8(f.Temporal)}, alone: len(f.Diffs) == 0, targets: s.targets,
	}
	out.frame.Diffs, out.frame.Chains = nil, nil
	if s.shifted {
		out.layers.Temporal = 0
	}
	return out
}

// targets gives the highest layers of each decode target.
func targets(f *dependency.Frame, templates []dependency.Template) []Layers {
	list := make([]Layers, f.Targets)
	for i := range list {
		for _, t := range templates {
			if t.Indications.Of(i) != dependency.NotPresent {
				list[i].Spatial = max(list[i].Spatial, int8(t.Spatial))
				list[i].Temporal = max(list[i].Temporal, int8(t.Temporal))
			}
		}
	}
	return list
}

// switches tells whether one can go on with a spatial layer up to a temporal one once
// the frame is there.
func (d *Description) switches(spatial, temporal int8) bool {
	best := -1
	for i, l := range d.targets {
		if l.Spatial == spatial && l.Temporal <= temporal && (best < 0 || l.Temporal > d.targets[best].Temporal) {
			best = i
		}
	}
	return best >= 0 && d.frame.Indications.Of(best) == dependency.Switch
}

// settle changes what is kept at a frame of a picture; first is set for the picture's
// first packet.
func (d *Description) settle(kept *cut, wanted Layers, first bool) {
	if first {
		kept.lower(wanted)
	}
	if !d.frame.Start || !kept.keeps(d.layers) {
		return
	}
	s, temporal := d.layers.Spatial, wanted.Temporal
	if s > 0 {
		temporal = min(temporal, kept.temporal[s-1]) // the layers below have what it refers to
	}
	if temporal > kept.temporal[s] && d.switches(s, temporal) {
		kept.temporal[s] = temporal
	}
}

// look reads what a packet says of its picture. Where the payload does not tell the
// layers, as of AV1 and of Chromium's VP8, the dependency descriptor does. A picture of
// which it does not, since the packet with the structure is still to come, goes out
// whole.
func (m *mapping) look(codec media.Codec, p Packet) picture {
	info := look(codec, p.Payload)
	if info.layered {
		return info
	}
	switch d := p.Description; {
	case d == nil && len(p.Dependency) > 0:
		m.blind, m.obscure = true, p.Timestamp
	case d != nil && (!m.blind || p.Timestamp != m.obscure):
		info.describe(codec, d)
	}
	return info
}

// describe adds what the dependency descriptor says. H264 counts its reference
// pictures, and not every decoder likes that some are missing.
func (info *picture) describe(codec media.Codec, d *Description) {
	if codec == media.H264 {
		return
	}
	info.layered, info.layers, info.ends = true, d.layers, d.frame.End
	info.intra = d.frame.Start && d.frame.Structure && d.alone && d.layers.Spatial == 0
}

// active gives the decode targets that are sent, as far as they are kept.
func (d *Description) active(kept cut) uint32 {
	mask := d.frame.Active
	for i, l := range d.targets {
		if !kept.keeps(l) {
			mask &^= 1 << i
		}
	}
	return mask
}

// tell notes whether receivers must be told that not all decode targets are sent.
// From then on each packet says which are, until another structure comes with which
// all of them are.
func (m *mapping) tell(p Packet) {
	d := p.Description
	if d == nil {
		return
	}
	if d.frame.Structure {
		m.told = false
	}
	m.told = m.told || m.layered && d.active(m.kept) != d.frame.Active
}

// describe gives the dependency descriptor that goes out with a packet.
func (m *mapping) describe(p Packet, kept cut) []byte {
	b := p.Dependency
	if len(b) == 0 {
		return b
	}
	if d := p.Description; d != nil && m.told {
		if mask := d.active(kept); mask != 0 {
			b = dependency.Activate(b, &d.frame, mask)
		}
	}
	if n, ok := dependency.Number(b); ok && m.frameShift != 0 {
		b = dependency.Renumber(b, n+m.frameShift)
	}
	return b
}
