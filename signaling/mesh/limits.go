package mesh

import "time"

// Limits on what strangers can make us keep.
const (
	// MaxPeerID is the longest id of a peer, in bytes; a peer with a longer one
	// is ignored. File systems take names of 255 bytes, and an escaped id may be
	// longer than the id.
	MaxPeerID = 128
	// MaxRoomName is the longest name of a room, in bytes.
	MaxRoomName = 256
	// DefaultMaxPeers is how many participants a room may have at a time unless
	// Config.MaxPeers says otherwise; those who come after are ignored.
	DefaultMaxPeers = 128

	// maxToken is the longest token to resume by, in bytes; longer ones are not used.
	maxToken = 256
	// maxEarly is how many candidates of one peer are kept for a connection
	// that does not exist yet; the oldest go first.
	maxEarly = 64
	// maxGathered is how many candidates of ours wait for our description.
	maxGathered = 64
	// maxStrangers is from how many peers that the room has not announced
	// candidates are kept; the oldest go first.
	maxStrangers = 16
	// maxCandidate and maxSDP are the longest candidate and description, in
	// bytes, that are looked at; those of browsers have some 200 and 10,000.
	maxCandidate = 4096
	maxSDP       = 256 << 10
	// maxDiscard is how much of a message over message.MaxSize is read and
	// thrown away, in bytes, before the socket is given up instead.
	maxDiscard = 256 << 20
	// maxWaiting is how many messages may wait to be written to a server that
	// does not read; one more and the socket is given up.
	maxWaiting = 2048
	// maxRedirects is how many redirections a handshake follows.
	maxRedirects = 10
	// maxBeforePeers is how many messages a server may send before it answers a
	// join with room_peers.
	maxBeforePeers = 256
	// maxComplaints is how many warnings about one kind of misbehaviour are
	// logged; what follows is only counted.
	maxComplaints = 10
)

// Times that the behaviour in a room is made of.
const (
	// AnswerTimeout is how long a peer may take to answer our offer. Somebody
	// may be looking at a browser's question about the camera.
	AnswerTimeout = 30 * time.Second
	// ConnectTimeout is how long a connection may take from the answer until
	// media can flow.
	ConnectTimeout = 30 * time.Second
	// RestartAfter is how long ICE may call a connection disconnected before we
	// restart it, when we made its offer; otherwise the restart is theirs, and we
	// do it only after TheirRestartAfter.
	RestartAfter      = 3 * time.Second
	TheirRestartAfter = 8 * time.Second
	// RestartTimeout is how long a peer may take to answer our offer to restart
	// ICE before it gets one of a new connection, and how long the restart may
	// take from the answer until ICE is restarted once more: some give up early
	// on a way that is blocked for now. That goes on for ReviveTime from when the
	// connection died.
	RestartTimeout = 10 * time.Second
	ReviveTime     = 60 * time.Second
	// DisconnectTimeout is how long a connection may be without a sign of life,
	// after ICE has called it disconnected and while the server is gone, before
	// it counts as lost. It is still restarted when the server is back.
	DisconnectTimeout = 15 * time.Second
	// LingerTime is how long a connection must have been without media, after
	// its participant has left the room, to be closed. One that still delivers
	// media is kept, since only their socket may have died.
	LingerTime = 2 * time.Second
	// MissingTime is LingerTime for a participant who has not left, but was not
	// there when we came back to a room that we had lost, while ICE calls the
	// connection with them connected: the server has gone from them too, and
	// they come back in their own time.
	MissingTime = 30 * time.Second
	// ExpelTime is how long the connection with somebody whose token has expired
	// is kept, for them to come back with a fresh one.
	ExpelTime = 5 * time.Second
	// OfferBackoff is how long we wait before we offer anew to a peer whose
	// connection has failed; it doubles with each attempt.
	OfferBackoff = 1 * time.Second
	// MaxOffers is how many offers in a row a peer gets without a connection
	// coming of it that lasts for SteadyTime.
	MaxOffers  = 4
	SteadyTime = 30 * time.Second
	// OfferGap is the shortest time between two offers of one peer that each
	// get a connection; of those that come faster, the last is answered.
	OfferGap = 500 * time.Millisecond

	// RejoinBackoff is about how long we wait before the first attempt to join
	// again after the socket has died; it doubles with each attempt, up to
	// MaxRejoinBackoff, and is varied by half at random.
	RejoinBackoff = 500 * time.Millisecond
	// MaxRejoinBackoff bounds the wait between two attempts.
	MaxRejoinBackoff = 10 * time.Second
	// RejoinTimeout is how long one attempt to join again may take.
	RejoinTimeout = 10 * time.Second
	// DefaultGiveUp is how long the room may be lost without any media
	// connection left before Next returns ErrLost, unless Config.GiveUp says
	// otherwise.
	DefaultGiveUp = 60 * time.Second

	// pingInterval and pingTimeout find a server that is gone without a word.
	pingInterval = 15 * time.Second
	pingTimeout  = 10 * time.Second
	// writeTimeout is how long the server may take to read one message.
	writeTimeout = 10 * time.Second
	// farewellTime is how long our last message on a data channel may take to
	// be on its way before the connection is closed.
	farewellTime = 100 * time.Millisecond
	// goodbyeTimeout bounds the WebSocket closing handshake.
	goodbyeTimeout = 500 * time.Millisecond
)
