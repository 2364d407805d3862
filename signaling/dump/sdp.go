package dump

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/roomtape/roomtape/signaling"
)

// description is what session descriptions say.
type description struct {
	formats map[uint8]Format
	// encrypted is set when one offers SRTP (RFC 3711, RFC 5763).
	encrypted bool
	// captureTime and dependencies are the ids of abs-capture-time and the
	// dependency descriptor, or 0.
	captureTime, dependencies uint8
	// sets are those of payload types that may be H264.
	sets signaling.ParameterSets
	// doubtful are those for which descriptions gave different ones.
	doubtful map[uint8]bool
}

const (
	captureTimeURI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	dependencyURI  = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
	// maxSDP is how much of a description is read.
	maxSDP = 64 << 10
)

// parseSDP reads what a session description (RFC 8866) says of payload types. It
// passes over all it does not understand, whatever stands before the
// description too, as in a SIP message. It gives false when there is nothing.
// Of payload types that stand for several encodings, none is given.
func parseSDP(b []byte) (description, bool) {
	d := description{formats: map[uint8]Format{}}
	clash := map[uint8]bool{}
	originals := map[uint8]uint8{}
	found := false
	for line := range bytes.Lines(b[:min(len(b), maxSDP)]) {
		s := strings.TrimRight(string(line[:min(len(line), 4096)]), "\r\n")
		if strings.HasPrefix(s, "m=") {
			d.encrypted = d.encrypted || strings.Contains(s, "/SAVP")
			continue
		}
		attribute, value, _ := strings.Cut(s, ":")
		switch attribute {
		case "a=rtpmap":
			pt, rest, ok := payloadType(value)
			if !ok {
				continue
			}
			f, err := parseEncoding(strings.TrimSpace(rest))
			if err != nil {
				continue
			}
			if old, ok := d.formats[pt]; ok && old != f {
				clash[pt] = true
			}
			d.formats[pt] = f
			found = true
		case "a=fmtp":
			pt, rest, ok := payloadType(value)
			if !ok {
				continue
			}
			d.sets.AddFormat(pt, rest)
			for parameter := range strings.SplitSeq(rest, ";") {
				name, text, _ := strings.Cut(strings.TrimSpace(parameter), "=")
				if apt, err := strconv.ParseUint(text, 10, 7); err == nil && name == "apt" {
					originals[pt] = uint8(apt)
				}
			}
		case "a=extmap":
			number, rest, _ := strings.Cut(value, " ")
			number, _, _ = strings.Cut(number, "/")
			id, err := strconv.ParseUint(number, 10, 8)
			if err != nil {
				continue
			}
			switch strings.TrimSpace(rest) {
			case captureTimeURI:
				d.captureTime = uint8(id)
			case dependencyURI:
				d.dependencies = uint8(id)
			}
		case "a=crypto", "a=fingerprint":
			d.encrypted = true
		}
	}
	for pt, apt := range originals {
		if f, ok := d.formats[pt]; ok {
			f.Original, f.HasOriginal = apt, true
			d.formats[pt] = f
		}
	}
	for pt := range clash {
		delete(d.formats, pt)
	}
	return d, found
}

// payloadType reads the payload type that value begins with.
func payloadType(value string) (pt uint8, rest string, ok bool) {
	number, rest, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(number, 10, 7)
	return uint8(n), rest, err == nil
}

// CheckSDP tells whether b, which a user gives, is a session description with
// payload types.
func CheckSDP(b []byte) error {
	if _, ok := parseSDP(b); !ok {
		return fmt.Errorf("the session description has no a=rtpmap line")
	}
	return nil
}

// add takes over what another description says: of payload types too that stand
// for something else there.
func (d *description) add(o description) {
	if d.formats == nil {
		d.formats = map[uint8]Format{}
	}
	for _, pt := range slices.Sorted(maps.Keys(o.formats)) {
		d.formats[pt] = o.formats[pt]
	}
	for _, pt := range slices.Sorted(maps.Keys(o.sets)) {
		old, known := d.sets[pt]
		switch {
		case d.doubtful[pt]:
		case known && !slices.EqualFunc(old, o.sets[pt], bytes.Equal):
			// Those of two senders: whose the packets are is not known.
			if d.doubtful == nil {
				d.doubtful = map[uint8]bool{}
			}
			d.doubtful[pt] = true
			delete(d.sets, pt)
		case !known:
			for _, set := range o.sets[pt] {
				d.sets.Add(pt, set)
			}
		}
	}
	d.encrypted = d.encrypted || o.encrypted
	if o.captureTime != 0 {
		d.captureTime = o.captureTime
	}
	if o.dependencies != 0 {
		d.dependencies = o.dependencies
	}
}

// looksLikeSDP tells whether a datagram is a message with a session description:
// SIP (RFC 3261 §7), RTSP or MGCP.
func looksLikeSDP(b []byte) bool {
	if len(b) < 16 || b[0] < 'A' || b[0] > 'v' {
		return false
	}
	return bytes.Contains(b[:min(len(b), maxSDP)], []byte("a=rtpmap:"))
}
