package lossy

import (
	"encoding/json"
	"net/netip"
	"strings"
)

// via gives the address that stands for another one, or false to leave the
// candidate out.
type via func(netip.AddrPort) (netip.AddrPort, bool)

// candidate rewrites the value of a candidate attribute (RFC 8839 §5.1), with
// or without "a=" before it. ok is false when it is to be left out.
func candidate(line string, to via) (out string, ok bool) {
	rest, found := strings.CutPrefix(line, "a=")
	f := strings.Fields(rest)
	// foundation component transport priority address port typ TYPE …
	if len(f) < 8 || !strings.EqualFold(f[2], "udp") {
		return "", false
	}
	addr, err := netip.ParseAddrPort(f[4] + ":" + f[5])
	if err != nil {
		return "", false
	}
	if addr, ok = to(addr); !ok {
		return "", false
	}
	f[4], f[5] = addr.Addr().String(), portOf(addr)
	for i := 6; i+1 < len(f); i += 2 {
		switch f[i] {
		case "raddr":
			f[i+1] = "0.0.0.0"
		case "rport":
			f[i+1] = "9"
		}
	}
	if out = strings.Join(f, " "); found {
		out = "a=" + out
	}
	return out, true
}

func portOf(a netip.AddrPort) string {
	_, port, _ := strings.Cut(a.String(), ":") // IPv4
	return port
}

// description rewrites the addresses in an SDP. Those of m= and c= lines, which
// ICE does not use, become the ones of a description without candidates
// (RFC 8840 §4.1.3).
func description(sdp string, to via) string {
	var out strings.Builder
	for line := range strings.Lines(sdp) {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		switch {
		case strings.HasPrefix(text, "a=candidate:"):
			var ok bool
			if text, ok = candidate(text, to); !ok {
				continue
			}
		case strings.HasPrefix(text, "c="):
			text = "c=IN IP4 0.0.0.0"
		case strings.HasPrefix(text, "a=rtcp:"):
			text = "a=rtcp:9 IN IP4 0.0.0.0"
		case strings.HasPrefix(text, "m="):
			if f := strings.Fields(text); len(f) > 3 && f[1] != "0" {
				f[1] = "9"
				text = strings.Join(f, " ")
			}
		}
		out.WriteString(text)
		out.WriteString(end)
	}
	return out.String()
}

// object is a JSON object of which we touch some members only.
type object map[string]json.RawMessage

func (o object) text(name string) string {
	var s string
	_ = json.Unmarshal(o[name], &s) // what is no string is not for us
	return s
}

func (o object) set(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and objects can be marshalled
	}
	o[name] = b
}

// rewrite rewrites the addresses in a message of the room protocol. ok is false
// when the message is to be left out, since the candidate in it is. Messages
// without addresses are returned as they are.
func rewrite(message []byte, m object, to via) (out []byte, ok bool) {
	switch kind := m.text("type"); kind {
	case "offer", "answer":
		var d object
		if json.Unmarshal(m[kind], &d) != nil {
			return message, true
		}
		d.set("sdp", description(d.text("sdp"), to))
		m.set(kind, d)
	case "ice_candidate":
		var c object
		if json.Unmarshal(m["candidate"], &c) != nil {
			return message, true
		}
		text := c.text("candidate")
		if text == "" {
			return message, true // the end of candidates
		}
		if text, ok = candidate(text, to); !ok {
			return nil, false
		}
		c.set("candidate", text)
		m.set("candidate", c)
	default:
		return message, true
	}
	out, err := json.Marshal(m)
	if err != nil {
		return message, true
	}
	return out, true
}
