package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/turn"
)

// What TURN does when nothing else is asked for.
const (
	defaultTURNPorts      = "49152-65535"
	defaultTURNTotal      = 4096
	defaultTURNPerUser    = 256
	defaultTURNPerAddress = 1024
	defaultTURNBitrate    = "50M"
	leastTURNBitrate      = 64_000 // for sound alone
	defaultTURNAge        = 168 * time.Hour
)

// turnFlags are those of serve's TURN server.
func turnFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "turn", Usage: "be a TURN server too, by UDP and TCP on `ADDR`, as HOST:PORT"},
		&cli.StringFlag{Name: "turn-tls", Usage: "TURN over TLS on `ADDR`, with --tls-cert and --tls-key"},
		&cli.StringFlag{Name: "turn-secret", Usage: "`SECRET` that TURN credentials are made with; /turn?user=NAME gives some"},
		&cli.StringSliceFlag{Name: "turn-public-ip", Usage: "`IP` by which peers reach the TURN server, one of IPv4, one of IPv6, or both (default: HOST of --turn, or this machine's address)"},
		&cli.StringFlag{Name: "turn-host", Usage: "`NAME` of the TURN server in what /turn gives (default: the public IP)"},
		&cli.StringFlag{Name: "turn-realm", Value: "roomtape", Usage: "TURN `REALM`"},
		&cli.StringFlag{Name: "turn-ports", Value: defaultTURNPorts, Usage: "UDP ports from `MIN-MAX` are used to relay"},
		&cli.StringSliceFlag{Name: "turn-allow-peer", Usage: "relay to the network `CIDR` too, repeatable; private, loopback, link-local, multicast and other special ones are refused"},
		&cli.DurationFlag{Name: "turn-ttl", Value: turn.DefaultTTL, Usage: "what /turn gives is valid for `TIME`"},
		&cli.IntFlag{Name: "turn-max-allocations", Value: defaultTURNTotal, Usage: "relay for at most `N` connections at once"},
		&cli.IntFlag{Name: "turn-max-per-user", Value: defaultTURNPerUser, Usage: "… of at most `N` of one name"},
		&cli.IntFlag{Name: "turn-max-per-address", Value: defaultTURNPerAddress, Usage: "… of at most `N` of one client address"},
		&cli.StringFlag{Name: "turn-max-bitrate", Value: defaultTURNBitrate, Usage: "relay at most `RATE` bit/s for one connection each way, as 50M (0: any amount)"},
		&cli.DurationFlag{Name: "turn-max-age", Value: defaultTURNAge, Usage: "relay for one connection for at most `TIME`"},
	}
}

// turnOptions is what serve's TURN server can be asked for.
type turnOptions struct {
	plain, secure string // where it listens; "" when it does not
	host          string // "": the first public address
	guessed       bool   // the public address
	ttl           time.Duration
	config        turn.Config
}

// turnOptionsOf reads the flags and checks them; nil is no TURN server. Its errors
// are usage errors.
func turnOptionsOf(c *cli.Context) (*turnOptions, error) {
	o := &turnOptions{
		plain: c.String("turn"), secure: c.String("turn-tls"), host: c.String("turn-host"), ttl: c.Duration("turn-ttl"),
		config: turn.Config{
			Secret: c.String("turn-secret"), Realm: c.String("turn-realm"), MaxAllocations: c.Int("turn-max-allocations"),
			MaxPerUser: c.Int("turn-max-per-user"), MaxPerAddress: c.Int("turn-max-per-address"), MaxAge: c.Duration("turn-max-age"),
		},
	}
	if o.plain == "" && o.secure == "" {
		return nil, nil
	}
	if o.config.Secret == "" {
		return nil, usagef("--turn and --turn-tls need --turn-secret")
	}
	if o.secure != "" && c.String("tls-cert") == "" {
		return nil, usagef("--turn-tls needs --tls-cert and --tls-key")
	}
	for flag, addr := range map[string]string{"turn": o.plain, "turn-tls": o.secure} {
		if addr == "" {
			continue
		}
		if err := checkListen(flag, addr); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"turn-max-allocations", "turn-max-per-user", "turn-max-per-address"} {
		if c.Int(name) < 1 {
			return nil, usagef("--%s %d is less than 1", name, c.Int(name))
		}
	}
	if text := c.String("turn-max-bitrate"); text != "0" {
		bitrate, err := parseRate(text)
		if err != nil {
			return nil, usagef("--turn-max-bitrate: %w", err)
		}
		if bitrate < leastTURNBitrate {
			return nil, usagef("--turn-max-bitrate %s is less than %dk", text, leastTURNBitrate/1000)
		}
		o.config.MaxBitrate = int64(bitrate)
	}
	if o.ttl < time.Second {
		return nil, usagef("--turn-ttl %v is less than 1s", o.ttl)
	}
	if o.config.MaxAge < time.Minute {
		return nil, usagef("--turn-max-age %v is less than 1m", o.config.MaxAge)
	}
	if n := len(o.config.Realm); n == 0 || n > 127 {
		return nil, usagef("--turn-realm %q is not 1 to 127 bytes long", o.config.Realm)
	}
	if strings.ContainsAny(o.host, ":/?#@[] ") {
		return nil, usagef("--turn-host %q is no name of a host", o.host)
	}
	return o, o.addresses(c)
}

