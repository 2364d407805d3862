// Package server is the room server: it relays the JSON messages by which the
// peers of a room find each other, and serves the web page that is such a peer.
// No media passes through it, unless Config.Forward is set: then each peer connects
// with the server only, and package unit forwards what they send.
//
// # A socket's life
//
// Every path is a way in for a WebSocket. The first message is a join; when it
// has no room_id, the last element of the path is the room. The server answers
// with room_peers, in the order in which they came, and tells the others. From
// then on it relays offers, answers and candidates to the target in the same
// room and nowhere else, with "from" set to the sender's id whatever the sender
// wrote. The offer, answer or candidate itself is relayed as it came, members
// that nobody knows included; of what stands around it, only what the protocol
// knows is passed on. Messages of an unknown type are ignored.
//
// # Ids
//
// Ids of peers and rooms are 1 to [MaxID] bytes of UTF-8 without control
// characters, without U+FFFD (which is what broken UTF-8 is read as), and not
// only of white space.
//
// A peer id is unique in its room. A join under an id that is there already
// takes its place, since it nearly always is the same peer after a reload or on
// a new network, whose old socket has not been noticed dead yet: the old socket
// gets an error message with code "replaced" and is closed with
// [StatusReplaced], the others see peer_left and then peer_joined, and the
// newcomer's room_peers does not list itself. A client must not answer
// StatusReplaced by joining again, or two of them would go on for ever.
//
// So whoever has lost their socket may join again under their id at once. Not all
// servers allow that; this one says so with [RejoinHeader] when it accepts a
// WebSocket.
//
// # What is refused
//
// An error message has a code (the Code constants of package message) and a
// text for people. Most leave the socket as it was, so a client may try again:
// a message that is not JSON costs an answer and nothing else. These close it:
//
//   - a message above Config.MaxMessage: "too_large", status 1009
//   - no join within Config.JoinTimeout: "join_timeout", status 1008
//   - replaced: "replaced", status 4001
//   - a token that is missing, not valid or not for this: "unauthorized" or
//     "forbidden", status 4003; one that has expired: "token_expired", 4002
//   - the server stops: status 1001
//
// A second join on one socket is refused with "already_joined", and changes
// nothing. A peer that sends faster than Config.Rate is told so with
// "rate_limited" (and again every 10 s) and then read no faster than that: nothing of what it sends is
// lost, so a newcomer with a candidate too many still connects. A peer that
// reads too slowly is waited for by nobody: when its queue is full or a write
// takes longer than Config.WriteTimeout, its connection is cut and the others
// see peer_left.
//
// No more sockets, joins and messages are taken from one address than
// Config.AddressSockets and its like say. Sockets beyond that are answered with
// HTTP 429; joins and messages wait.
//
// # Tokens
//
// With Config.TokenSecret a join needs a token (package token), which came with
// the WebSocket's request; see TokenOf. Its room and peer_id must be those of the
// join. A join may say in "needs" which rights it is of no use without, so that a
// recorder without the right to record is refused rather than kept in the dark,
// and room_peers tells in "rights" what the token allows. Who has joined under an id that
// their token names is not replaced by somebody whose token names none.
//
// When the token expires, the socket is closed, and the others get a peer_left
// with the code "token_expired": what is connected does not pass through this
// server, so it is on them to hang up, unless the peer comes back with a fresh
// token. To stay without a gap, a client joins again before that, under the same id.
//
// Media does not pass through here either. What the rights publish and subscribe
// limit is what peers agree on: in the offers and answers of a peer that lacks
// one, each m-line of audio or video has only the direction that is left. So
// nobody who keeps to what was agreed sends to a peer that may not subscribe, or plays what a
// peer sends that may not publish. That somebody who receives does not keep it
// can't be seen to by anyone; the right to record is what tells recorders that
// mean well.
//
// # Forwarded rooms
//
// With Config.Forward, room_peers names one peer, message.SFU, with which offers,
// answers and candidates are exchanged. Nobody may have that id, in meshes neither,
// so that nobody is taken for a server. Then come participant_joined for everybody
// who is there, and track_available for what they publish. publish_track needs the
// right to publish, subscribe_track that to subscribe; both, and a right to neither,
// may exchange data channel messages.
//
// A client whose join has a "resume" can come back by another socket when its own
// breaks while its connection with the unit works. It stays in the room for
// Config.ResumeWithin; nobody is told. Its room_peers has a token, and a join with that
// under the same id goes on where the socket has ended: the join says how many messages
// have come since room_peers, the answer, another room_peers, does the same, and what is
// missing on either side follows. Without "received" in the answer it is a new
// beginning.
//
// # TURN
//
// GET /turn?user=NAME gives credentials for TURN servers, as [Relay], to those
// who may connect: pages of the hosts that may open a WebSocket, and programs.
// NAME is as a peer id is. With Config.TokenSecret it takes a valid token, for NAME
// or for any id.
//
// # The page
//
// The page at / joins with the name that was typed as its peer id, without the
// characters that an id can't have, since ids are what recordings are named by;
// with an empty name it is guest- and four random characters. Nobody can know
// before joining whether a name is taken: whoever comes under the name of
// somebody who is there takes their place, and that page says so.
//
// Its address can fill in the form and send it:
// /?room=ROOM&name=NAME&source=camera|pattern|none&join=1. With pattern it
// sends a test picture with a clock, and in each full second a white flash and
// a beep made in the same instant. With &token=TOKEN that is what the page joins
// with; it is taken out of the address at once, and else asked for when it is needed. What scripts can do with it is listed in
// page/testing.js, as window.roomtape.
//
// It does what clients in the field do, so that a recorder that works with it
// works with them: newcomers offer, residents wait, and nobody renegotiates to
// share a screen. It does better where that costs nobody anything: an offer
// that continues a connection's session (an ICE restart) is answered on that
// connection, and media whose owner has only lost the socket stays up for as long
// as it works. A page that comes back after the server was gone keeps every
// connection that works, restarts those that don't, and offers only to those with
// whom it has none.
package server
