package signaling

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/roomtape/roomtape/media"
)

// Bounds of ParameterSets. A real payload type has two sets of less than 100
// bytes together.
const (
	maxSetTypes = 8    // payload types
	maxSetSize  = 1024 // of one set, in bytes
	maxSetTotal = 2048 // of those of one payload type
)

// NAL unit types (ITU-T H.264 table 7-1).
const (
	nalSPS = 7
	nalPPS = 8
)

// ParameterSets are H264 parameter sets that a sender gives outside of its
// packets, by payload type: NAL units without start codes. They are untrusted,
// but bounded. The zero value is empty and ready for use.
type ParameterSets map[uint8][][]byte

// AddFormat adds those in the format parameters (the value of a=fmtp after the
// payload type) of a payload type: sprop-parameter-sets, in RFC 6184 §8.1. What
// is no parameter set or beyond the bounds is left out.
func (s *ParameterSets) AddFormat(pt uint8, parameters string) {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "sprop-parameter-sets") {
			continue
		}
		for text := range strings.SplitSeq(value, ",") {
			text = strings.TrimSpace(text)
			if base64.StdEncoding.DecodedLen(len(text)) > maxSetSize+2 {
				continue
			}
			// Some senders leave out the padding.
			if set, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "=")); err == nil {
				s.Add(pt, set)
			}
		}
	}
}

// Add adds one to a payload type, if it can be a parameter set and is within the
// bounds. It keeps set.
func (s *ParameterSets) Add(pt uint8, set []byte) {
	if len(set) < 4 || len(set) > maxSetSize || set[0]&0x80 != 0 || pt > 127 {
		return
	}
	if t := set[0] & 0x1f; t != nalSPS && t != nalPPS {
		return
	}
	total := len(set)
	for _, o := range (*s)[pt] {
		total += len(o)
	}
	if total > maxSetTotal || (*s)[pt] == nil && len(*s) == maxSetTypes {
		return
	}
	if *s == nil {
		*s = ParameterSets{}
	}
	(*s)[pt] = append((*s)[pt], set)
}

// Of gives those of the payload types that are H264 in codecs, or nil.
func (s ParameterSets) Of(codecs map[uint8]media.Codec) ParameterSets {
	var out ParameterSets
	for _, pt := range slices.Sorted(maps.Keys(s)) {
		if codecs[pt] != media.H264 {
			continue
		}
		for _, set := range s[pt] {
			out.Add(pt, set)
		}
	}
	return out
}