// addresses reads the flags with addresses and ports.
func (o *turnOptions) addresses(c *cli.Context) error {
	low, high, ok := strings.Cut(c.String("turn-ports"), "-")
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	if !ok || err1 != nil || err2 != nil || first == 0 || first > last {
		return usagef("--turn-ports %q is not MIN-MAX", c.String("turn-ports"))
	}
	o.config.MinPort, o.config.MaxPort = uint16(first), uint16(last)
	for _, text := range split(c.StringSlice("turn-public-ip")) {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
			return usagef("--turn-public-ip %q is no address of a host", text)
		case len(o.config.Public) == 2 || len(o.config.Public) == 1 && o.config.Public[0].Is4() == a.Unmap().Is4():
			return usagef("--turn-public-ip: more than one of IPv4, or of IPv6")
		}
		o.config.Public = append(o.config.Public, a.Unmap())
	}
	if len(o.config.Public) == 0 {
		for _, addr := range []string{o.plain, o.secure} {
			host, _, _ := net.SplitHostPort(addr) // it has been checked
			if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
				o.config.Public = []netip.Addr{a.Unmap().WithZone("")}
				break
			}
		}
	}
	if len(o.config.Public) == 0 {
		o.config.Public, o.guessed = []netip.Addr{ownAddress()}, true
	}
	for _, text := range split(c.StringSlice("turn-allow-peer")) {
		p, err := netip.ParsePrefix(text)
		if a, aerr := netip.ParseAddr(text); aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return usagef("--turn-allow-peer %q is no network such as 10.0.0.0/8", text)
		}
		o.config.Allow = append(o.config.Allow, p)
	}
	return nil
}

// ownAddress gives the address by which this machine reaches the internet, or one
// that it has.
func ownAddress() netip.Addr {
	// Connecting a UDP socket sends nothing; it asks for a route.
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if c, err := net.Dial("udp", far); err == nil {
			a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
			_ = c.Close()
			return a.Unmap()
		}
	}
	addrs, _ := net.InterfaceAddrs() // without any, there is loopback
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return p.Addr()
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// split gives the values of a flag that may be repeated, or have commas.
func split(values []string) []string {
	var out []string
	for _, list := range values {
		for _, v := range strings.Split(list, ",") {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// turnServer is a TURN server that listens.
type turnServer struct {
	*turn.Server
	ttl  time.Duration
	uris []string
}

// start listens and serves; nil options give nil.
func (o *turnOptions) start(secure *tls.Config, log *slog.Logger) (*turnServer, error) {
	if o == nil {
		return nil, nil
	}
	out := &turnServer{ttl: o.ttl}
	host := o.host
	if host == "" {
		host = o.config.Public[0].String()
	}
	uri := func(scheme string, at net.Addr, transport string) {
		port := at.(*net.TCPAddr).Port // a UDP socket has that of its TCP listener
		out.uris = append(out.uris, fmt.Sprintf("%s:%s?transport=%s", scheme, net.JoinHostPort(host, strconv.Itoa(port)), transport))
	}
	var sockets []net.PacketConn
	var listeners []net.Listener
	if o.plain != "" {
		l, c, err := listenBoth(o.plain)
		if err != nil {
			return nil, fmt.Errorf("listening on %s for TURN: %w", o.plain, err)
		}
		listeners, sockets = append(listeners, l), append(sockets, c)
		uri("turn", l.Addr(), "udp")
		uri("turn", l.Addr(), "tcp")
	}
	if o.secure != "" {
		l, err := net.Listen("tcp", o.secure)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			for _, c := range sockets {
				_ = c.Close()
			}
			return nil, fmt.Errorf("listening on %s for TURN over TLS: %w", o.secure, err)
		}
		uri("turns", l.Addr(), "tcp")
		// What is negotiated for HTTP is not for TURN.
		secure = secure.Clone()
		secure.NextProtos = nil
		listeners = append(listeners, tls.NewListener(l, secure))
	}
	o.config.Logger = log
	var err error
	if out.Server, err = turn.New(o.config, sockets, listeners); err != nil {
		return nil, err
	}
	if o.guessed {
		log.Warn("TURN: the public IP is a guess; give the right one by --turn-public-ip if peers don't reach it", "ip", o.config.Public[0])
	}
	for _, a := range out.UnreachableRelays() {
		log.Warn("TURN: the public IP is in a network that is not relayed to, so two peers that both need TURN don't reach each other; allow it if they shall",
			"flag", fmt.Sprintf("--turn-allow-peer %v", a))
	}
	return out, nil
}

// listenBoth listens for TCP and UDP on the same port, also when any port will do.
func listenBoth(addr string) (net.Listener, net.PacketConn, error) {
	const tries = 10
	var last error
	for range tries {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		host, port, _ := net.SplitHostPort(addr)
		udp := net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		c, err := net.ListenPacket("udp", udp)
		if err == nil {
			return l, c, nil
		}
		_ = l.Close()
		if last = err; port != "0" {
			break
		}
	}
	return nil, nil, last
}

// relay is what /turn gives.
func (t *turnServer) relay(name string, most time.Duration) server.Relay {
	ttl := t.ttl
	if most > 0 {
		ttl = min(ttl, most)
	}
	c := t.Credentials(name, ttl)
	return server.Relay{Username: c.Username, Password: c.Password, TTL: int(ttl.Seconds()), URIs: t.uris}
}

// addresses gives the URIs, if it is there.
func (t *turnServer) addresses() []string {
	if t == nil {
		return nil
	}
	return t.uris
}

// stop closes it, if it is there.
func (t *turnServer) stop() error {
	if t == nil {
		return nil
	}
	if err := t.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the TURN server: %w", err)
	}
	return nil
}
