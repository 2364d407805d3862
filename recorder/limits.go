package recorder

import "time"

// Limits on what a room can make a session hold. What goes beyond is counted,
// logged once and left out.
const (
	// MaxIDLength is the longest participant's id, in bytes, that is recorded.
	MaxIDLength = 1024
	// MaxParticipants is how many different ids a session takes in.
	MaxParticipants = 1000
	// MaxStays is how many times a participant can come back with an entry of
	// its own in the manifest; more lengthen the last one.
	MaxStays = 100
	// MaxTracks is how many live tracks one participant can have.
	MaxTracks = 32
	// maxClocks is how many connections of a participant are remembered.
	maxClocks = 8
	// MaxFiles is how many files one session writes, without those that
	// rotation begins, whose pace is the user's.
	MaxFiles = 10_000
	// MaxUnrecorded is how many tracks without a file the manifest lists.
	MaxUnrecorded = 1000
	// MaxGaps is how many gaps and sizes the manifest lists for a track; more
	// are added to the last one.
	MaxGaps = 1000
	// MaxHeldFrames and MaxHeldBytes bound what one recording holds back to
	// put its tracks in order.
	MaxHeldFrames = 2048
	MaxHeldBytes  = 16 << 20

	// MaxMessage is the largest message, in bytes, that is recorded, and
	// MaxLabel how much of its channel's label is.
	MaxMessage = 256 << 10
	MaxLabel   = 256
	// MaxMessageBytes is how many bytes of messages of one participant a session
	// records, and MaxSessionMessageBytes how long their file gets.
	MaxMessageBytes        = 256 << 20
	MaxSessionMessageBytes = 2 << 30
	// messageChunk is how much of the file is written at once, in bytes.
	messageChunk = 64 << 10

	// MaxMarks and MaxPauses are how many of each participants can set, and
	// MaxMarkName is the longest name of a mark, in bytes.
	MaxMarks    = 1000
	MaxPauses   = 1000
	MaxMarkName = 200
	// maxRequest is the longest message, in bytes, that is looked at for a
	// request, and maxAction how much of an action is said back.
	maxRequest = 4096
	maxAction  = 32
	// requestRate is how many requests a second a participant may make in the
	// long run, and requestBurst how many at once.
	requestRate  = 5
	requestBurst = 20
	// maxRefusals is how many refusals of a participant's requests are logged.
	maxRefusals = 5
)

// The periods and waits that a session lives by, all in event time.
const (
	// StatusInterval is the time between two calls of Config.OnStatus.
	StatusInterval = time.Second

	// reorderWait is how long a missing packet is waited for when nobody can
	// be asked to send it again: it can only be late.
	reorderWait = time.Second
	// maxHold is how long a frame is held back, at most, for an earlier one
	// of another track; a quarter of a short chunk is less.
	maxHold = 250 * time.Millisecond
	// linger is how long a recording without tracks stays open for the next
	// track of the same connection.
	linger = 2 * time.Second

	// cutLead is how long before a file's end is due the keyframe of the next
	// one is asked for; a tenth of the file's length is less. One that comes
	// from then on is taken.
	cutLead = 500 * time.Millisecond
	// opusDelay is no less than what players take off the times of Opus, so that
	// its encoder's delay is made up for (RFC 7845 §4.2).
	opusDelay = 7 * time.Millisecond
	// stillAfter is how long a video must have given no frame for sound to go
	// on in the next file without it.
	stillAfter = 2 * time.Second
	// RotateLimit is how long after a file's end was due sound and other
	// pictures wait for the keyframe of a video. Then they go on in the next
	// file, and the video follows from its next keyframe on. Of a video that
	// has given no frame for as long, the file is completed.
	RotateLimit = 30 * time.Second

	// keyframeRetry is when an unanswered request for a keyframe is repeated;
	// it doubles up to keyframeRetryMax.
	keyframeRetry    = 200 * time.Millisecond
	keyframeRetryMax = 2 * time.Second
	// unheardRequests is how many requests go out while no packet comes.
	unheardRequests = 6
	// lateDoubt is how late a packet may be that nobody sends again before a
	// keyframe is asked for to mend its loss.
	lateDoubt = 100 * time.Millisecond
	// cueInterval is how long a video may go without a keyframe, and thereby
	// without a place to seek to, before one is asked for.
	cueInterval = 10 * time.Second

	// audioPause and videoPause are how long a track must be silent for the
	// manifest to call it a pause. A shared screen may stand still for long.
	audioPause = 500 * time.Millisecond
	videoPause = 5 * time.Second

	// lossLogInterval is the least time between two log lines about losses of
	// one track.
	lossLogInterval = 10 * time.Second
	// minDeadline is how soon a track is served again at the earliest.
	minDeadline = time.Millisecond

	// manifestUrgent is the time between rewrites of the manifest when a file
	// or a participant comes or goes, manifestSoon when a gap or size is
	// found, manifestRefresh when only the counters grow.
	manifestUrgent  = 200 * time.Millisecond
	manifestSoon    = time.Second
	manifestRefresh = 5 * time.Second
	// manifestCost is added to these for each byte of the manifest: that of a
	// session with thousands of files must not wear out the disk.
	manifestCost = 4 * time.Microsecond
)
