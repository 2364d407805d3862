// Package turn is a TURN server (RFC 8656) for those who can't reach each other
// directly, and the time-limited credentials by which they may use it.
//
// # Credentials
//
// A user name is "EXPIRY:NAME", EXPIRY in seconds since 1970, and its password
// the base64 of HMAC-SHA1(secret, user name): what coturn calls use-auth-secret.
// So whoever knows the secret makes credentials without asking anybody, and the
// server keeps no list of users. A password never travels; what is compared, in
// constant time, is the MESSAGE-INTEGRITY of each request (RFC 8489 §9.2).
//
// Nothing is allocated with credentials that have expired. What was allocated
// before goes on, and can be refreshed, also by other credentials of the same
// NAME, until Config.MaxAge: a call does not end because it is long.
//
// # What is relayed where
//
// Only UDP is relayed (not RFC 6062), and only to addresses that anybody on the
// internet could send to from anywhere: [Denied] lists the others. A relay that
// reached them would be a way around every firewall it stands behind. Networks
// that clients shall reach all the same stand in Config.Allow.
//
// # What is bounded
//
// Allocations in all, of each name and of each client address; requests,
// allocations and TCP connections in each address's time; permissions and
// channels of an allocation; the age of an allocation, however often it is
// refreshed, and of a connection on which nothing is allocated. A client that
// reads too slowly loses packets, and delays nobody. The limits are in
// [Config] and limits.go.
//
// # Why pion's listeners are not used
//
// pion/turn handles the requests. Streams are read here, since its reader loops
// for ever on a length that overflows, keeps a connection whose TLS handshake
// fails, and writes to a slow reader in the goroutine that serves others. To
// pion, every listener is one packet socket.
package turn
