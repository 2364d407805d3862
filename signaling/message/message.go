// Package message has the JSON messages of the room protocol, as they are on
// the wire: one JSON object per WebSocket text message, told apart by "type".
//
// Both ends are strangers to each other: unknown fields and unknown types are
// ignored by everyone, and the ids in a message are whatever a peer has chosen.
package message

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Type is the value of a message's "type" member.
type Type string

// The messages of mesh rooms.
const (
	Join         Type = "join"
	RoomPeers    Type = "room_peers"
	PeerJoined   Type = "peer_joined"
	PeerLeft     Type = "peer_left"
	Offer        Type = "offer"
	Answer       Type = "answer"
	ICECandidate Type = "ice_candidate"
	Error        Type = "error"
)

// The further messages of rooms that a server forwards, in which it is a peer
// with the id SFU.
const (
	ParticipantJoined Type = "participant_joined"
	ParticipantLeft   Type = "participant_left"
	PublishTrack      Type = "publish_track"
	TrackAvailable    Type = "track_available"
	TrackRemoved      Type = "track_removed"
	SubscribeTrack    Type = "subscribe_track"
	UnsubscribeTrack  Type = "unsubscribe_track"
	Subscribed        Type = "subscribed"
	Speakers          Type = "speakers"
)

// SFU is the peer id of a server that forwards.
const SFU = "sfu"

// MaxSize is the largest message in bytes that we send or accept; some servers
// in the field close the socket above it.
const MaxSize = 1 << 20

// Description is an SDP offer or answer, as JSON.stringify gives a browser's
// RTCSessionDescription.
type Description struct {
	Type string `json:"type"`
	SDP  string `json:"sdp"`
}

// Candidate is an ICE candidate, as JSON.stringify gives a browser's
// RTCIceCandidate. The members that may be null are pointers.
type Candidate struct {
	Candidate        string  `json:"candidate"`
	SDPMid           *string `json:"sdpMid"`
	SDPMLineIndex    *uint16 `json:"sdpMLineIndex"`
	UsernameFragment *string `json:"usernameFragment"`
}

// Message is any message of the protocol. Which members are set depends on
// Type; Target is set on the way to a server, From on the way from it.
type Message struct {
	Type   Type     `json:"type"`
	PeerID string   `json:"peer_id,omitempty"`
	RoomID string   `json:"room_id,omitempty"`
	Needs  []string `json:"needs,omitempty"` // rights without which a join is of no use
	Rights []string `json:"rights,omitzero"` // what our token allows, if one was asked for
	Peers  []string `json:"peers,omitzero"`
	Target string   `json:"target,omitempty"`
	From   string   `json:"from,omitempty"`

	// Resume and Received are of a join and of the answer to it, in a room that is
	// forwarded. Who can resume says so by a Resume, "" at first, and then what
	// room_peers gave for it: that lets another socket go on in its place. Received is
	// how many messages the sender has got since: in a room_peers it tells that the
	// join has resumed.
	Resume   *string `json:"resume,omitempty"`
	Received *uint64 `json:"received,omitempty"`

	// Of rooms that are forwarded. TrackType is "audio" or "video", MID the
	// m-line that carries a track. Quality is how much of a track a subscriber
	// wants at most: "low", "medium", or "best", which "" means too.
	ParticipantID string `json:"participant_id,omitempty"`
	PublisherID   string `json:"publisher_id,omitempty"`
	TrackID       string `json:"track_id,omitempty"`
	TrackType     string `json:"track_type,omitempty"`
	MID           string `json:"mid,omitempty"`
	Quality       string `json:"quality,omitempty"`
	// Speakers are those who speak now.
	Speakers []string `json:"speakers,omitzero"`

	Offer     *Description `json:"offer,omitempty"`
	Answer    *Description `json:"answer,omitempty"`
	Candidate *Candidate   `json:"candidate,omitempty"`

	// Code and Text are a server's reason in an error message.
	Code string `json:"code,omitempty"`
	Text string `json:"message,omitempty"`
}

// ErrMalformed is wrapped by what Parse returns for input that is no message.
var ErrMalformed = errors.New("malformed message")

// Parse reads one message. It accepts every JSON object with a non-empty string
// "type", known or not, and returns an error that wraps ErrMalformed for
// anything else, a known member of the wrong JSON type included.
func Parse(b []byte) (Message, error) {
	var m Message
	if len(b) > MaxSize {
		return m, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(b), MaxSize)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if m.Type == "" {
		return Message{}, fmt.Errorf("%w: no type", ErrMalformed)
	}
	return m, nil
}
