package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/internal/archive"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// stopGrace is how long serve waits for sockets to close before it cuts them.
const stopGrace = 3 * time.Second

// exampleRoom is the room in the addresses that serve prints.
const exampleRoom = "standup"

func serveCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "be a room server, with a web page to talk and a WebSocket for everyone",
		UsageText: "roomtape serve --listen :8765",
		Description: `The web page is at /, the WebSocket at /ws/ROOM and at any other path a WebSocket client dials,
health at /healthz, Prometheus at /metrics. With --turn, connections that can't be direct are relayed; /turn?user=NAME gives
time-limited credentials, and the page asks there. With --recordings, the page lists the sessions below a folder, and
/recordings/ has a report of each, with its players. Browsers give camera and microphone to pages on localhost or behind TLS only.
--listen with port 0 takes a free one; the addresses that are printed have the real one.

` + exitCodes(exitOK, exitInternal, exitUsage, exitForced),
		Flags: append(withEnv(
			&cli.StringFlag{Name: "listen", Value: ":8765", Usage: "`ADDRESS` to listen on, as HOST:PORT"},
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` with the certificate chain, PEM"},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE` with its key, PEM"},
			&cli.StringSliceFlag{Name: "origins", Usage: "`PATTERN` of other hosts whose pages may connect, repeatable, such as *.example.org"},
			sfuFlag(),
			recordingsFlag(),
			&cli.IntFlag{Name: "max-rooms", Value: 1000, Usage: "at most `N` rooms at once"},
			&cli.IntFlag{Name: "max-peers", Value: 100, Usage: "at most `N` peers in a room"},
			&cli.IntFlag{Name: "max-message", Value: message.MaxSize, Usage: "at most `N` bytes in a message"},
			&cli.BoolFlag{Name: "json", Usage: "the addresses on stdout as JSON, once listening"},
		), withEnv(append(guardFlags(), turnFlags()...)...)...),
		Action: func(c *cli.Context) error {
			logs, err := logOptionsOf(c)
			if err != nil {
				return err
			}
			o, err := serveOptionsOf(c)
			if err != nil {
				return err
			}
			log := logs.logger(std.err)
			if o.recordings, err = recordingsOf(c); err != nil {
				return err
			}
			if o.recordings != nil {
				defer o.recordings.Close()
			}
			if o.limits.Forward, err = sfuOf(c, log); err != nil {
				return err
			}
			return serve(c.Context, o, std, log)
		},
	}
}

// serveOptions is what serve can be asked for.
type serveOptions struct {
	listen string
	tls    *tls.Config // nil: plain HTTP
	limits server.Config
	turn   *turnOptions // nil: no TURN server
	json   bool
	// recordings is the folder of those that are shown; nil: none.
	recordings *os.Root
	// certificate is where tls has its own from.
	certificate *certificate
}

// serveOptionsOf reads the flags and checks them; its errors are usage errors.
func serveOptionsOf(c *cli.Context) (serveOptions, error) {
	o := serveOptions{
		listen: c.String("listen"), json: c.Bool("json"),
		limits: server.Config{
			MaxRooms: c.Int("max-rooms"), MaxPeers: c.Int("max-peers"), MaxMessage: c.Int("max-message"),
		},
	}
	if err := noArguments(c); err != nil {
		return o, err
	}
	if err := guardOf(c, &o.limits); err != nil {
		return o, err
	}
	for _, name := range []string{"max-rooms", "max-peers", "max-message"} {
		if c.Int(name) < 1 {
			return o, usagef("--%s %d is less than 1", name, c.Int(name))
		}
	}
	if o.limits.MaxMessage > message.MaxSize {
		return o, usagef("--max-message %d is more than %d", o.limits.MaxMessage, message.MaxSize)
	}
	for _, list := range c.StringSlice("origins") {
		for _, origin := range strings.Split(list, ",") {
			o.limits.Origins = append(o.limits.Origins, strings.TrimSpace(origin))
		}
	}
	if err := server.CheckOrigins(o.limits.Origins); err != nil {
		return o, usagef("--origins: %w", err)
	}
	if err := checkListen("listen", o.listen); err != nil {
		return o, err
	}
	var err error
	if o.turn, err = turnOptionsOf(c); err != nil {
		return o, err
	}
	cert, key := c.String("tls-cert"), c.String("tls-key")
	if (cert == "") != (key == "") {
		return o, usagef("--tls-cert and --tls-key come together")
	}
	if cert != "" {
		if o.certificate, err = loadCertificate(cert, key, time.Now()); err != nil {
			return o, usagef("--tls-cert, --tls-key: %w", err)
		}
		o.tls = o.certificate.config()
	}
	return o, nil
}

