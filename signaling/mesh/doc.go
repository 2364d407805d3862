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
// new peer connection of each offer, so we never renegotiate, and offer only to
// somebody with whom no connection works or is being made.
//
// An offer by somebody whom we are connected with goes to that connection when
// it is an ICE restart of it, and else makes another one, which takes the old
// one's place when it is connected and not before: nothing that works is given
// up for a promise. Offers that cross need no rule for the same reason: both are
// answered, and the first connection to come about ends the other.
//
// A connection that fails is closed, and as long as its participant is in the
// room offered anew, MaxOffers times with OfferBackoff, unless they offer first.
// One that the other side closes is not: who hangs up has a reason.
//
// # Leaving
//
// A participant has Left when the server says that they left and none of their
// connections is there any more. A connection ends when the other side closes
// it, as browsers do that leave, or LingerTime after its last packet. So media
// outlives the socket of who sends it, and an ordinary leave is over in about
// two seconds at most.
//
// # Losing the server
//
// When our socket dies, media goes on, and we join again, with back-off, under a
// fresh id: ours with -2, -3 and so on, since some servers forget the newer
// socket of an id when the older one closes. That holds for a server that says
// somebody has taken our id, too: they keep it. Connections that work are kept;
// who has none gets an offer. Only when Config.GiveUp has passed without any
// connection left does Next return signaling.ErrLost.
package mesh
