package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func somePublication(t *testing.T) *peer.Publication {
	t.Helper()
	p, err := peer.NewPublication(peer.PublicationConfig{Video: media.VP8, MaxBitrate: 800_000})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMetricsAreWellNamed(t *testing.T) {
	c := newRecordCollector(quietLog())
	c.update(someStatus())
	for name, list := range map[string]prometheus.Collector{
		"record": c, "publish": newPublishCollector(somePublication(t), quietLog()),
		"serve": serverCollector{server.New(server.Config{})}, "serve --sfu": newForwardCollector(someForwarding, quietLog()),
	} {
		problems, err := testutil.CollectAndLint(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
		if n := testutil.CollectAndCount(list); n < 2 {
			t.Errorf("%s: only %d series", name, n)
		}
	}
}

func TestMetricsSayWhatTheTableDoes(t *testing.T) {
	s := someStatus()
	s.Video = recorder.Totals{Packets: 1234, Lost: 17, FreezeTime: 1500 * time.Millisecond}
	s.Poor[0] = 3
	c := newRecordCollector(quietLog())
	c.update(s)
	want := `
# HELP roomtape_connection_candidate_pair Types of the selected candidate pair; always 1.
# TYPE roomtape_connection_candidate_pair gauge
roomtape_connection_candidate_pair{local="host",participant="1",protocol="udp",remote="srflx"} 1
# HELP roomtape_connection_round_trip_seconds Latest round-trip time of ICE's checks.
# TYPE roomtape_connection_round_trip_seconds gauge
roomtape_connection_round_trip_seconds{participant="1"} 0.038
# HELP roomtape_media_freeze_seconds_total Time for which the picture was frozen.
# TYPE roomtape_media_freeze_seconds_total counter
roomtape_media_freeze_seconds_total{kind="audio"} 0
roomtape_media_freeze_seconds_total{kind="video"} 1.5
# HELP roomtape_media_lost_packets_total Packets that did not come by themselves (RFC 3550).
# TYPE roomtape_media_lost_packets_total counter
roomtape_media_lost_packets_total{kind="audio"} 0
roomtape_media_lost_packets_total{kind="video"} 17
# HELP roomtape_participants Participants in the room who are recorded.
# TYPE roomtape_participants gauge
roomtape_participants 4
# HELP roomtape_poor_total Times that the quality of a track became poor, by reason.
# TYPE roomtape_poor_total counter
roomtape_poor_total{reason="bitrate"} 0
roomtape_poor_total{reason="freeze"} 0
roomtape_poor_total{reason="loss"} 3
# HELP roomtape_session_seconds How long the session has lasted.
# TYPE roomtape_session_seconds gauge
roomtape_session_seconds 3661
# HELP roomtape_track_jitter_seconds Interarrival jitter (RFC 3550).
# TYPE roomtape_track_jitter_seconds gauge
roomtape_track_jitter_seconds{kind="video",participant="1",track="1"} 0.0042
roomtape_track_jitter_seconds{kind="video",participant="3",track="1"} 0.0042
# HELP roomtape_track_rate_bytes_per_second Payload received in the latest second.
# TYPE roomtape_track_rate_bytes_per_second gauge
roomtape_track_rate_bytes_per_second{kind="audio",participant="1",track="1"} 4000
roomtape_track_rate_bytes_per_second{kind="audio",participant="2",track="1"} 4000
roomtape_track_rate_bytes_per_second{kind="video",participant="1",track="1"} 300000
roomtape_track_rate_bytes_per_second{kind="video",participant="3",track="1"} 300000
`
	var names []string
	for line := range strings.Lines(want) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "TYPE" {
			names = append(names, f[2])
		}
	}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// A room full of strangers who come and go under ever new names makes no more
// series than there are numbers, and none has a name in it.
func TestMetricsOfStrangersAreBounded(t *testing.T) {
	c := newRecordCollector(quietLog())
	most := 0
	for round := range 20 {
		var s recorder.Status
		for i := range 100 {
			p := recorder.ParticipantStatus{ID: fmt.Sprintf("stranger-%d-%d", round, i), Present: true}
			for k := range 20 {
				p.Tracks = append(p.Tracks, recorder.TrackStatus{Kind: media.Video, Codec: media.VP8, SSRC: uint32(k)})
			}
			s.Participants = append(s.Participants, p)
		}
		c.update(s)
		n := testutil.CollectAndCount(c)
		if round == 0 {
			most = n
		}
		if n != most {
			t.Fatalf("%d series, then %d", most, n)
		}
	}
	if limit := maxSlots*maxTracksOfKind*(len(totalMetrics)+4) + 100; most > limit {
		t.Errorf("%d series, more than %d", most, limit)
	}
	if b := scrape(t, metricsHandler(c)); strings.Contains(b, "stranger") {
		t.Error("a name is in the metrics")
	}
}

func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	return w.Body.String()
}

func TestMetricsAreServed(t *testing.T) {
	var log strings.Builder
	stop, err := serveMetrics("127.0.0.1:0", slog.New(slog.NewTextHandler(&log, nil)), newRecordCollector(quietLog()))
	if err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(strings.TrimSpace(log.String()), "url=")
	get := func(url string) (int, string) {
		r, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	if code, body := get(url); code != 200 || !strings.Contains(body, "\nroomtape_session_seconds 0\n") || !strings.Contains(body, "roomtape_build_info{") {
		t.Errorf("status %d: %s", code, body)
	}
	if code, _ := get(strings.TrimSuffix(url, "metrics") + "debug/pprof/"); code != 404 {
		t.Errorf("status %d for another path", code)
	}
	if _, err := serveMetrics(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics"), quietLog()); err == nil {
		t.Error("an address in use was taken")
	}
	stop()
	if r, err := http.Get(url); err == nil {
		r.Body.Close()
		t.Error("metrics are served after the end")
	}
}

func TestServerMetricsCountWhatIsRefused(t *testing.T) {
	rooms := server.New(server.Config{})
	h := withMetrics(rooms, serverCollector{rooms})
	if b := scrape(t, h); !strings.Contains(b, "\nroomtape_server_rooms 0\n") || !strings.Contains(b, `roomtape_server_messages_total{direction="in"} 0`) {
		t.Error(b)
	}
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Upgrade", "websocket") // such as a client of a room "metrics"
	r.Header.Set("Origin", "http://elsewhere.example")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code == http.StatusOK {
		t.Errorf("a WebSocket was answered with %s", w.Body)
	}
	if b := scrape(t, h); !strings.Contains(b, `roomtape_server_refused_total{code="socket"} 1`) {
		t.Error(b)
	}
}
