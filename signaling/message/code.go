package message

// Codes of the error messages that Roomtape's server sends. A client in the
// field may meet others, and must not need to know any of them. Those marked
// fatal are followed by the socket's close; after the rest it can go on.
const (
	// CodeBadMessage: the message is not JSON text with a "type", or lacks
	// what its type needs.
	CodeBadMessage = "bad_message"
	// CodeBadPeerID and CodeBadRoomID refuse a join: the id is missing, too
	// long, or has characters that an id can't have.
	CodeBadPeerID = "bad_peer_id"
	CodeBadRoomID = "bad_room_id"
	// CodeAlreadyJoined refuses a second join on one socket.
	CodeAlreadyJoined = "already_joined"
	// CodeNotJoined refuses an offer, answer or candidate before a join.
	CodeNotJoined = "not_joined"
	// CodeTooManyRooms and CodeRoomFull refuse a join.
	CodeTooManyRooms = "too_many_rooms"
	CodeRoomFull     = "room_full"
	// CodeUnknownPeer: the target of an offer or answer is not in the room;
	// peer_id names it.
	CodeUnknownPeer = "unknown_peer"
	// CodeUnknownTrack: what is to be subscribed to is not published in the room.
	CodeUnknownTrack = "unknown_track"
	// CodeTooManyTracks refuses to publish or to subscribe.
	CodeTooManyTracks = "too_many_tracks"
	// CodeRateLimited: messages come too fast, and are read more slowly.
	CodeRateLimited = "rate_limited"
	// CodeTooLarge: the message is larger than the server relays. Fatal when
	// it was too large to be read.
	CodeTooLarge = "too_large"
	// CodeJoinTimeout: no join came in time. Fatal.
	CodeJoinTimeout = "join_timeout"
	// CodeReplaced: another socket has joined under the same id. Fatal.
	CodeReplaced = "replaced"
	// CodeUnauthorized: a token is needed, or the one that came is not valid.
	// Fatal, as is CodeForbidden: it does not allow what was asked for.
	CodeUnauthorized = "unauthorized"
	CodeForbidden    = "forbidden"
	// CodeTokenExpired: the token has expired, at the join or since. Fatal. In a
	// peer_left it is why the peer is out of the room.
	CodeTokenExpired = "token_expired"
)