// checkListen tells what is wrong with the value of a flag that is an address to
// listen on; its errors are usage errors.
func checkListen(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return usagef("--%s %q is not HOST:PORT", flag, addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return usagef("--%s %q: %q is no port", flag, addr, port)
	}
	return nil
}

// serve runs a room server until ctx is done.
func serve(ctx context.Context, o serveOptions, std stdio, log *slog.Logger) error {
	r, err := startRooms(o, log)
	if err != nil {
		return err
	}
	if err := r.announce(std, o.json); err != nil {
		return errors.Join(err, r.stop())
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return r.stop()
	case err := <-r.failed:
		return errors.Join(fmt.Errorf("serving: %w", err), r.stop())
	}
}

// roomServer is a server that listens.
type roomServer struct {
	addr   net.Addr
	secure bool
	rooms  *server.Server
	turn   *turnServer // or nil
	// forward is nil where rooms are meshes.
	forward *unit.Unit
	log     *slog.Logger
	// recordings tells that they are shown.
	recordings bool
	http       *http.Server
	failed     chan error
}

// startRooms listens and serves. The caller must call stop.
func startRooms(o serveOptions, log *slog.Logger) (*roomServer, error) {
	o.limits.Logger = log
	o.limits.Recordings = o.recordings != nil
	if o.limits.Recordings && len(o.limits.TokenSecret) == 0 {
		log.Warn("whoever reaches this server can watch the recordings; --token-secret keeps them to those with a token", "at", archive.Prefix)
	}
	warnOfSecret(o.limits.TokenSecret, log)
	if o.certificate != nil {
		o.certificate.log = log
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", o.listen, err)
	}
	relay, err := o.turn.start(o.tls, log)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	if relay != nil {
		o.limits.Relay = relay.relay
	}
	r := &roomServer{
		addr: listener.Addr(), secure: o.tls != nil, turn: relay, recordings: o.limits.Recordings,
		forward: o.limits.Forward, log: log,
		rooms:  server.New(o.limits),
		failed: make(chan error, 1),
	}
	if r.secure {
		listener = tls.NewListener(listener, o.tls)
	}
	r.http = &http.Server{
		Handler:           withRecordings(withMetrics(r.rooms, r.collectors()...), o.recordings, r.rooms, log),
		ReadHeaderTimeout: 5 * time.Second, // for TLS too
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { r.failed <- r.http.Serve(listener) }()
	return r, nil
}

// collectors are those whose figures /metrics gives.
func (r *roomServer) collectors() []prometheus.Collector {
	list := []prometheus.Collector{serverCollector{r.rooms}}
	if r.turn != nil {
		list = append(list, r.turn)
	}
	if r.forward != nil {
		list = append(list, newForwardCollector(r.forward.Stats, r.log))
	}
	return list
}

// stop closes the rooms, then the server, each within stopGrace.
func (r *roomServer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	err := r.rooms.Shutdown(ctx)
	if herr := r.http.Shutdown(ctx); herr != nil {
		_ = r.http.Close() // what Shutdown had no patience for
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // sockets that did not answer have been cut
	}
	return errors.Join(err, r.turn.stop())
}

// url gives the server's address for a scheme such as "http", without a path.
func (r *roomServer) url(scheme string) string {
	if r.secure {
		scheme += "s"
	}
	host, port, _ := net.SplitHostPort(r.addr.String()) // it is a TCP address
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// announce prints where to go, for people or as JSON.
func (r *roomServer) announce(std stdio, asJSON bool) error {
	recordings := ""
	if r.recordings {
		recordings = r.url("http") + archive.Prefix
	}
	if asJSON {
		return printJSON(std.out, struct {
			URL        string   `json:"url"`
			WebSocket  string   `json:"websocket"`
			TURN       []string `json:"turn,omitempty"`
			Recordings string   `json:"recordings,omitempty"`
		}{r.url("http") + "/", r.url("ws") + "/ws/", r.turn.addresses(), recordings})
	}
	_, err := fmt.Fprintf(std.out, "Talk:    %[1]s/?room=%[3]s\nRecord:  roomtape record %[2]s/ws/%[3]s\n",
		r.url("http"), r.url("ws"), exampleRoom)
	if uris := r.turn.addresses(); err == nil && len(uris) > 0 {
		_, err = fmt.Fprintf(std.out, "TURN:    %s\n", strings.Join(uris, " "))
	}
	if err == nil && recordings != "" {
		_, err = fmt.Fprintf(std.out, "Watch:   %s\n", recordings)
	}
	return err
}
