package main

import "github.com/prometheus/client_golang/prometheus"

var turnMetricsOf = struct {
	allocations, connections, allocated, connected, bytes, packets, over, lost, refused metric
}{
	allocations: gauge("turn_allocations", "Connections that are relayed."),
	connections: gauge("turn_connections", "Open TCP and TLS connections of TURN clients."),
	allocated:   counter("turn_allocations_total", "Connections that have been relayed."),
	connected:   counter("turn_connections_total", "TCP and TLS connections of TURN clients."),
	bytes:       counter("turn_bytes_total", "Bytes relayed, UDP payload.", "direction"),
	packets:     counter("turn_packets_total", "Packets relayed.", "direction"),
	over:        counter("turn_over_bitrate_packets_total", "Packets that were not relayed since their connection has its bitrate.", "direction"),
	lost:        counter("turn_lost_packets_total", "Packets for clients that read their TCP connection too slowly."),
	refused:     counter("turn_refused_total", "What the TURN server has refused.", "reason"),
}

// Describe implements prometheus.Collector.
func (t *turnServer) Describe(ch chan<- *prometheus.Desc) {
	m := &turnMetricsOf
	for _, d := range []metric{m.allocations, m.connections, m.allocated, m.connected, m.bytes, m.packets, m.over, m.lost, m.refused} {
		ch <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (t *turnServer) Collect(ch chan<- prometheus.Metric) {
	m, n := &turnMetricsOf, t.Stats()
	m.allocations.emit(ch, float64(n.AllocationsNow))
	m.connections.emit(ch, float64(n.ConnectionsNow))
	m.allocated.emit(ch, float64(n.Allocations))
	m.connected.emit(ch, float64(n.Connections))
	m.bytes.emit(ch, float64(n.BytesToPeers), "to_peers")
	m.bytes.emit(ch, float64(n.BytesFromPeers), "from_peers")
	m.packets.emit(ch, float64(n.PacketsToPeers), "to_peers")
	m.packets.emit(ch, float64(n.PacketsFromPeers), "from_peers")
	m.over.emit(ch, float64(n.OverToPeers), "to_peers")
	m.over.emit(ch, float64(n.OverFromPeers), "from_peers")
	m.lost.emit(ch, float64(n.Lost))
	for reason, count := range n.Refused {
		m.refused.emit(ch, float64(count), reason)
	}
}
