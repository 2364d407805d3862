// Package timeline gives every frame its place on the one clock of a session:
// it turns RTP timestamps, which start anywhere and run at the pace of some
// crystal, into time since the session began.
//
// # What is known
//
// Three things tell when a frame was captured, each better than the next.
//
//   - The frame's capture time (the abs-capture-time header extension), on the
//     sender's wall clock. Only some frames have one, but the first does.
//   - Sender reports (RFC 3550 §6.4.1), which say what a track's timestamps are
//     on the sender's wall clock. All tracks of a connection share that clock,
//     so they can be laid side by side exactly. The first one of a browser's
//     audio track comes after some 2.5 s, and each is off by some ms.
//   - Arrival. A frame can come late but not early, so the least of (arrival -
//     media time) over a while is the track's offset, but for the time that its
//     encoder takes. What was sent again, or was overtaken, says nothing here.
//
// # How they are used
//
// A frame's session time is its media time plus an offset. Media time is the
// extended RTP timestamp, so frames keep the sender's exact spacing. The offset
// moves towards a target:
//
//	target = (wall time - media time)    a line through the track's samples
//	       + (session time - wall time)  the least delay of the connection
//
// and, as long as a track has no sample, the least of (arrival - media time).
// The second term moves slowly and is a function of wall time, so that it moves
// all tracks alike however long their frames have waited for others. The first is
// fitted to some minutes of samples, with outliers clipped, and with a slope that
// is believed as far as it stands out of their noise; what it is believed to be
// without them is told by the least values of the arrivals, which show the skew
// between the sender's clocks and ours. So the skew of any of the clocks is
// followed without a lag, and noise is averaged out. A browser reports about the
// audio frame that it sent last, so its report is as late as that frame was; where
// taking out how late it came makes reports agree better, it is done.
//
// The least of a delay rises by at most 1500 ppm: what rises faster is a queue in
// the network, not a clock.
//
// The offset is slewed: by at most 20 ms per second of audio and 100 ms of video,
// or half of the error per second if that is more, up to 250 ms; what sound is to
// be moved too, a picture moves with it. Only a track
// that is placed more than 250 ms too early is moved at once, which leaves a
// gap, and one that sends nothing for 500 ms or more is placed anew after that.
//
// # Pauses, bursts, jumps
//
// Some senders let timestamps stand still while they send nothing. The first
// frame after that looks like one that the network held up. Audio frames are
// therefore held, when one comes more than 250 ms late all of a sudden, until it
// shows: after a burst the delay comes down, after a pause it stays. What other
// tracks of the connection did meanwhile helps. A decision that turns out to be
// wrong is taken back, at the latest by the next report or capture time. The
// first frames of a track are held too, for 100 ms when they come evenly and for
// 225 ms when they don't, so that the least late of them gives their place.
//
// A timestamp that jumps, or a sender that restarts, is placed by arrival. A
// wall clock that steps is recognised by reports that suddenly disagree with
// the media and the arrivals by the same amount, and moves nothing. A report
// that would place frames after their arrival, or long before, is refused; the
// frames after it tell. (A sender that had no time for a while, and sends at once
// what it should have sent, may report in the midst of it that a frame is of now
// which is of long ago.)
//
// Everything here is a function of its input: integers only, no clock, no
// randomness.
package timeline
