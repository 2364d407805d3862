// Package marked has media that tell what became of them: each frame is a true
// one that any decoder takes, and carries the number of the connection it was
// sent on, its own number, and a checksum. So a recording can be compared with
// what was sent, frame by frame, whatever the network in between has done.
//
// A [Log] gives sources to participants of package synthetic and remembers what
// they have sent and when; [Log.Check] then reads the files of a session:
//
//	log := marked.NewLog(clip)
//	p, err := synthetic.Join(ctx, synthetic.Config{…, Clip: clip, Source: log.Source("alice")})
//	// … alice plays, leaves, and the recorder ends.
//	result, err := log.Check("recordings/room/20260102T150405Z")
//
// # Where the mark is
//
// A VP8 frame has it at its end, behind what the decoder reads of the last
// partition (RFC 6386 §9.5). An Opus packet becomes one with padding, of code 3
// (RFC 6716 §3.2.5), and the mark is the padding.
package marked
