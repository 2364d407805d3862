package peer

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/pion/webrtc/v4"
)

// ICEServer is a STUN or TURN server. Its String hides the password.
type ICEServer struct {
	// URL is the server's URI without user and password (RFC 7064, RFC 7065),
	// such as "turn:host:3478?transport=udp".
	URL string
	// User and Password are the credentials of a TURN server.
	User, Password string
}

// String gives the server's URL, without its credentials.
func (s ICEServer) String() string { return s.URL }

// GoString keeps the password out of %#v too.
func (s ICEServer) GoString() string { return "peer.ICEServer{" + strconv.Quote(s.URL) + "}" }

func (s ICEServer) pion() webrtc.ICEServer {
	out := webrtc.ICEServer{URLs: []string{s.URL}}
	if s.User != "" {
		out.Username, out.Credential = s.User, s.Password
	}
	return out
}

// ParseICEServer reads "stun:host[:port]", "turn:user:password@host[:port]" or
// "turns:…", with "?transport=udp" or "?transport=tcp" for TURN. A user or
// password with ":" or "@" in it is percent-encoded, save that the user may not
// hold an encoded ":"; other characters may stand as they are. Errors never
// repeat what may be a password.
func ParseICEServer(s string) (ICEServer, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return ICEServer{}, errors.New("ICE server: want stun:HOST, turn:USER:PASSWORD@HOST or turns:USER:PASSWORD@HOST")
	}
	scheme = strings.ToLower(scheme)
	turn, port := false, 3478
	switch scheme {
	case "stun":
	case "stuns":
		port = 5349
	case "turn":
		turn = true
	case "turns":
		turn, port = true, 5349
	default:
		return ICEServer{}, errors.New("ICE server: the scheme is not stun, stuns, turn or turns")
	}
	rest = strings.TrimPrefix(rest, "//")

	var server ICEServer
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if !turn {
			return ICEServer{}, fmt.Errorf("ICE server: %s takes no user and password", scheme)
		}
		user, password, ok := strings.Cut(rest[:i], ":")
		if !ok || user == "" || password == "" {
			return ICEServer{}, fmt.Errorf("ICE server: want %s:USER:PASSWORD@HOST", scheme)
		}
		server.User, server.Password = unescape(user), unescape(password)
		rest = rest[i+1:]
	} else if turn {
		return ICEServer{}, fmt.Errorf("ICE server: %s needs USER:PASSWORD@ before the host", scheme)
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
		case !turn:
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
