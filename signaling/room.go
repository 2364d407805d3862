// Package signaling has what it means to be in a room with other participants,
// whatever protocol the room speaks: a Room gives Events, one after the other.
//
// Each kind of room is a folder below this one (mesh, and later sfu, whep, dump
// and others) that implements Room and passes the suite in roomtest. A dump of
// packets is a room that has already happened: the recorder can't tell.
package signaling

import (
	"context"
	"errors"
	"time"

	"github.com/roomtape/roomtape/media"
)

// Errors that Dial-like functions of the kinds of room and Room.Next wrap, so
// that a caller can tell them apart with errors.Is.
var (
	// ErrJoin means that the room could not be joined: the server can't be
	// reached, refused us, did not answer in time, or does not speak the
	// protocol.
	ErrJoin = errors.New("cannot join the room")
	// ErrLost means that the room was joined, then lost, and that all
	// attempts to come back have failed.
	ErrLost = errors.New("the connection to the room is lost")
)

// Room is a place with participants. It is joined when it is made, and left by
// Close.
//
// One goroutine calls Next; Close may be called by any, more than once, and
// makes a waiting Next return io.EOF.
type Room interface {
	// Next waits for what happens next and returns it. When nothing has
	// happened by deadline, it returns an Event of kind Tick whose Time is not
	// before deadline; the zero deadline never comes. When an event and the
	// deadline are both due, the event comes first. Events come in the order
	// of their Time.
	//
	// The error is io.EOF when the room is over (a dump has ended, Close was
	// called), ctx's error when ctx is done, and else wraps ErrLost. After
	// an error every further call returns an error. Events that had arrived
	// before the room was lost or over are returned before the error.
	Next(ctx context.Context, deadline time.Time) (Event, error)

	// Close leaves the room and ends every goroutine that belongs to it before
	// it returns.
	Close() error
}

// EventKind tells what an Event is about, and thereby which fields it has set.
type EventKind uint8

// The kinds of event. Time is set in all of them.
const (
	// Tick: the deadline given to Next has come.
	Tick EventKind = iota
	// Joined: Participant is in the room, or was when we came.
	Joined
	// Left: Participant has left the room. Every track of theirs has had its
	// TrackEnded before.
	Left
	// TrackStarted: Track exists, and packets may come. It comes before the
	// first packet of the track, which may be much later or never.
	TrackStarted
	// TrackEnded: no packet of Track will come after this.
	TrackEnded
	// PacketArrived: Packet of Track has arrived. The receiver of the event
	// owns Packet.
	PacketArrived
	// Reported: Track's sender has sent Report.
	Reported
	// MessageArrived: Participant has sent Message over a data channel. The
	// messages of one channel come in the order in which they were sent.
	MessageArrived
)

// Event is one thing that happened in a room. It is a value without
// allocations of its own, since there is one for each packet.
type Event struct {
	Kind EventKind
	// Time is when it happened, stamped once, where it entered the program.
	// For a packet it equals Packet.Arrival.
	Time time.Time
	// Participant is the id that the participant chose: untrusted. Set in
	// Joined, Left and MessageArrived.
	Participant string
	// Track is set in TrackStarted, TrackEnded, PacketArrived and Reported.
	Track *Track
	// Packet is set in PacketArrived. When its payload type is not one of
	// Track.Codecs, it is no media, but its sequence number is the track's: who
	// looks for lost packets must know of it.
	Packet *media.Packet
	// Report is set in Reported.
	Report SenderReport
	// Message is set in MessageArrived. The receiver of the event owns it.
	Message *Message
}

// Message is what a participant has sent over a data channel (RFC 8831). All of
// it is untrusted.
type Message struct {
	// Label is the data channel's.
	Label string
	// Text tells a string, which should be UTF-8, from binary data.
	Text bool
	Data []byte
	// To is the id by which the sender knows us; "" in a dump.
	To string
	// Reply sends a text back over the same channel. It does not block, may be
	// called by any goroutine, and promises nothing. It is nil when nobody is
	// there to hear it, as in a dump.
	Reply func(text []byte)
}

// Size is about how many bytes the message keeps in memory.
func (m *Message) Size() int { return len(m.Data) + len(m.Label) + messageOverhead }

// messageOverhead is about what a message takes besides its words.
const messageOverhead = 256

// SenderReport is what a sender says about its clocks (RFC 3550 §6.4.1): that
// RTP timestamp RTP was the instant NTP on its wall clock.
type SenderReport struct {
	// NTP is the 64-bit NTP timestamp: seconds since 1900 in 32.32 fixed
	// point. 0 when the sender has no wall clock.
	NTP uint64
	// RTP is the same instant in the track's RTP timestamps.
	RTP uint32
}

// Track is one track that a participant sends. It is made by the room and does
// not change after its TrackStarted, so it may be read by any goroutine; its
// address is its identity.
type Track struct {
	// Participant, Stream (the MediaStream id) and ID (the track's id, of
	// MSID, RFC 8830) are the sender's words: untrusted. Stream and ID may be
	// empty.
	Participant, Stream, ID string
	// Connection numbers the connections to all participants, from 1: two
	// tracks of one participant with different Connection came by different
	// peer connections, and nothing of one continues in the other.
	Connection int
	// SSRC is the synchronization source that the track began with.
	SSRC uint32
	// Kind is audio or video.
	Kind media.Kind
	// Codecs gives the codec of each payload type the sender may use in this
	// track. It does not list retransmission (RTX), whose packets reach no
	// event but as those that they repeat, nor what Auxiliary does.
	Codecs map[uint8]media.Codec
	// RED has those payload types of Codecs whose packets carry several frames
	// (redundant audio data, RFC 2198): their codec is that of the frames.
	// It is nil when there are none.
	RED map[uint8]bool
	// Auxiliary names, as SDP does, the payload types of packets that share the
	// track's SSRC and sequence numbers and are no media by themselves, as far
	// as they are known: telephone-event (RFC 4733), CN (RFC 3389), ulpfec (RFC
	// 5109).
	Auxiliary map[uint8]string
	// AbsCaptureTime is the id of the header extension that carries the
	// capture time of a frame, or 0 when it is not negotiated.
	AbsCaptureTime uint8
	// Dependencies is the id of the header extension that tells what a video
	// frame refers to (the dependency descriptor of AOMedia "RTP Payload Format
	// For AV1", appendix A), or 0 when it is not negotiated.
	Dependencies uint8
	// ParameterSets are those of H264 that the sender has given in its
	// description, and may not repeat in its packets. It is nil when there are
	// none.
	ParameterSets ParameterSets
	// Retransmits is set when the sender answers Feedback.Nack for this track.
	Retransmits bool
	// Feedback reaches the sender. It is nil when nobody is there to answer,
	// as in a dump.
	Feedback Feedback
}

// Feedback asks the sender of a track for something. Its methods do not block,
// may be called by any goroutine, and promise nothing: a request may be lost.
type Feedback interface {
	// RequestKeyframe asks for a keyframe, by PLI or FIR as negotiated
	// (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
	RequestKeyframe()
	// Nack asks for the packets with these sequence numbers to be sent again
	// (RFC 4585 §6.2.1). It does not keep the slice.
	Nack(sequenceNumbers []uint16)
	// RoundTrip gives the latest measured round-trip time, or 0 when it is
	// not known.
	RoundTrip() time.Duration
}
