package main

import (
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

// maxTracksOfKind is how many tracks of one kind a participant has series for.
const maxTracksOfKind = 4

// recordMetrics are those of a recording, beside totalMetrics.
var recordMetrics = struct {
	session, participants, files, written, free metric
	tracks, poorTracks, poor                    metric
	roundTrip, avOffset, ice, pair              metric
	jitter, bitrate, frameRate, trackPoor       metric
}{
	session:      gauge("session_seconds", "How long the session has lasted."),
	participants: gauge("participants", "Participants in the room who are recorded."),
	files:        counter("files_total", "Recordings begun."),
	written:      counter("written_bytes_total", "Bytes written to recordings."),
	free:         gauge("low_disk_free_bytes", "Free disk space, only while that is below the reserve."),
	tracks:       gauge("tracks", "Tracks that are recorded, by kind and codec.", "kind", "codec"),
	poorTracks:   gauge("poor_tracks", "Tracks whose quality is poor.", "kind"),
	poor:         counter("poor_total", "Times that the quality of a track became poor, by reason.", "reason"),
	roundTrip:    gauge("connection_round_trip_seconds", "Latest round-trip time of ICE's checks.", "participant"),
	avOffset:     gauge("connection_av_offset_seconds", "How much too early the picture is compared with the sound.", "participant"),
	ice:          gauge("connection_ice_state", "The state of ICE; always 1.", "participant", "state"),
	pair:         gauge("connection_candidate_pair", "Types of the selected candidate pair; always 1.", "participant", "local", "remote", "protocol"),
	jitter:       gauge("track_jitter_seconds", "Interarrival jitter (RFC 3550).", trackLabels...),
	bitrate:      gauge("track_rate_bytes_per_second", "Payload received in the latest second.", trackLabels...),
	frameRate:    gauge("track_frames_per_second", "Frames received in the latest second.", trackLabels...),
	trackPoor:    gauge("track_poor", "1 while the quality of the track is poor.", trackLabels...),
}

var trackLabels = []string{"participant", "kind", "track"}

// totalMetrics are the counters of recorder.Totals, twice: of all media by kind,
// and of each track.
var totalMetrics = func() (list []struct {
	all, track metric
	of         func(*recorder.Totals) float64
}) {
	add := func(name, help string, of func(*recorder.Totals) float64) {
		list = append(list, struct {
			all, track metric
			of         func(*recorder.Totals) float64
		}{counter("media_"+name, help, "kind"), counter("track_"+name, help, trackLabels...), of})
	}
	n := func(of func(*recorder.Totals) int64) func(*recorder.Totals) float64 {
		return func(t *recorder.Totals) float64 { return float64(of(t)) }
	}
	s := func(of func(*recorder.Totals) time.Duration) func(*recorder.Totals) float64 {
		return func(t *recorder.Totals) float64 { return of(t).Seconds() }
	}
	add("received_packets_total", "RTP packets received.", n(func(t *recorder.Totals) int64 { return t.Packets }))
	add("received_bytes_total", "RTP payload received.", n(func(t *recorder.Totals) int64 { return t.Bytes }))
	add("lost_packets_total", "Packets that did not come by themselves (RFC 3550).", n(func(t *recorder.Totals) int64 { return t.Lost }))
	add("recovered_packets_total", "Packets that came since they were sent again.", n(func(t *recorder.Totals) int64 { return t.Recovered }))
	add("missing_packets_total", "Packets that never came in time.", n(func(t *recorder.Totals) int64 { return t.Missing }))
	add("late_packets_total", "Packets that came after they had been given up.", n(func(t *recorder.Totals) int64 { return t.Late }))
	add("frames_total", "Frames received whole.", n(func(t *recorder.Totals) int64 { return t.Frames }))
	add("dropped_frames_total", "Frames that could not be decoded.", n(func(t *recorder.Totals) int64 { return t.Dropped }))
	add("jitter_buffer_delay_seconds_total", "Time that frames spent in the jitter buffer, summed up.", s(func(t *recorder.Totals) time.Duration { return t.Waited }))
	add("freezes_total", "Times that the picture froze.", n(func(t *recorder.Totals) int64 { return t.Freezes }))
	add("freeze_seconds_total", "Time for which the picture was frozen.", s(func(t *recorder.Totals) time.Duration { return t.FreezeTime }))
	add("nacks_total", "NACK packets sent.", n(func(t *recorder.Totals) int64 { return t.Nacks }))
	add("plis_total", "Picture loss indications sent.", n(func(t *recorder.Totals) int64 { return t.PLIs }))
	add("firs_total", "Full intra requests sent.", n(func(t *recorder.Totals) int64 { return t.FIRs }))
	return list
}()

// recordCollector gives the latest snapshot of a session to Prometheus.
type recordCollector struct {
	mu     sync.Mutex
	status recorder.Status
	slots  *slots
}

func newRecordCollector(log *slog.Logger) *recordCollector {
	return &recordCollector{slots: newSlots("participant", log)}
}

// update is recorder.Config.OnStatus.
func (c *recordCollector) update(s recorder.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = s
	var ids []string
	for i := range s.Participants {
		if s.Participants[i].Present {
			ids = append(ids, s.Participants[i].ID)
		}
	}
	c.slots.update(ids)
}

// Describe implements prometheus.Collector.
func (c *recordCollector) Describe(ch chan<- *prometheus.Desc) {
	m := &recordMetrics
	for _, d := range []metric{
		m.session, m.participants, m.files, m.written, m.free, m.tracks, m.poorTracks, m.poor, m.roundTrip, m.avOffset,
		m.ice, m.pair, m.jitter, m.bitrate, m.frameRate, m.trackPoor,
	} {
		ch <- d.desc
	}
	for _, t := range totalMetrics {
		ch <- t.all.desc
		ch <- t.track.desc
	}
}

// Collect implements prometheus.Collector.
func (c *recordCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, s := &recordMetrics, &c.status
	m.session.emit(ch, s.Time.Seconds())
	m.files.emit(ch, float64(s.Files))
	m.written.emit(ch, float64(s.Bytes))
	if s.LowSpace {
		m.free.emit(ch, float64(s.FreeSpace))
	}
	for i, reason := range recorder.PoorReasons {
		m.poor.emit(ch, float64(s.Poor[i]), reason)
	}
	for _, t := range totalMetrics {
		t.all.emit(ch, t.of(&s.Audio), media.Audio.String())
		t.all.emit(ch, t.of(&s.Video), media.Video.String())
	}
	present := 0
	tracks, poor := map[[2]string]int{}, map[string]int{media.Audio.String(): 0, media.Video.String(): 0}
	for i := range s.Participants {
		p := &s.Participants[i]
		if p.Present {
			present++
		}
		number, numbered := c.slots.of[p.ID]
		slot, kinds := strconv.Itoa(number), map[string]int{}
		for k := range p.Tracks {
			t := &p.Tracks[k]
			kind := t.Kind.String()
			tracks[[2]string{kind, t.Codec.String()}]++
			if len(t.Poor) > 0 {
				poor[kind]++
			}
			if kinds[kind]++; numbered && kinds[kind] <= maxTracksOfKind {
				collectTrack(ch, t, slot, kind, strconv.Itoa(kinds[kind]))
			}
		}
		if n := len(p.Connections); numbered && n > 0 {
			collectConnection(ch, &p.Connections[n-1], slot)
		}
	}
	m.participants.emit(ch, float64(present))
	for k, n := range tracks {
		m.tracks.emit(ch, float64(n), k[0], k[1])
	}
	for kind, n := range poor {
		m.poorTracks.emit(ch, float64(n), kind)
	}
}

func collectTrack(ch chan<- prometheus.Metric, t *recorder.TrackStatus, labels ...string) {
	m := &recordMetrics
	for _, total := range totalMetrics {
		total.track.emit(ch, total.of(&t.Totals), labels...)
	}
	if t.Observed {
		m.jitter.emit(ch, t.Jitter.Seconds(), labels...)
	}
	m.bitrate.emit(ch, float64(t.Bitrate)/8, labels...)
	m.frameRate.emit(ch, t.FrameRate, labels...)
	poor := 0.0
	if len(t.Poor) > 0 {
		poor = 1
	}
	m.trackPoor.emit(ch, poor, labels...)
}

func collectConnection(ch chan<- prometheus.Metric, c *recorder.ConnectionStatus, slot string) {
	m := &recordMetrics
	if c.RoundTrip > 0 {
		m.roundTrip.emit(ch, c.RoundTrip.Seconds(), slot)
	}
	if c.AVKnown {
		m.avOffset.emit(ch, c.AVOffset.Seconds(), slot)
	}
	if c.ICEState != "" {
		m.ice.emit(ch, 1, slot, c.ICEState)
	}
	if c.LocalCandidate != "" {
		m.pair.emit(ch, 1, slot, c.LocalCandidate, c.RemoteCandidate, c.Protocol)
	}
}
