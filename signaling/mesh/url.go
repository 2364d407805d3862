package mesh

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrURL is wrapped by the errors of ParseURL: what was given is no address of
// a mesh room. It is a mistake of the caller's, not of the room.
var ErrURL = errors.New("not the URL of a room")

// ParseURL reads the address of a mesh room. With an empty room, the last
// element of the URL's path is the room's name, percent-decoded; otherwise room
// is the name, whatever the path. Either way the whole URL is what is dialled,
// since rooms may be told apart by path as well as by name. Errors wrap ErrURL
// and hold no password and no query.
func ParseURL(rawURL, room string) (dialURL, roomID string, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return "", "", fmt.Errorf("%w: %w", ErrURL, err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" {
		return "", "", fmt.Errorf("%w: %q must begin with ws:// or wss://", ErrURL, clip(redact(rawURL)))
	}
	if u.Hostname() == "" {
		return "", "", fmt.Errorf("%w: %q names no host", ErrURL, clip(redact(rawURL)))
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", "", fmt.Errorf("%w: %q is no port", ErrURL, clip(port))
		}
	}
	u.Fragment, u.RawFragment = "", ""
	if room == "" {
		path := strings.TrimRight(u.EscapedPath(), "/")
		room, err = url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
		if err != nil {
			return "", "", fmt.Errorf("%w: %w", ErrURL, err)
		}
		if room == "" {
			return "", "", fmt.Errorf("%w: %q names no room: its path must end in the room's name", ErrURL, clip(redact(rawURL)))
		}
	}
	if err := checkName(room, MaxRoomName); err != nil {
		return "", "", fmt.Errorf("%w: the room's name %q %w", ErrURL, clip(room), err)
	}
	return u.String(), room, nil
}

// checkName tells what is wrong with a name that somebody chose: ids end up in
// logs, tables and file names, so they have a bounded length and can be printed.
func checkName(s string, max int) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > max:
		return fmt.Errorf("has %d bytes, more than %d", len(s), max)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("holds control characters")
	}
	return nil
}

// clip bounds a stranger's words for a log line or an error.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
