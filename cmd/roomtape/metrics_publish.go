package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomtape/roomtape/signaling/peer"
)

var publishMetrics = struct {
	viewers, poor, target                                  metric
	rate, loss, roundTrip, packets, retransmitted, dropped metric
}{
	viewers:       gauge("publish_viewers", "Connections to those who receive what is published."),
	poor:          gauge("publish_poor_viewers", "Viewers for whose sake less is encoded, since much is lost or too little gets through."),
	target:        gauge("publish_target_rate_bytes_per_second", "What the encoder of the picture was last asked for."),
	rate:          gauge("publish_viewer_rate_bytes_per_second", "What the viewer can receive, as estimated.", "viewer"),
	loss:          gauge("publish_viewer_loss_ratio", "Share of packets lost, by the viewer's latest report.", "viewer"),
	roundTrip:     gauge("publish_viewer_round_trip_seconds", "Round-trip time, by the viewer's latest report.", "viewer"),
	packets:       counter("publish_viewer_sent_packets_total", "RTP packets sent to the viewer.", "viewer"),
	retransmitted: counter("publish_viewer_retransmitted_packets_total", "RTP packets sent to the viewer again.", "viewer"),
	dropped:       counter("publish_viewer_dropped_frames_total", "Frames left out since the viewer is too slow.", "viewer"),
}

// publishCollector gives the viewers of a publication to Prometheus.
type publishCollector struct {
	pub *peer.Publication

	mu    sync.Mutex
	slots *slots
}

func newPublishCollector(pub *peer.Publication, log *slog.Logger) *publishCollector {
	return &publishCollector{pub: pub, slots: newSlots("viewer", log)}
}

// Describe implements prometheus.Collector.
func (c *publishCollector) Describe(ch chan<- *prometheus.Desc) {
	m := &publishMetrics
	for _, d := range []metric{m.viewers, m.poor, m.target, m.rate, m.loss, m.roundTrip, m.packets, m.retransmitted, m.dropped} {
		ch <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (c *publishCollector) Collect(ch chan<- prometheus.Metric) {
	viewers := c.pub.Viewers()
	ids := make([]string, len(viewers))
	for i, v := range viewers {
		ids[i] = fmt.Sprintf("%s (connection %d)", v.Participant, v.Connection)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.update(ids)
	m := &publishMetrics
	m.viewers.emit(ch, float64(len(viewers)))
	poor := 0
	for _, v := range viewers {
		if v.Poor {
			poor++
		}
	}
	m.poor.emit(ch, float64(poor))
	m.target.emit(ch, float64(c.pub.Bitrate())/8)
	for i, v := range viewers {
		number, ok := c.slots.of[ids[i]]
		if !ok {
			continue
		}
		slot := strconv.Itoa(number)
		m.rate.emit(ch, float64(v.Bitrate)/8, slot)
		m.loss.emit(ch, v.Loss, slot)
		if v.RoundTrip > 0 {
			m.roundTrip.emit(ch, v.RoundTrip.Seconds(), slot)
		}
		m.packets.emit(ch, float64(v.Packets), slot)
		m.retransmitted.emit(ch, float64(v.Retransmitted), slot)
		m.dropped.emit(ch, float64(v.Dropped), slot)
	}
}
