package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// maxForwardedTracks is how many forwarded tracks have series of their own.
const maxForwardedTracks = 256

var forwardMetrics = struct {
	tracks, packets, bytes, retransmitted, nacks, keyframes                  metric
	rate, trackPackets, trackRetransmitted, loss, trackNacks, trackKeyframes metric
	layer, layers, receivable, poor                                          metric
}{
	tracks:        gauge("forward_tracks", "Tracks that are forwarded, each counted for every subscriber.", "kind"),
	packets:       counter("forward_sent_packets_total", "RTP packets forwarded.", "kind"),
	bytes:         counter("forward_sent_bytes_total", "Bytes forwarded, RTP payload.", "kind"),
	retransmitted: counter("forward_retransmitted_packets_total", "RTP packets sent to subscribers again.", "kind"),
	nacks:         counter("forward_nacks_total", "Messages by which subscribers asked for packets again.", "kind"),
	keyframes:     counter("forward_plis_total", "Messages by which subscribers asked for a keyframe.", "kind"),

	rate:               gauge("forward_track_rate_bytes_per_second", "What is forwarded of the track, RTP payload.", forwardLabels...),
	trackPackets:       counter("forward_track_sent_packets_total", "RTP packets forwarded.", forwardLabels...),
	trackRetransmitted: counter("forward_track_retransmitted_packets_total", "RTP packets sent to the subscriber again.", forwardLabels...),
	loss:               gauge("forward_track_loss_ratio", "Share of packets lost, by the subscriber's latest report.", forwardLabels...),
	trackNacks:         counter("forward_track_nacks_total", "Messages by which the subscriber asked for packets again.", forwardLabels...),
	trackKeyframes:     counter("forward_track_plis_total", "Messages by which the subscriber asked for a keyframe.", forwardLabels...),
	layer:              gauge("forward_track_layer", "Which of the encodings is forwarded, 0 being the least.", forwardLabels...),
	layers:             gauge("forward_track_layers", "How many encodings the publisher sends.", forwardLabels...),

	receivable: gauge("forward_subscriber_rate_bytes_per_second", "What the subscriber can receive, as estimated.", "subscriber"),
	poor:       gauge("forward_poor_subscribers", "Subscribers that are sent less since what is sent to them suffers."),
}

var forwardLabels = []string{"subscriber", "publisher", "kind", "track"}

// forwardCollector gives what a unit forwards to Prometheus.
type forwardCollector struct {
	stats func() unit.Stats

	mu    sync.Mutex
	slots *slots
}

func newForwardCollector(stats func() unit.Stats, log *slog.Logger) *forwardCollector {
	return &forwardCollector{stats: stats, slots: newSlots("participant", log)}
}

// Describe implements prometheus.Collector.
func (c *forwardCollector) Describe(ch chan<- *prometheus.Desc) {
	m := &forwardMetrics
	for _, d := range []metric{
		m.tracks, m.packets, m.bytes, m.retransmitted, m.nacks, m.keyframes,
		m.rate, m.trackPackets, m.trackRetransmitted, m.loss, m.trackNacks, m.trackKeyframes, m.layer, m.layers, m.receivable, m.poor,
	} {
		ch <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (c *forwardCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	m := &forwardMetrics
	count := map[media.Kind]int{}
	for _, t := range s.Tracks {
		count[t.Kind]++
	}
	for _, k := range []struct {
		kind media.Kind
		all  peer.OutletStats
	}{{media.Video, s.Video}, {media.Audio, s.Audio}} {
		kind := k.kind.String()
		m.tracks.emit(ch, float64(count[k.kind]), kind)
		m.packets.emit(ch, float64(k.all.Packets), kind)
		m.bytes.emit(ch, float64(k.all.Bytes), kind)
		m.retransmitted.emit(ch, float64(k.all.Retransmitted), kind)
		m.nacks.emit(ch, float64(k.all.Nacks), kind)
		m.keyframes.emit(ch, float64(k.all.Keyframes), kind)
	}
	poor := 0
	for _, r := range s.Subscribers {
		if r.Poor {
			poor++
		}
	}
	m.poor.emit(ch, float64(poor))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.update(partiesOf(s))
	for _, r := range s.Subscribers {
		if n := c.slots.of[partyName(r.Party)]; n != 0 {
			m.receivable.emit(ch, float64(r.Receivable)/8, strconv.Itoa(n))
		}
	}
	shown := 0
	for _, t := range s.Tracks {
		to, of := c.slots.of[partyName(t.Subscriber)], c.slots.of[partyName(t.Publisher)]
		if to == 0 || of == 0 {
			continue
		}
		if shown++; shown > maxForwardedTracks {
			break
		}
		labels := []string{strconv.Itoa(to), strconv.Itoa(of), t.Kind.String(), strconv.Itoa(t.Track)}
		m.rate.emit(ch, float64(t.Bitrate)/8, labels...)
		m.trackPackets.emit(ch, float64(t.Packets), labels...)
		m.trackRetransmitted.emit(ch, float64(t.Retransmitted), labels...)
		m.loss.emit(ch, t.Loss, labels...)
		m.trackNacks.emit(ch, float64(t.Nacks), labels...)
		m.trackKeyframes.emit(ch, float64(t.Keyframes), labels...)
		m.layers.emit(ch, float64(t.Layers), labels...)
		if t.Layer >= 0 {
			m.layer.emit(ch, float64(t.Layer), labels...)
		}
	}
}

// partyName tells apart participants of one name in several rooms.
func partyName(p unit.Party) string { return fmt.Sprintf("%s (connection %d)", p.ID, p.Number) }

// partiesOf gives everybody who sends or is sent something, each once.
func partiesOf(s unit.Stats) []string {
	var out []string
	known := map[unit.Party]bool{}
	for _, t := range s.Tracks {
		for _, p := range []unit.Party{t.Subscriber, t.Publisher} {
			if !known[p] {
				known[p] = true
				out = append(out, partyName(p))
			}
		}
	}
	return out
}
