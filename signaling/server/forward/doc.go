// Package forward is what a selective forwarding unit (RFC 7667 §3.7) does with
// packets, without sockets, goroutines or clocks: it makes one continuous stream
// of the encodings that a publisher sends of one track, and chooses between them.
//
// A Stream is one track to one subscriber. Its packets come from one encoding at
// a time, and change to another with a keyframe of that one. What a receiver sees
// is one source: sequence numbers and timestamps go on, and so do the PictureID
// and TL0PICIDX of VP8 (RFC 7741 §4.2) and VP9 (RFC 9628 §4.2). No packet is
// decoded, and of payloads only these numbers are changed.
//
// Layers within one encoding (scalable video coding) are left out as well, where
// payloads say which they are of: the spatial and temporal ones of VP9, the temporal
// ones of VP8.
//
// A Chooser shares what a subscriber can receive among its streams.
package forward
