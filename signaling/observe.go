package signaling

import "time"

// Observer is what Track.Feedback also is where the connection measures how media
// comes. What it tells is for people to look at, and never changes what is
// recorded: in a dump there is none.
type Observer interface {
	// Observe gives what is known now. It does not block, and may be called by
	// any goroutine.
	Observe() Observation
}

// Observation is what a connection knows of a track and of its own way, in the
// terms of W3C webrtc-stats. It is a value without memory of its own.
type Observation struct {
	// PacketsLost is how many packets of the track have not come by themselves,
	// whether or not they were sent again on a flow of their own (RFC 3550
	// §6.4.1). Duplicates make it smaller.
	PacketsLost int64
	// Jitter is the interarrival jitter (RFC 3550 §6.4.1).
	Jitter time.Duration
	// Nacks, PLIs and FIRs count the feedback packets that were sent for the
	// track (RFC 4585 §6.2.1, §6.3.1, RFC 5104 §4.3.1).
	Nacks, PLIs, FIRs uint64
	// RoundTrip is the latest round-trip time of ICE's checks; 0: not known.
	RoundTrip time.Duration
	// ICEState is an RTCIceTransportState, such as "connected".
	ICEState string
	// LocalCandidate and RemoteCandidate are the types of the selected pair:
	// host, srflx, prflx or relay. Protocol is udp or tcp. All are empty before
	// there is one.
	LocalCandidate, RemoteCandidate, Protocol string
}
