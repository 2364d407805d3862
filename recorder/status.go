package recorder

import (
	"time"

	"github.com/roomtape/roomtape/media"
)

// Status is a snapshot of a session for people to look at. It shares no memory
// with the session.
type Status struct {
	// Time is how long the session has lasted.
	Time time.Duration
	// Participants is in the order in which they first came.
	Participants []ParticipantStatus
	// Files is how many have been begun, Bytes what was written to them.
	Files int
	Bytes int64
}

// ParticipantStatus is what is recorded of one participant.
type ParticipantStatus struct {
	// ID is untrusted.
	ID string
	// Present tells whether the participant is in the room.
	Present bool
	// File is the name of the latest file, or "".
	File string
	// Bytes is what was written to all files of the participant.
	Bytes int64
	// Error is why the latest file failed, or "".
	Error string
	// Tracks is in the order in which they started; ended ones are left out.
	Tracks []TrackStatus
}

// TrackStatus is what is recorded of one track.
type TrackStatus struct {
	Kind media.Kind
	// Codec is CodecUnknown before the first packet.
	Codec media.Codec
	// Width and Height in pixels of the latest keyframe; 0 for audio.
	Width, Height int
	// Bitrate is of the media received since the last snapshot, in bit/s.
	Bitrate int64
	// Loss is the part of the packets sent since the track started that is
	// lost for good, from 0 to 1.
	Loss float64
	// Recorded is how long the track is in the file.
	Recorded time.Duration
	// Frames is how many frames are in the file.
	Frames int64
	// Waiting is set while frames can't be recorded before the next keyframe.
	Waiting bool
}
