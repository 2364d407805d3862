package recorder

import (
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// Status is a snapshot of a session for people to look at. It shares no memory
// with the session.
type Status struct {
	// Time is how long the session has lasted.
	Time time.Duration
	// Participants is in the order in which they first came.
	Participants []ParticipantStatus
	// Files is how many have been begun, Bytes what was written to them.
	Files int
	Bytes int64
	// Audio and Video count what has come, of tracks that have ended too, and
	// Poor, by the place of a reason in PoorReasons, how often quality became
	// poor.
	Audio, Video Totals
	Poor         [len(PoorReasons)]int64
	// LowSpace is set when disk space is low, and FreeSpace is then how many
	// bytes are left.
	LowSpace  bool
	FreeSpace int64
}

// ParticipantStatus is what is recorded of one participant.
type ParticipantStatus struct {
	// ID is untrusted.
	ID string
	// Present tells whether the participant is in the room.
	Present bool
	// File is the name of the latest file, or "".
	File string
	// Bytes is what was written to all files of the participant.
	Bytes int64
	// Error is why the latest file failed, or "".
	Error string
	// Tracks is in the order in which they started; ended ones are left out.
	Tracks []TrackStatus
	// Connections are those of Tracks.
	Connections []ConnectionStatus
}

// TrackStatus is what is recorded of one track.
type TrackStatus struct {
	// Stream and ID are the sender's words; Connection numbers the connection
	// by which the track comes, and SSRC is its source.
	Stream, ID string
	Connection int
	SSRC       uint32
	Kind       media.Kind
	// Codec is CodecUnknown before the first packet.
	Codec media.Codec
	// Width and Height in pixels of the latest keyframe; 0 for audio.
	Width, Height int
	// Bitrate is of the media received since the last snapshot, in bit/s.
	Bitrate int64
	// Loss is the part of the packets sent since the track started that is
	// lost for good, from 0 to 1.
	Loss float64
	// Recorded is how long the track is in the file.
	Recorded time.Duration
	// Frames is how many frames are in the file.
	Frames int64
	// Waiting is set while frames can't be recorded before the next keyframe.
	Waiting bool
	// FrameRate is of the frames since the last snapshot, in 1/s.
	FrameRate float64
	// Jitter is the interarrival jitter (RFC 3550 §6.4.1), where Observed tells
	// that the connection measures it.
	Jitter   time.Duration
	Observed bool
	// Poor has the reasons, of PoorReasons, while the track is poor.
	Poor []string
	// Totals counts since the track started.
	Totals Totals
}

// statusState is when Config.OnStatus was called last and will be next.
type statusState struct {
	last, due time.Time
	// audio and video are the totals of tracks that have ended.
	audio, video Totals
}

// serviceStatus calls Config.OnStatus if it is due.
func (s *Session) serviceStatus() {
	if s.cfg.OnStatus == nil {
		return
	}
	if s.status.due.IsZero() || reached(s.status.due, s.now) {
		s.cfg.OnStatus(s.snapshot())
		s.status.due = s.later(StatusInterval)
	}
	s.wake(s.status.due)
}

// snapshot makes a Status, and begins a new period for bitrates.
func (s *Session) snapshot() Status {
	st := Status{
		Time: s.elapsed(), Files: s.opened, LowSpace: s.disk.low != "", FreeSpace: s.disk.free,
		Audio: s.status.audio, Video: s.status.video, Poor: s.quality.counts,
	}
	period := s.now.Sub(s.status.last)
	s.status.last = s.now
	for _, p := range s.participants {
		if !p.recorded {
			continue
		}
		ps := ParticipantStatus{ID: p.id, Present: p.joined || len(p.tracks) > 0, File: p.file, Bytes: p.bytes, Error: textOf(p.err)}
		for _, r := range p.recordings {
			if r.file == nil {
				continue
			}
			ps.Bytes += r.bytes()
			ps.File = r.file.Name()
			ps.Error = textOf(r.err)
		}
		st.Bytes += ps.Bytes
		seen := make([]signaling.Observation, len(p.tracks))
		for i, t := range p.tracks {
			var ts TrackStatus
			ts, seen[i] = t.snapshot(period)
			ps.Tracks = append(ps.Tracks, ts)
			if ts.Kind == media.Audio {
				st.Audio.add(&ts.Totals)
			} else {
				st.Video.add(&ts.Totals)
			}
		}
		ps.Connections = p.connections(seen)
		st.Participants = append(st.Participants, ps)
	}
	return st
}

func (t *track) snapshot(period time.Duration) (TrackStatus, signaling.Observation) {
	ts := TrackStatus{
		Stream: t.in.Stream, ID: t.in.ID, Connection: t.in.Connection, SSRC: t.in.SSRC,
		Kind: t.in.Kind, Codec: t.codec, Width: t.width, Height: t.height,
		Waiting: t.dep != nil && t.dep.NeedsKeyframe(),
	}
	if period > 0 {
		ts.Bitrate = int64(float64(8*(t.bytes-t.statusBytes)) / period.Seconds())
		ts.FrameRate = float64(t.stats.frames-t.stats.then) / period.Seconds()
	}
	t.statusBytes, t.stats.then = t.bytes, t.stats.frames
	var o signaling.Observation
	ts.Totals, o, ts.Observed = t.observe()
	ts.Jitter = o.Jitter
	if t.quality.poor {
		ts.Poor = t.quality.reasons()
	}
	stats := t.buf.Stats()
	if sent := stats.Popped + stats.Lost; sent > 0 {
		ts.Loss = float64(stats.Lost) / float64(sent)
	}
	if l := t.lane; l != nil {
		ts.Frames = l.progress.frames
		ts.Recorded = l.progress.at + l.progress.last
	}
	return ts, o
}

// textOf gives what an error says, or "" when it is none.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
