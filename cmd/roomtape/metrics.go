package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"
)

// maxScrapes is how many requests for metrics are served at a time.
const maxScrapes = 4

// metricsFlag is --metrics of the commands that join a room.
func metricsFlag() cli.Flag {
	return &cli.StringFlag{Name: "metrics", Usage: "Prometheus metrics at http://`ADDR`/metrics, such as localhost:9100", DefaultText: "off"}
}

// metricsAddr reads --metrics; its errors are usage errors.
func metricsAddr(c *cli.Context) (string, error) {
	addr := c.String("metrics")
	if addr == "" {
		return "", nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", usagef("--metrics %q is not HOST:PORT", addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", usagef("--metrics %q: %q is no port", addr, port)
	}
	return addr, nil
}

// metricsHandler gives what answers /metrics: of the collectors, the program and
// the process.
func metricsHandler(list ...prometheus.Collector) http.Handler {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "roomtape_build_info", Help: "The program that runs; always 1.",
		ConstLabels: prometheus.Labels{"version": versionString(), "goversion": runtime.Version()},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(list...)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: 5 * time.Second})
}

// serveMetrics answers http://addr/metrics until the function that it gives is
// called. With an empty address it does nothing.
func serveMetrics(addr string, log *slog.Logger, list ...prometheus.Collector) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for --metrics on %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metricsHandler(list...))
	s := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	go func() { _ = s.Serve(listener) }() // it ends by Shutdown
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // whoever scrapes so slowly has had its time
		}
	}, nil
}

// metric is a metric's description with how it is made.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("roomtape_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("roomtape_"+name, help, labels, nil), prometheus.GaugeValue}
}

// emit gives a value to a scrape.
func (m metric) emit(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// maxSlots is how many strangers have series of their own.
const maxSlots = 64

// slots gives those who come numbers, from 1: metrics must not have the names of
// strangers, nor ever more series. Who has left leaves the number to the next.
type slots struct {
	log  *slog.Logger
	what string
	of   map[string]int
	used [maxSlots + 1]bool
}

func newSlots(what string, log *slog.Logger) *slots {
	return &slots{log: log, what: what, of: map[string]int{}}
}

// update says who is there now.
func (s *slots) update(ids []string) {
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	for id, n := range s.of {
		if !there[id] {
			delete(s.of, id)
			s.used[n] = false
		}
	}
	for _, id := range ids {
		if s.of[id] != 0 {
			continue
		}
		for n := 1; n <= maxSlots; n++ {
			if !s.used[n] {
				s.of[id], s.used[n] = n, true
				s.log.Info("number in the metrics", s.what, id, "number", n)
				break
			}
		}
	}
}
