// Package unit is the selective forwarding unit (RFC 7667 §3.7) of the room
// server: each client has one peer connection with it, by which it sends its
// tracks and receives those of others that it has subscribed to. Nothing is
// decoded. What is done with packets is package forward's; here are connections,
// negotiations and who is told what.
//
// # Negotiation
//
// Both sides may offer. The client is polite (RFC 8829, "perfect negotiation"):
// when offers cross, the unit ignores the client's, and the client takes its own
// back. Browsers do that badly before anything is agreed (Chromium then gives one
// payload type two meanings), so the unit makes no offer before the client's first
// one, but to a client who makes none for firstOffer. It offers when subscriptions have begun or ended; a client says
// which m-line carries a track by the message subscribed, which comes before the
// offer.
//
// # Who may what
//
// A Room knows its own clients only, so nobody can subscribe to, hear of or write
// to anybody in another room. Ids, descriptions and media are strangers': they
// are bounded by the constants below and by those of package peer.
package unit

import "time"

const (
	// MaxPublished is how many tracks a client may publish.
	MaxPublished = 8
	// MaxSubscriptions is how many tracks a client may be sent.
	MaxSubscriptions = 100
	// MaxEncodings is how many encodings (RFC 8853) of a track are forwarded.
	MaxEncodings = 3
	// maxTracks bounds the tracks of a client that nobody has published.
	maxTracks = 32
	// maxTrackID is the length of a track's id in bytes.
	maxTrackID = 128
	// maxEvents is how many events of a client wait to be forwarded; then
	// packets are dropped.
	maxEvents = 4096
	// tooLate is how old a packet is that is not forwarded any more: whoever can't
	// keep up must catch up.
	tooLate = 2 * time.Second
	// maxRelayed is the largest message that is relayed, in bytes.
	maxRelayed = 64 << 10
	// deliverFor is how long a message waits for a client who has much to read,
	// and deliverEvery how often that is looked at.
	deliverFor, deliverEvery = 2 * time.Second, 10 * time.Millisecond

	// chooseEvery is how often encodings are chosen anew.
	chooseEvery = 250 * time.Millisecond
	// keyframeEvery is the least time between two requests for a keyframe of one
	// encoding, whoever asks.
	keyframeEvery = 500 * time.Millisecond
	// encodingEnds is how far an encoding may fall behind the others of its
	// track before it is taken for one that is sent no more.
	encodingEnds = 2 * time.Second
	// rateOver is over how long an encoding's bitrate is measured.
	rateOver = time.Second
	// firstRate is over how long it is measured at least for the first time.
	firstRate = 250 * time.Millisecond
	// linger is for how long tracks of a client who has left are forwarded:
	// what they sent last is on its way.
	linger = 300 * time.Millisecond
	// firstOffer is for how long the client's first offer is waited for.
	firstOffer = 2 * time.Second
	// answerTimeout is how long a client may take to answer an offer. Until a socket
	// is known to be dead, and another one has taken its place, media goes on.
	answerTimeout = 45 * time.Second
)
