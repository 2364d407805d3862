package peer

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling/turn"
)

// ICEServer is a STUN or TURN server. Its String hides the password.
type ICEServer struct {
	// URL is the server's URI without user and password (RFC 7064, RFC 7065),
	// such as "turn:host:3478?transport=udp".
	URL string
	// User and Password are the credentials of a TURN server.
	User, Password string
	// Secret makes credentials for User instead of Password, new ones for each
	// connection and each restart of ICE, that are valid for turn.DefaultTTL.
	Secret string
}

// String gives the server's URL, without its credentials.
func (s ICEServer) String() string { return s.URL }

// GoString keeps the password out of %#v too.
func (s ICEServer) GoString() string { return "peer.ICEServer{" + strconv.Quote(s.URL) + "}" }

func (s ICEServer) pion() webrtc.ICEServer {
	out := webrtc.ICEServer{URLs: []string{s.URL}}
	switch {
	case s.Secret != "":
		c := turn.NewCredentials(s.Secret, s.User, time.Now().Add(turn.DefaultTTL))
		out.Username, out.Credential = c.Username, c.Password
	case s.User != "":
		out.Username, out.Credential = s.User, s.Password
	}
	return out
}

// ParseICEServerWithSecret reads what ParseICEServer does, and also TURN servers
// without user and password, for which the secret makes credentials for name.
func ParseICEServerWithSecret(s, secret, name string) (ICEServer, error) {
	server, err := parseICEServer(s)
	if err == nil && server.User == "" && isTURN(server.URL) {
		server.User, server.Secret = name, secret
	}
	return server, err
}

func isTURN(url string) bool { return strings.HasPrefix(url, "turn") }

// ParseICEServer reads "stun:host[:port]", "turn:user:password@host[:port]" or
// "turns:…", with "?transport=udp" or "?transport=tcp" for TURN. A user or
// password with ":" or "@" in it is percent-encoded, save that the user may not
// hold an encoded ":"; other characters may stand as they are. Errors never
// repeat what may be a password.
func ParseICEServer(s string) (ICEServer, error) {
	server, err := parseICEServer(s)
	if err == nil && server.User == "" && isTURN(server.URL) {
		scheme, _, _ := strings.Cut(server.URL, ":")
		return ICEServer{}, fmt.Errorf("ICE server: %s needs USER:PASSWORD@ before the host", scheme)
	}
	return server, err
}

func parseICEServer(s string) (ICEServer, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return ICEServer{}, errors.New("ICE server: want stun:HOST, turn:USER:PASSWORD@HOST or turns:USER:PASSWORD@HOST")
	}
	scheme = strings.ToLower(scheme)
	relays, port := false, 3478
	switch scheme {
	case "stun":
	case "stuns":
		port = 5349
	case "turn":
		relays = true
	case "turns":
		relays, port = true, 5349
	default:
		return ICEServer{}, errors.New("ICE server: the scheme is not stun, stuns, turn or turns")
	}
	rest = strings.TrimPrefix(rest, "//")

	var server ICEServer
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if !relays {
			return ICEServer{}, fmt.Errorf("ICE server: %s takes no user and password", scheme)
		}
		user, password, ok := strings.Cut(rest[:i], ":")
		if !ok || user == "" || password == "" {
			return ICEServer{}, fmt.Errorf("ICE server: want %s:USER:PASSWORD@HOST", scheme)
		}
		server.User, server.Password = unescape(user), unescape(password)
		rest = rest[i+1:]
	}

	hostport, query, hasQuery := strings.Cut(rest, "?")
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		host, portText = strings.Trim(hostport, "[]"), ""
		if strings.Contains(host, ":") && !strings.HasPrefix(hostport, "[") {
			return ICEServer{}, fmt.Errorf("ICE server: %q is not HOST:PORT", hostport)
		}
	}
	if portText != "" {
		if port, err = strconv.Atoi(portText); err != nil || port < 1 || port > 65535 {
			return ICEServer{}, fmt.Errorf("ICE server: %q is no port", portText)
		}
	}
	if host == "" || strings.ContainsAny(host, " /\\?#") {
		return ICEServer{}, fmt.Errorf("ICE server: %q is no host", host)
	}
	server.URL = scheme + ":" + net.JoinHostPort(host, strconv.Itoa(port))
	if hasQuery {
		switch {
		case !relays:
			return ICEServer{}, fmt.Errorf("ICE server: %s takes no ?%s", scheme, query)
		case query != "transport=udp" && query != "transport=tcp":
			return ICEServer{}, fmt.Errorf("ICE server: ?%s is not ?transport=udp or ?transport=tcp", query)
		}
		server.URL += "?" + query
	}
	return server, nil
}

// unescape leaves a password as it is when it only looks percent-encoded.
func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
