package main

import (
	"encoding/json"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/peer"
)

// The name and the ending of the statistics in a session's folder.
const (
	statsFile = "stats"
	statsExt  = ".jsonl"
)

// maxStatsTracks is how many tracks a line of statistics has: a room may have
// many more than anybody records.
const maxStatsTracks = 256

// statsLine is what one second was like. docs/STATS.md says what the names mean;
// those that W3C webrtc-stats has are its own, with its units.
type statsLine struct {
	Timestamp   int64             `json:"timestamp"`
	Connections []connectionStats `json:"connections"`
	Tracks      []trackStats      `json:"tracks"`
	// Omitted is how many more tracks there are.
	Omitted int `json:"omitted,omitempty"`
}

type connectionStats struct {
	Participant          string   `json:"participant"`
	Connection           int      `json:"connection"`
	ICEState             string   `json:"iceState,omitempty"`
	CurrentRoundTripTime *float64 `json:"currentRoundTripTime,omitempty"`
	LocalCandidateType   string   `json:"localCandidateType,omitempty"`
	RemoteCandidateType  string   `json:"remoteCandidateType,omitempty"`
	Protocol             string   `json:"protocol,omitempty"`
	AVOffset             *float64 `json:"avOffset,omitempty"`
}

type trackStats struct {
	Participant                  string   `json:"participant"`
	Connection                   int      `json:"connection"`
	Stream                       string   `json:"stream,omitempty"`
	TrackIdentifier              string   `json:"trackIdentifier,omitempty"`
	SSRC                         uint32   `json:"ssrc"`
	Kind                         string   `json:"kind"`
	Codec                        string   `json:"codec,omitempty"`
	FrameWidth                   int      `json:"frameWidth,omitempty"`
	FrameHeight                  int      `json:"frameHeight,omitempty"`
	Bitrate                      int64    `json:"bitrate"`
	FramesPerSecond              float64  `json:"framesPerSecond"`
	PacketsReceived              int64    `json:"packetsReceived"`
	BytesReceived                int64    `json:"bytesReceived"`
	PacketsLost                  *int64   `json:"packetsLost,omitempty"`
	RetransmittedPacketsReceived int64    `json:"retransmittedPacketsReceived"`
	PacketsMissing               int64    `json:"packetsMissing"`
	PacketsDiscarded             int64    `json:"packetsDiscarded"`
	PacketsDuplicated            int64    `json:"packetsDuplicated,omitempty"`
	Jitter                       *float64 `json:"jitter,omitempty"`
	JitterBufferDelay            float64  `json:"jitterBufferDelay"`
	JitterBufferEmittedCount     int64    `json:"jitterBufferEmittedCount"`
	FramesReceived               int64    `json:"framesReceived"`
	KeyFramesReceived            int64    `json:"keyFramesReceived,omitempty"`
	FramesDropped                int64    `json:"framesDropped"`
	FreezeCount                  *int64   `json:"freezeCount,omitempty"`
	TotalFreezesDuration         *float64 `json:"totalFreezesDuration,omitempty"`
	PauseCount                   *int64   `json:"pauseCount,omitempty"`
	TotalPausesDuration          *float64 `json:"totalPausesDuration,omitempty"`
	NackCount                    *int64   `json:"nackCount,omitempty"`
	PLICount                     *int64   `json:"pliCount,omitempty"`
	FIRCount                     *int64   `json:"firCount,omitempty"`
	Quality                      string   `json:"quality"`
	Reasons                      []string `json:"reasons,omitempty"`
}

// newStatsLine gives the line of a snapshot.
func newStatsLine(s *recorder.Status) statsLine {
	line := statsLine{Timestamp: s.Time.Milliseconds(), Connections: []connectionStats{}, Tracks: []trackStats{}}
	for i := range s.Participants {
		p := &s.Participants[i]
		for k := range p.Tracks {
			if len(line.Tracks) == maxStatsTracks {
				line.Omitted++
				continue
			}
			line.Tracks = append(line.Tracks, newTrackStats(p.ID, &p.Tracks[k]))
		}
		for _, c := range p.Connections {
			if len(line.Connections) == maxStatsTracks {
				break
			}
			cs := connectionStats{
				Participant: p.ID, Connection: c.Number, ICEState: c.ICEState,
				LocalCandidateType: c.LocalCandidate, RemoteCandidateType: c.RemoteCandidate, Protocol: c.Protocol,
			}
			if c.RoundTrip > 0 {
				cs.CurrentRoundTripTime = secondsOf(c.RoundTrip)
			}
			if c.AVKnown {
				cs.AVOffset = secondsOf(c.AVOffset)
			}
			line.Connections = append(line.Connections, cs)
		}
	}
	return line
}

