// Package lossy puts a bad network between programs that believe they talk to
// each other over loopback: real sockets, real time, any WebRTC client.
//
// A [Relay] forwards UDP packets and loses, delays, reorders, duplicates and
// corrupts them, and lets no more through than a rate, by odds that are drawn from a seed and may be changed while it
// runs, for each direction alone. A [Proxy] stands in front of a room server
// and puts the relay between everybody in its rooms: it rewrites the ICE
// candidates that pass, so that nobody learns any address but the relay's.
//
//	relay := lossy.NewRelay(1)
//	defer relay.Close()
//	proxy := lossy.NewProxy(relay, "ws://127.0.0.1:8765")
//	defer proxy.Close()
//	front := httptest.NewServer(proxy)
//	defer front.Close()
//
//	relay.Set("*", "*", lossy.Odds{Loss: 0.05, Delay: 50 * time.Millisecond})
//	// Everyone joins at "ws" + front.URL[4:] + "/ws/ROOM"; the page is at
//	// front.URL, with the server's other addresses.
//	relay.Set("alice", "recorder*", lossy.Odds{Loss: 1}) // alice goes silent
//	fmt.Println(relay.Counts("alice", "recorder*"))
//
// # How it works
//
// For each candidate of A that passes on its way to B the relay opens a port on
// 127.0.0.1, for this pair alone. What B sends to that port goes on to A's
// candidate, and it leaves from the port that stands for B's address towards A;
// there is one already if that address was a candidate too, and else one is
// opened, and A takes it for a peer-reflexive candidate (RFC 8445 §7.3.1.3). So
// each side sees the other at the relay's addresses only, as through a
// symmetric NAT on both sides. Since a port belongs to a pair, directions are
// told apart although a client uses one socket for everybody.
//
// Only IPv4 loopback addresses take part, so that no interface that comes or
// goes meanwhile has anything to do with it: clients must be told to use
// loopback, as internal/browser tells Chromium. Other candidates are left out,
// TCP and the mDNS names of browsers included, and packets from other addresses
// dropped. Everything is lost alike: ICE, DTLS, RTP, RTCP and SCTP. The
// WebSocket itself loses nothing.
//
// The n-th packet of a direction has the same fate in every run with the same
// seed; which packet is the n-th is up to the clients.
package lossy
