package peer

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ErrNoRelay is wrapped by what Config.OnRelayFailure is told when only relays
// are allowed and none can be used: nobody can be reached.
var ErrNoRelay = errors.New("no relay can be used, and nothing else is allowed")

// relayFailed takes pion's warnings. The first about a TURN server that brings an
// error says why the server can't be used.
func (f *Factory) relayFailed(format string, args []any) {
	var why error
	server := ""
	for _, a := range args {
		switch a := a.(type) {
		case error:
			why = a
		case string:
			if f.isRelay(a) {
				server = a
			}
		}
	}
	if server == "" && strings.Contains(format, "relay") {
		server = f.onlyRelay()
	}
	if why == nil || server == "" || errors.Is(why, net.ErrClosed) {
		return
	}
	f.mu.Lock()
	known := f.relays[server] || f.closed
	if f.relays == nil {
		f.relays = map[string]bool{}
	}
	f.relays[server] = true
	f.mu.Unlock()
	if known {
		return
	}
	for _, code := range []string{"error 400", "error 401", "error 403", "error 441"} {
		if strings.Contains(why.Error(), code) {
			why = fmt.Errorf("it refuses us; are user and password right? (%w)", why)
			break
		}
	}
	f.tellRelay(fmt.Errorf("the TURN server %s can't be used: %w", server, why))
}

// isRelay tells whether an address is that of one of the TURN servers.
func (f *Factory) isRelay(address string) bool {
	return slices.ContainsFunc(f.cfg.ICEServers, func(s ICEServer) bool { return s.User != "" && s.address() == address })
}

// onlyRelay gives the address of the TURN server when there is just one.
func (f *Factory) onlyRelay() string {
	only := ""
	for _, s := range f.cfg.ICEServers {
		if s.User == "" {
			continue
		}
		if only != "" && only != s.address() {
			return ""
		}
		only = s.address()
	}
	return only
}

// address gives the server's host and port.
func (s ICEServer) address() string {
	_, rest, _ := strings.Cut(s.URL, ":")
	hostport, _, _ := strings.Cut(rest, "?")
	return hostport
}

func (f *Factory) tellRelay(err error) {
	f.log.Warn("relay trouble", "error", err)
	if f.cfg.OnRelayFailure != nil {
		f.cfg.OnRelayFailure(err)
	}
}

// gathered is called when a connection has all candidates there are.
func (f *Factory) gathered(relays int) {
	f.mu.Lock()
	f.relayed = f.relayed || relays > 0
	lost := f.cfg.RelayOnly && !f.relayed && !f.hopeless && !f.closed
	f.hopeless = f.hopeless || lost
	f.mu.Unlock()
	if lost {
		f.tellRelay(ErrNoRelay)
	}
}
