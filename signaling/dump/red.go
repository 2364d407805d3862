package dump

import (
	"encoding/binary"
	"strings"

	"github.com/roomtape/roomtape/media"
)

// formatRED is the encoding name of redundant audio data (RFC 2198).
const formatRED = "red"

// redEvidence is how well payloads fit RED whose blocks repeat the packets
// before.
type redEvidence struct {
	tally
	// inner is the payload type of the packets' own frames, if known is set.
	inner uint8
	known bool
	// length is that of the frame of the packet before.
	length int
}

// look takes in a payload; next and step are as in evidence.
func (e *redEvidence) look(b []byte, next bool, step uint32) {
	inner, offset, repeated, own := splitRED(b)
	before := e.length
	e.length = own
	switch {
	case own < 0:
		e.mark(false)
		return
	case !e.known:
		e.inner, e.known = inner, true
	case e.inner != inner:
		e.mark(false)
		return
	}
	if !next || before <= 0 || repeated < 0 {
		return
	}
	// The latest block is the packet before: there since then, and as long.
	match := offset == step && repeated == before
	if e.mark(match); match {
		e.certain++
	}
}

// splitRED reads the headers of a RED payload (RFC 2198 §3): the payload type and
// length of the packet's own frame, and how long before it the latest one of
// those that are repeated began, and its length. Lengths are less than 0 where
// there is none.
func splitRED(b []byte) (inner uint8, offset uint32, repeated, own int) {
	repeated = -1
	total := 0
	for len(b) >= 4 && b[0]&0x80 != 0 {
		v := binary.BigEndian.Uint32(b)
		offset, repeated = v>>10&0x3fff, int(v&0x3ff)
		total += repeated
		b = b[4:]
	}
	if len(b) == 0 || b[0]&0x80 != 0 || total >= len(b) {
		return 0, 0, -1, -1
	}
	return b[0], offset, repeated, len(b) - 1 - total
}

// convincing tells whether payloads are RED beyond doubt.
func (e *redEvidence) convincing() bool { return e.certain >= steps && e.share() >= 85 }

// decideRED makes payload types that are RED with Opus inside Opus, of which the
// recorder takes the frames out.
func (v *survey) decideRED(s *stream) {
	for _, y := range s.payloads {
		e := &y.evidence.red
		if !strings.EqualFold(y.format.Name, formatRED) || !e.known {
			continue
		}
		switch f, by := v.told(e.inner); {
		case by != "" && f.Codec != media.Opus:
			continue
		case by == "" && !e.convincing() && y.format.ClockRate != media.Opus.ClockRate():
			continue
		}
		y.format.Codec, y.format.ClockRate, y.red = media.Opus, media.Opus.ClockRate(), true
	}
}

// told gives what a payload type is by what the user or a description in the
// dump says.
func (v *survey) told(pt uint8) (Format, string) {
	if f, ok := v.cfg.Map[pt]; ok {
		return f, byMap
	}
	if f, ok := v.given.formats[pt]; ok {
		return f, bySDP
	}
	if f, ok := v.dump.formats[pt]; ok {
		return f, byDump
	}
	return Format{}, ""
}
