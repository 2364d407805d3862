package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

func someForwarding() unit.Stats {
	alice, bob := unit.Party{ID: "alice", Number: 1}, unit.Party{ID: "bob", Number: 2}
	video := peer.OutletStats{Packets: 100, Bytes: 90_000, Retransmitted: 4, Nacks: 3, Keyframes: 2, Loss: 0.25}
	return unit.Stats{
		Tracks: []unit.Forwarded{
			{Publisher: alice, Subscriber: bob, Kind: media.Video, Track: 1, Bitrate: 800_000, Layer: 1, Layers: 3, OutletStats: video},
			{Publisher: alice, Subscriber: bob, Kind: media.Audio, Track: 1, Layer: -1, Layers: 1},
		},
		Subscribers: []unit.Subscriber{{Party: bob, Receivable: 4_000_000, Poor: true}},
		Video:       video,
	}
}

func TestForwardedTracksHaveMetrics(t *testing.T) {
	b := scrape(t, metricsHandler(newForwardCollector(someForwarding, quietLog())))
	const video = `{kind="video",publisher="2",subscriber="1",track="1"}`
	for _, line := range []string{
		`roomtape_forward_tracks{kind="audio"} 1`,
		`roomtape_forward_sent_packets_total{kind="video"} 100`,
		`roomtape_forward_sent_bytes_total{kind="video"} 90000`,
		`roomtape_forward_retransmitted_packets_total{kind="video"} 4`,
		`roomtape_forward_nacks_total{kind="video"} 3`,
		`roomtape_forward_plis_total{kind="video"} 2`,
		`roomtape_forward_track_rate_bytes_per_second` + video + ` 100000`,
		`roomtape_forward_track_sent_packets_total` + video + ` 100`,
		`roomtape_forward_track_retransmitted_packets_total` + video + ` 4`,
		`roomtape_forward_track_loss_ratio` + video + ` 0.25`,
		`roomtape_forward_track_nacks_total` + video + ` 3`,
		`roomtape_forward_track_plis_total` + video + ` 2`,
		`roomtape_forward_track_layer` + video + ` 1`,
		`roomtape_forward_track_layers` + video + ` 3`,
		`roomtape_forward_subscriber_rate_bytes_per_second{subscriber="1"} 500000`,
		`roomtape_forward_poor_subscribers 1`,
	} {
		if !strings.Contains(b, "\n"+line+"\n") {
			t.Errorf("%s is not in\n%s", line, b)
		}
	}
	if strings.Contains(b, "alice") || strings.Contains(b, "bob") {
		t.Error("a name is in the metrics")
	}
	if strings.Contains(b, `roomtape_forward_track_layer{kind="audio"`) {
		t.Error("a track has a layer of which nothing goes out")
	}
}

// TestForwardedTracksHaveBoundedMetrics has more and more strangers come and go.
func TestForwardedTracksHaveBoundedMetrics(t *testing.T) {
	var s unit.Stats
	c := newForwardCollector(func() unit.Stats { return s }, quietLog())
	for round := range 3 {
		s = unit.Stats{}
		party := func(i int) unit.Party {
			return unit.Party{ID: fmt.Sprintf("stranger %d", i), Number: round*1000 + i}
		}
		for to := range 200 {
			s.Subscribers = append(s.Subscribers, unit.Subscriber{Party: party(to)})
			for of := range 50 {
				s.Tracks = append(s.Tracks, unit.Forwarded{Subscriber: party(to), Publisher: party(of), Kind: media.Video, Track: 1, Layers: 1})
			}
		}
		if n := testutil.CollectAndCount(c); n > maxForwardedTracks*8+maxSlots+13 || n < maxForwardedTracks*8 {
			t.Errorf("round %d: %d series", round, n)
		}
	}
}
