package dump

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Summary says what is in a dump. It marshals to JSON.
type Summary struct {
	Files []File `json:"files"`
	// Streams are in the order in which they begin.
	Streams []Stream `json:"streams"`
	// Ignored counts what belongs to no stream, by what it is.
	Ignored []Count `json:"ignored,omitempty"`
	// Relayed counts the packets that came through a TURN relay, by what carried
	// them: they are those of streams and Ignored.
	Relayed []Count `json:"relayed,omitempty"`
	// Start and End are the times of the first and last record; zero: the
	// dump has no times.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Session is what our own dump says of the live session.
	Session *SessionInfo `json:"session,omitempty"`
}

// File is one file of a dump.
type File struct {
	Name string `json:"name"`
	// Format is the file's format, such as "pcapng".
	Format string `json:"format"`
	// RTPTime is set when its capture times are useless and RTP timestamps
	// give the time.
	RTPTime bool `json:"rtp_time,omitempty"`
	// Damage says where the file is damaged; empty: it is whole.
	Damage string `json:"damage,omitempty"`
}

// Stream is what one source sends from one address to another.
type Stream struct {
	SSRC uint32 `json:"ssrc"`
	// From and To are empty when the dump has no addresses.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Moved is where it went on, when the address of sender or receiver changed.
	Moved []Way `json:"moved,omitempty"`
	// Packets counts the RTP packets.
	Packets int64 `json:"packets"`
	// Payloads are the payload types, the most frequent first.
	Payloads []Payload `json:"payloads"`
	// Kind and Participant are set for tracks.
	Kind        media.Kind `json:"-"`
	Participant string     `json:"participant,omitempty"`
	// Track is set when the stream is a track of the room.
	Track bool `json:"track"`
	// Reason says why it is none: a format's name, "encrypted", or "not
	// recognised".
	Reason string `json:"reason,omitempty"`
	// Auxiliary is set for streams that are no media by themselves (RTX, FEC,
	// telephone events): nothing is missing without them.
	Auxiliary bool `json:"auxiliary,omitempty"`

	auxiliary map[uint8]string // of a track of our own dump
}

// Way is from where to where packets go.
type Way struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Payload is one payload type of a stream.
type Payload struct {
	Type    uint8 `json:"type"`
	Packets int64 `json:"packets"`
	// Format is the encoding's name; empty: not known.
	Format string `json:"format,omitempty"`
	// KnownBy says where that comes from: "--map", "--sdp", "SDP in the dump",
	// "header", "payload" or "RFC 3551".
	KnownBy string `json:"known_by,omitempty"`
	// Recorded is set when its packets are a track's.
	Recorded bool `json:"recorded"`
}

// Count is how often something came.
type Count struct {
	What    string `json:"what"`
	Packets int64  `json:"packets"`
}

// counts has how often each of some things came.
type counts map[string]int64

// maxCounts is how many names are counted apart.
const maxCounts = 64

func (c counts) add(what string) {
	if _, ok := c[what]; !ok && len(c) >= maxCounts {
		what = isElse
	}
	c[what]++
}

// list gives the counts, the greatest first.
func (c counts) list() []Count {
	var out []Count
	for _, what := range slices.Sorted(maps.Keys(c)) {
		out = append(out, Count{what, c[what]})
	}
	slices.SortStableFunc(out, func(a, b Count) int { return cmp.Compare(b.Packets, a.Packets) })
	return out
}
