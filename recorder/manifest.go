package recorder

import (
	"encoding/json"
	"time"
)

// The states of a Manifest.
const (
	StateRecording  = "recording"
	StateComplete   = "complete"
	StateIncomplete = "incomplete"
)

// Manifest says what a session has recorded. It is kept as JSON beside the
// recordings, under ManifestName.
type Manifest struct {
	Version int    `json:"version"`
	Room    string `json:"room"`
	URL     string `json:"url"`
	// State is one of the constants above, Reason why it is incomplete.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// StartedAt is the session's zero in UTC, EndedAt its end.
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Recorder  string    `json:"recorder"`

	Files        []FileEntry        `json:"files"`
	Participants []ParticipantEntry `json:"participants"`
	// Unrecorded lists the tracks that sent packets but have no place in a
	// file, so that every packet is accounted for, up to MaxUnrecorded.
	Unrecorded []UnrecordedEntry `json:"unrecorded,omitempty"`
	// Messages is what became of data channel messages; nil: there were none.
	Messages *MessagesEntry `json:"messages,omitempty"`
	// Marks, Pauses and Stops are what participants have asked for, up to
	// MaxMarks and, both together, MaxPauses. After a stop there are new files.
	// StoppedBy is who has stopped the recording, if it was not started again.
	Marks     []MarkEntry  `json:"marks,omitempty"`
	Pauses    []PauseEntry `json:"pauses,omitempty"`
	Stops     []PauseEntry `json:"stops,omitempty"`
	StoppedBy string       `json:"stopped_by,omitempty"`
	// Dump is the file that keeps what arrived, beside the recordings, and
	// DumpError why it ends before they do.
	Dump      string `json:"dump,omitempty"`
	DumpError string `json:"dump_error,omitempty"`
	// Quality lists the times when a track became poor and recovered, up to
	// MaxQuality; QualityOmitted counts the others. Stats is the file with the
	// statistics of each second, beside the recordings.
	Quality        []QualityEvent `json:"quality,omitempty"`
	QualityOmitted int            `json:"quality_omitted,omitempty"`
	Stats          string         `json:"stats,omitempty"`
	// Warnings are things that did no harm yet.
	Warnings []string `json:"warnings,omitempty"`
	// Refused counts the participants, tracks and files beyond the limits.
	Refused int `json:"refused,omitempty"`
}

// FileEntry is one recording.
type FileEntry struct {
	// Path is the file's name in the store, slash-separated.
	Path        string `json:"path"`
	Participant string `json:"participant"`
	Stream      string `json:"stream"`
	// Part counts the files that follow each other without a break, from 1, and
	// Continues is the Path of the one before. Both are absent where a
	// recording is one file.
	Part      int    `json:"part,omitempty"`
	Continues string `json:"continues,omitempty"`
	// OffsetMS places the file's zero on the session's clock.
	OffsetMS   int64 `json:"offset_ms"`
	DurationMS int64 `json:"duration_ms"`
	Bytes      int64 `json:"bytes"`
	// SHA256 is the hex digest of the finished file; see Session.Hash.
	SHA256 string `json:"sha256,omitempty"`
	// Error is why the file ends before its tracks did.
	Error  string       `json:"error,omitempty"`
	Tracks []TrackEntry `json:"tracks"`
}

// TrackEntry is one track of a recording. Times in it count from the file's
// zero.
type TrackEntry struct {
	Kind      string `json:"kind"`
	Codec     string `json:"codec"`
	Number    int    `json:"number"`
	ClockRate uint32 `json:"clock_rate"`
	// Width and Height are of the first frame; absent for audio.
	Width   int          `json:"width,omitempty"`
	Height  int          `json:"height,omitempty"`
	Packets PacketCounts `json:"packets"`
	Frames  FrameCounts  `json:"frames"`
	Gaps    []Gap        `json:"gaps"`
	Sizes   []Size       `json:"sizes"`
}

// PacketCounts is what became of a track's packets. When the track has ended,
// Received = Written + Late + Duplicate + all of Discarded.
type PacketCounts struct {
	Received int64 `json:"received"`
	// Lost is how many never came, or came when they were given up.
	Lost int64 `json:"lost"`
	// Recovered is how many of Received came only because we asked again.
	Recovered int64 `json:"recovered"`
	Late      int64 `json:"late"`
	Duplicate int64 `json:"duplicate"`
	// Written is how many made up the frames in the file.
	Written int64 `json:"written"`
	// Discarded counts the rest by reason.
	Discarded map[string]int64 `json:"discarded,omitempty"`
}

// FrameCounts counts a track's frames. Dropped ones had arrived, in whole or in
// part, but could not be decoded.
type FrameCounts struct {
	Written int64 `json:"written"`
	Dropped int64 `json:"dropped"`
	Key     int64 `json:"key"`
}

// The reasons of a Gap: packets were lost, the sender sent nothing, or the
// recording was paused, which a picture comes back from with its next keyframe.
const (
	GapLoss   = "loss"
	GapPause  = "pause"
	GapPaused = "paused"
)

// Gap is a stretch of a track without frames. Packets and Frames are how many
// were lost or dropped in it.
type Gap struct {
	AtMS       int64  `json:"at_ms"`
	DurationMS int64  `json:"duration_ms"`
	Packets    int64  `json:"packets"`
	Frames     int64  `json:"frames"`
	Reason     string `json:"reason"`
	// Merged is how many further gaps this entry stands for, when there were
	// more than MaxGaps.
	Merged int `json:"merged,omitempty"`
}

// Size is the size in pixels that a video has from a time on.
type Size struct {
	AtMS   int64 `json:"at_ms"`
	Width  int   `json:"width"`
	Height int   `json:"height"`
}

// ParticipantEntry is one stay of a participant in the room.
type ParticipantEntry struct {
	ID       string `json:"id"`
	JoinedMS int64  `json:"joined_ms"`
	// LeftMS is absent while the participant is there.
	LeftMS *int64 `json:"left_ms,omitempty"`
}

// UnrecordedEntry is a track without a file, and why.
type UnrecordedEntry struct {
	Participant string       `json:"participant"`
	Stream      string       `json:"stream"`
	Kind        string       `json:"kind"`
	Codec       string       `json:"codec"`
	Packets     PacketCounts `json:"packets"`
	Reason      string       `json:"reason"`
}

// encode gives the manifest as it stands in the file.
func (m Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}
