package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// Relay is the answer to GET /turn?user=NAME: how a client uses TURN.
type Relay struct {
	Username string `json:"username"`
	Password string `json:"password"`
	// TTL is how long they are valid, in seconds.
	TTL int `json:"ttl"`
	// URIs are the servers (RFC 7065).
	URIs []string `json:"uris"`
}

// String hides the password.
func (r Relay) String() string { return r.Username }

// GoString keeps the password out of %#v too.
func (r Relay) GoString() string { return "server.Relay{" + r.Username + "}" }

func (s *Server) serveRelay(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !s.allows(origin, r.Host) {
		s.cfg.Logger.Info("TURN credentials refused", "remote", r.RemoteAddr, "origin", origin)
		http.Error(w, "pages of this origin may not ask", http.StatusForbidden)
		return
	}
	if origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
	}
	switch {
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		h.Set("Access-Control-Allow-Headers", "Authorization")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case s.cfg.Relay == nil:
		w.WriteHeader(http.StatusNoContent) // to a page, not found would be a fault
	case !s.addresses.mayAsk(addressOf(r.RemoteAddr), s.cfg, time.Now()):
		s.counts.refused(RefusedCredentials)
		h.Set("Retry-After", "5")
		http.Error(w, "too many requests from this address in a short time", http.StatusTooManyRequests)
	default:
		name := r.URL.Query().Get("user")
		if what := badID(name); what != "" {
			http.Error(w, "user "+what, http.StatusBadRequest)
			return
		}
		claims, err := s.Authorize(r)
		switch {
		case err != nil:
			s.counts.refused(RefusedCredentials)
			h.Set("WWW-Authenticate", "Bearer")
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		case claims.PeerID != "" && claims.PeerID != name:
			s.counts.refused(RefusedCredentials)
			http.Error(w, "the token is for another peer_id", http.StatusForbidden)
			return
		}
		var most time.Duration
		if !claims.Expires.IsZero() {
			most = time.Until(claims.Expires)
		}
		s.counts.gave()
		h.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.cfg.Relay(name, most)) // an error here is the client gone
	}
}

// allows tells whether a page of an origin may connect, by the rule for
// WebSockets: Config.Origins.
func (s *Server) allows(origin, host string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}
	for _, p := range s.cfg.Origins {
		target := u.Host
		if strings.Contains(p, "://") {
			target = u.Scheme + "://" + u.Host
		}
		if ok, err := path.Match(strings.ToLower(p), strings.ToLower(target)); err == nil && ok {
			return true
		}
	}
	return false
}
