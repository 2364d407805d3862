// Package mesh is the room in which everybody has a peer connection with
// everybody else, and a server passes their JSON messages on over WebSockets
// (package message). Dial joins one and gives a signaling.Room.
//
// A Room consists of a socket, peer connections, and a roster: who is in the
// room, and how we are connected with each. The roster is the protocol as a
// state machine, without sockets, goroutines or a clock. The room's loop gives
// it what happens, one thing at a time.
//
// # Connections
//
// We offer to everybody who was there before us, and answer the offers of those
// who come later. An offer that nobody answers for AnswerTimeout is dropped, and
// made anew only when its answer comes after all. Clients in the field make a
// new peer connection of each offer, so we never renegotiate as long as a
// connection works, and offer another only to somebody with whom none does.
//
// An offer by somebody whom we are connected with goes to that connection when
// it is an ICE restart of it, and else makes another one, which takes the old
// one's place when it is connected and not before: nothing that works is given
// up for a promise. Offers that cross need no rule for the same reason: both are
// answered, and the first connection to come about ends the other.
//
// # Restarting
//
// A connection that worked and then shows no sign of life is restarted (RFC 8445
// §9): by us when we made its offer, RestartAfter ICE has called it disconnected,
// and else by them, or by us after TheirRestartAfter. One whose local address is
// gone is restarted at once. Tracks go on through a restart: same sources, same
// files. Who answers the restart with a new connection, as clients in the field
// do, or not at all for RestartTimeout, is offered one of ours, and later gets
// that at once. A restart that comes to nothing is made again, for ReviveTime; while
// the server is gone it waits for it.
//
// A connection that never worked is closed when it fails, and as long as its
// participant is in the room offered anew, MaxOffers times with OfferBackoff,
// unless they offer first. One that the other side closes is not: who hangs up
// has a reason.
//
// # Leaving
//
// A participant has Left when the server says that they left and none of their
// connections is there any more. A connection ends when the other side closes
// it, as browsers do that leave, or LingerTime after its last packet. So media
// outlives the socket of who sends it, and an ordinary leave is over in about
// two seconds at most.
// Somebody whom the server has put out because their token has expired does not
// linger: the connection is closed after ExpelTime, unless they come back.
//
// # Losing the server
//
// When our socket dies, media goes on, and we join again, with back-off; at
// once when it dies because our address has changed. A server that says so lets
// us keep our id, so that nobody need notice. With others it is a fresh one, ours
// with -2, -3 and so on, since some servers forget the newer socket of an id when
// the older one closes; the same holds for when somebody has taken our id.
// Connections that work are kept; who has none gets an offer. Participants whom
// the server has lost as well are waited for, for MissingTime without media at
// most. Only when Config.GiveUp has passed and no connection works does Next
// return signaling.ErrLost.
package mesh
