package dump

import (
	"github.com/roomtape/roomtape/media"
)

const (
	// sampled is how many packets of a payload type are looked into.
	sampled = 600
	// enough is how many things must be right when nothing in particular
	// tells a codec.
	enough = 12
	// steps is how many packets must follow each other in time as Opus does.
	steps = 5
)

// tally is how well packets fit a codec: things that are as they must be, or
// are not, and things that hardly any other codec has.
type tally struct{ good, bad, certain int }

func (t *tally) mark(ok bool) {
	if ok {
		t.good++
	} else {
		t.bad++
	}
}

// share is the part that fits, in percent; 0 when nothing is known.
func (t tally) share() int {
	if t.good == 0 {
		return 0
	}
	return 100 * t.good / (t.good + t.bad)
}

// evidence is what the payloads of one payload type of one stream look like.
type evidence struct {
	packets int
	// of each codec, by number.
	codecs [media.Opus + 1]tally
	h265   tally
	h266   tally
	event  tally // telephone-event
	g711   tally // a byte is a sample
	mpeg   tally // MPEG audio (RFC 2250 §3.5)
	flex   tally // FlexFEC of a known stream
	red    redEvidence
	rtx    tally // original sequence numbers of a known stream
	empty  int   // packets without payload
	// repeated is the stream that rtx found last.
	repeated *stream

	// seen counts the values of each of the first bytes of payloads.
	seen [4][4]uint64
	long int // payloads long enough for it

	started   bool
	sequence  uint16
	timestamp uint32
	open      openFrame
}

// openFrame is what the packet before leaves open.
type openFrame struct {
	vp9Ended   bool
	av1        bool // an OBU element goes on
	fu         uint8
	fuOpen     bool
	opusLength uint32
}

// look takes in one of the first sampled packets; they come in the order of the
// dump.
func (e *evidence) look(p *media.Packet, others sibling) {
	e.packets++
	b := p.Payload
	if len(b) == 0 {
		e.empty++
		e.red.length = 0
		e.started = e.started && p.SequenceNumber != e.sequence+1
		return
	}
	next := e.started && p.SequenceNumber == e.sequence+1
	step := p.Timestamp - e.timestamp
	place := placeUnknown
	switch {
	case next && step == 0:
		place = placeInside
	case next:
		place = placeFirst
	}
	if len(b) >= 16 {
		e.long++
		for i := range e.seen {
			e.seen[i][b[i]>>6] |= 1 << (b[i] & 63)
		}
	}
	e.vp8(b, place)
	e.vp9(b, place, p.Marker)
	e.av1(b, place)
	e.h264(b, place)
	e.opus(b, next, step, p.Marker)
	e.red.look(b, next, step)
	e.h265.mark(len(b) > 2 && b[0]&0x81 == 0 && b[1] == 1 && h265Type(b[0]>>1))
	e.h266.mark(len(b) > 2 && b[0] == 0 && b[1]&7 != 0 && h266Type(b[1]>>3))
	if next {
		e.g711.mark(step != 0 && (step == uint32(len(b)) || 2*step == uint32(len(b))))
	}
	e.mpeg.mark(len(b) > 6 && b[0]|b[1]|b[2]|b[3] == 0 && b[4] == 0xff && b[5]&0xe0 == 0xe0)
	e.event.mark(len(b) == 4 && b[0] <= 16 && b[1]&0x40 == 0)
	e.flex.mark(others.protects(p))
	repeated := others.repeated(p)
	if e.rtx.mark(repeated != nil); repeated != nil {
		e.repeated = repeated
	}
	e.started, e.sequence, e.timestamp = true, p.SequenceNumber, p.Timestamp
}

// sibling knows the other streams between the same addresses.
type sibling interface {
	// protects tells whether a packet names another stream as FlexFEC does.
	protects(p *media.Packet) bool
	// repeated gives the video stream whose recent sequence number a payload
	// begins with, or nil.
	repeated(p *media.Packet) *stream
}

// place is where in a frame a packet is.
type place uint8

const (
	placeUnknown place = iota
	placeFirst
	placeInside
)

func h265Type(t byte) bool {
	return t <= 9 || t >= 16 && t <= 21 || t >= 32 && t <= 40 || t == 48 || t == 49
}
func h266Type(t byte) bool {
	return t <= 3 || t >= 7 && t <= 10 || t >= 12 && t <= 25 || t == 28 || t == 29
}

// random tells whether payloads are as evenly spread as those that are
// encrypted: each of the first bytes has about as many values as dice would
// give.
func (e *evidence) random() bool {
	if e.long < 24 {
		return false
	}
	// 256·(1-(255/256)^n)
	expected, miss := 0.0, 1.0
	for range e.long {
		miss *= 255.0 / 256
	}
	expected = 256 * (1 - miss)
	for _, set := range e.seen {
		n := 0
		for _, word := range set {
			n += popcount(word)
		}
		if float64(n) < 0.8*expected {
			return false
		}
	}
	return true
}

// verdict gives the format that the payloads look like, or one without a name.
func (e *evidence) verdict() Format {
	rest := e.packets - e.empty
	if rest == 0 {
		return Format{}
	}
	best, found := media.CodecUnknown, tally{}
	for c := media.VP8; c <= media.Opus; c++ {
		t := e.codecs[c]
		if c == media.Opus && t.good >= steps {
			t.certain = t.good // nothing else has time go on like this
		}
		if !t.convincing() {
			continue
		}
		if found == (tally{}) || t.certain > 0 && found.certain == 0 ||
			(t.certain > 0) == (found.certain > 0) && t.share() > found.share() {
			best, found = c, t
		}
	}
	switch {
	case e.flex.share() >= 90 && e.flex.good >= 2:
		return Format{Name: "flexfec-03"}
	case e.red.convincing():
		return Format{Name: formatRED, ClockRate: media.Opus.ClockRate()}
	case e.event.share() == 100 && best != media.Opus:
		return Format{Name: "telephone-event"}
	case e.rtx.share() >= 90 && e.rtx.good >= 2 && found.certain == 0:
		return Format{Name: "rtx"}
	case best != media.CodecUnknown:
		return NewFormat(best.String())
	case e.h265.share() >= 95 && rest >= enough:
		return Format{Name: "H265", ClockRate: 90000}
	case e.h266.share() >= 95 && rest >= enough:
		return Format{Name: "H266", ClockRate: 90000}
	case e.mpeg.share() >= 95 && rest >= enough:
		return Format{Name: "MPA", ClockRate: 90000}
	case e.g711.share() >= 95 && e.g711.good >= enough:
		return Format{Name: "PCMU, PCMA or G722", ClockRate: 8000}
	}
	return Format{}
}

func (t tally) convincing() bool {
	if t.certain > 0 {
		return t.share() >= 85
	}
	return t.good >= enough && t.share() >= 95
}
