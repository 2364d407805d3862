package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomtape/roomtape/signaling/server"
)

var serveMetricsOf = struct {
	rooms, peers, kept, sockets, joins, resumed, credentials, messages, bytes, refused metric
}{
	rooms:       gauge("server_rooms", "Rooms with somebody in them."),
	peers:       gauge("server_peers", "Peers in all rooms."),
	kept:        gauge("server_kept_peers", "Peers whose WebSocket is lost, who may come back."),
	sockets:     gauge("server_sockets", "Open WebSockets."),
	joins:       counter("server_joins_total", "Peers that have joined a room."),
	resumed:     counter("server_resumed_total", "Peers that have come back by another WebSocket without having left."),
	credentials: counter("server_credentials_total", "TURN credentials that /turn has given."),
	messages:    counter("server_messages_total", "Messages over WebSockets.", "direction"),
	bytes:       counter("server_message_bytes_total", "Bytes of messages over WebSockets.", "direction"),
	refused:     counter("server_refused_total", "What was refused, by the code of the error.", "code"),
}

// serverCollector gives what a room server counts to Prometheus.
type serverCollector struct{ rooms *server.Server }

// Describe implements prometheus.Collector.
func (c serverCollector) Describe(ch chan<- *prometheus.Desc) {
	m := &serveMetricsOf
	for _, d := range []metric{m.rooms, m.peers, m.kept, m.sockets, m.joins, m.resumed, m.credentials, m.messages, m.bytes, m.refused} {
		ch <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (c serverCollector) Collect(ch chan<- prometheus.Metric) {
	m, n := &serveMetricsOf, c.rooms.Counts()
	m.rooms.emit(ch, float64(n.Rooms))
	m.peers.emit(ch, float64(n.Peers))
	m.kept.emit(ch, float64(n.Kept))
	m.sockets.emit(ch, float64(n.Sockets))
	m.joins.emit(ch, float64(n.Joins))
	m.resumed.emit(ch, float64(n.Resumed))
	m.credentials.emit(ch, float64(n.Credentials))
	m.messages.emit(ch, float64(n.MessagesIn), "in")
	m.messages.emit(ch, float64(n.MessagesOut), "out")
	m.bytes.emit(ch, float64(n.BytesIn), "in")
	m.bytes.emit(ch, float64(n.BytesOut), "out")
	for code, count := range n.Refused {
		m.refused.emit(ch, float64(count), code)
	}
}

// withMetrics answers GET /metrics with the collectors, and leaves everything
// else, WebSockets to any path included, to next.
func withMetrics(next http.Handler, list ...prometheus.Collector) http.Handler {
	metrics := metricsHandler(list...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" && r.Method == http.MethodGet && r.Header.Get("Upgrade") == "" {
			metrics.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