func newTrackStats(participant string, t *recorder.TrackStatus) trackStats {
	n := &t.Totals
	ts := trackStats{
		Participant: participant, Connection: t.Connection, Stream: t.Stream, TrackIdentifier: t.ID, SSRC: t.SSRC,
		Kind: t.Kind.String(), FrameWidth: t.Width, FrameHeight: t.Height,
		Bitrate: t.Bitrate, FramesPerSecond: math.Round(100*t.FrameRate) / 100,
		PacketsReceived: n.Packets, BytesReceived: n.Bytes, RetransmittedPacketsReceived: n.Recovered,
		PacketsMissing: n.Missing, PacketsDiscarded: n.Late, PacketsDuplicated: n.Duplicate,
		JitterBufferDelay: *secondsOf(n.Waited), JitterBufferEmittedCount: n.Frames,
		FramesReceived: n.Frames, FramesDropped: n.Dropped,
		Quality: "good", Reasons: t.Poor,
	}
	if t.Codec != 0 {
		ts.Codec = t.Codec.String()
	}
	if len(t.Poor) > 0 {
		ts.Quality = recorder.QualityPoor
	}
	if t.Kind.String() == "video" {
		ts.KeyFramesReceived = n.KeyFrames
		ts.FreezeCount, ts.TotalFreezesDuration = &n.Freezes, secondsOf(n.FreezeTime)
		ts.PauseCount, ts.TotalPausesDuration = &n.Pauses, secondsOf(n.PauseTime)
	}
	if t.Observed {
		ts.PacketsLost, ts.Jitter = &n.Lost, secondsOf(t.Jitter)
		ts.NackCount, ts.PLICount, ts.FIRCount = &n.Nacks, &n.PLIs, &n.FIRs
	}
	return ts
}

// secondsOf gives d in seconds, to the microsecond.
func secondsOf(d time.Duration) *float64 {
	s := math.Round(d.Seconds()*1e6) / 1e6
	return &s
}

// statsWriter keeps the statistics beside the recordings. An error does not harm
// the session: it ends the file and is logged.
type statsWriter struct {
	file output.File // nil: none
	err  error
	log  *slog.Logger
	last time.Duration

	closed bool
}

// openStats makes the file in the session's folder.
func openStats(store output.Store, log *slog.Logger) *statsWriter {
	w := &statsWriter{log: log, last: -1}
	var err error
	w.file, err = store.Create(statsFile, statsExt)
	w.note(err)
	return w
}

func (w *statsWriter) note(err error) {
	if err != nil && w.err == nil {
		w.err = err
		w.log.Warn("statistics are not kept any more; the recording goes on", "error", err)
	}
}

// write adds a line for the snapshot, if anybody sends.
func (w *statsWriter) write(s recorder.Status) {
	if w.file == nil || w.err != nil || s.Time == w.last {
		return
	}
	line := newStatsLine(&s)
	if len(line.Tracks) == 0 {
		return
	}
	w.last = s.Time
	b, err := json.Marshal(line)
	if err == nil {
		_, err = w.file.Write(append(b, '\n'))
	}
	w.note(err)
}

// name is the file's, or "" as long as there is none.
func (w *statsWriter) name() string {
	if w.file == nil || w.last < 0 {
		return ""
	}
	return w.file.Name()
}

// finish completes the file.
func (w *statsWriter) finish() {
	if w.file != nil {
		w.note(w.file.Close())
	}
}

// watch is all that looks at a session's snapshots: the statistics beside the
// recordings, the metrics and the live table.
type watch struct {
	log     *slog.Logger
	stats   *statsWriter // nil: none
	metrics *recordCollector
	hush    func()
}

func newWatch(o recordOptions, log *slog.Logger) *watch {
	w := &watch{log: log, hush: func() {}}
	if o.metrics != "" {
		w.metrics = newRecordCollector(log)
	}
	return w
}

// listen serves metrics: of the session, and of what is published if that is not
// nil.
func (w *watch) listen(addr string, pub *peer.Publication) (err error) {
	if w.metrics == nil {
		return nil
	}
	list := []prometheus.Collector{w.metrics}
	if pub != nil {
		list = append(list, newPublishCollector(pub, w.log))
	}
	hush, err := serveMetrics(addr, w.log, list...)
	if err == nil {
		w.hush = hush
	}
	return err
}

// keep begins to keep statistics in a folder.
func (w *watch) keep(store output.Store) { w.stats = openStats(store, w.log) }

// file is recorder.Config.Stats.
func (w *watch) file() string {
	if w.stats == nil {
		return ""
	}
	return w.stats.name()
}

// teller gives recorder.Config.OnStatus, which also calls show if that is not
// nil; or nil when nobody looks.
func (w *watch) teller(show func(recorder.Status)) func(recorder.Status) {
	if w.stats == nil && w.metrics == nil {
		return show
	}
	return func(s recorder.Status) {
		if w.stats != nil {
			w.stats.write(s)
		}
		if w.metrics != nil {
			w.metrics.update(s)
		}
		if show != nil {
			show(s)
		}
	}
}

// close completes the statistics and ends the metrics. Once is enough.
func (w *watch) close() {
	if w.stats != nil && !w.stats.closed {
		w.stats.closed = true
		w.stats.finish()
	}
	w.hush()
	w.hush = func() {}
}
