// Package sfu is the room whose server forwards what everybody sends (PROTOCOL:
// SFU rooms): one peer connection with the server, named message.SFU, by which
// all tracks come that were subscribed to.
//
// Nobody can tell such a room from a mesh by its address. So mesh.Dial joins, and
// when the answer's only peer is message.SFU, its error, a mesh.ForwardedError, is what
// Enter goes on from.
//
// # Tracks
//
// The room subscribes to every track there is, and asks for the best of its
// encodings. The server says which m-line carries a track before it offers it;
// what comes by an m-line of which nothing is known yet is kept, within bounds,
// until it is. Each stay of a participant has a Connection number of its own, as
// if they sent by a connection of their own.
//
// # Negotiation
//
// We make the first offer, with the data channel and what we publish, and
// subscribe when it is answered; then the server offers. Should offers cross, in
// an ICE restart, we join anew.
//
// # Losing the server
//
// When the socket dies, media goes on, and we join again with back-off. A server that
// has kept our place lets us go on (package resume): both sides say what the other has
// missed, and nobody notices. Otherwise, or when the connection fails, everything is
// subscribed to anew: other tracks of the same participants. Whose place somebody else
// has taken comes back under another id. Those whom the server has not named again after missing have
// Left. Only when Config.GiveUp has passed without a server or media does Next
// return signaling.ErrLost.
package sfu

import "time"

const (
	// maxParticipants and maxTracks bound who is followed, and their tracks.
	maxTracks = 32
	// maxHeld is how many events of a track wait for its name.
	maxHeld = 512
	// maxUnnamed is how many such tracks there are at a time.
	maxUnnamed = 64

	// joinTimeout is how long joining again may take; retryFirst and retryMax
	// are how long it is waited between two attempts.
	joinTimeout = 10 * time.Second
	retryFirst  = 500 * time.Millisecond
	retryMax    = 10 * time.Second
	// connectTimeout is how long the connection may take to come about.
	connectTimeout = 30 * time.Second
	// restartAfter is how long a connection may be without a sign of life before
	// ICE is restarted.
	restartAfter = 2 * time.Second
	// linger is how long tracks of a participant who has left may take to end.
	linger = 2 * time.Second
	// missing is how long somebody may take to be named again after we came back.
	missing = 10 * time.Second
	// keepSent is how long what we have said can be said again.
	keepSent = time.Minute
	// farewell is how long our last message may take to be on its way.
	farewell = 100 * time.Millisecond
)
