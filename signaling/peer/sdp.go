package peer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// section is what a pair of descriptions says of one m-line that the peer sends
// on, as far as receiving goes.
type section struct {
	mid        string
	kind       media.Kind
	stream, id string // MSID (RFC 8830)

	codecs map[uint8]media.Codec // by payload type
	red    map[uint8]bool        // those that are RED
	others map[uint8]string      // names of payload types that are neither codec nor RTX
	apt    map[uint8]uint8       // RTX payload type to that of the original

	sources []uint32          // announced sources that are no repair flows
	repairs map[uint32]uint32 // announced RTX source to its original (FID, RFC 4588 §8.8)
	msids   map[uint32][2]string

	sets signaling.ParameterSets // of H264, by the sender's words

	extMID, extRID, extRepairedRID, extTWCC, extCapture, extDependency, extLevel uint8

	nack, pli, fir, remb, twcc bool
}

// parse reads an untrusted description, within limits.
func parse(text string) (*sdp.SessionDescription, error) {
	if len(text) > MaxDescription {
		return nil, fmt.Errorf("%w: %w: %d bytes, more than %d", ErrDescription, ErrLimit, len(text), MaxDescription)
	}
	if n := strings.Count(text, "\nm="); n > MaxSections {
		return nil, fmt.Errorf("%w: %w: %d m-lines, more than %d", ErrDescription, ErrLimit, n, MaxSections)
	}
	d := &sdp.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	return d, nil
}

// identity is what tells one RTCPeerConnection of a peer from another: the
// session id of its o= line, and its certificate's fingerprint.
type identity struct {
	session     uint64
	user        string
	fingerprint string
}

func identify(d *sdp.SessionDescription) identity {
	id := identity{session: d.Origin.SessionID, user: d.Origin.Username}
	if v, ok := d.Attribute("fingerprint"); ok {
		id.fingerprint = strings.ToLower(v)
		return id
	}
	for _, m := range d.MediaDescriptions {
		if v, ok := m.Attribute("fingerprint"); ok {
			id.fingerprint = strings.ToLower(v)
			return id
		}
	}
	return id
}

// sections gives the m-lines on which the remote side sends, by what both
// descriptions say. Payload types are those that the local one allows.
func sections(local, remote *sdp.SessionDescription) []*section {
	var out []*section
	for _, r := range remote.MediaDescriptions {
		kind := kindOf(r.MediaName.Media)
		mid, _ := r.Attribute("mid")
		if kind == media.KindUnknown || !sending(remote, r) {
			continue
		}
		i := slices.IndexFunc(local.MediaDescriptions, func(m *sdp.MediaDescription) bool {
			v, _ := m.Attribute("mid")
			return v == mid && kindOf(m.MediaName.Media) == kind
		})
		if i < 0 {
			continue
		}
		s := &section{mid: mid, kind: kind}
		s.formats(local.MediaDescriptions[i])
		if len(s.codecs) == 0 {
			continue
		}
		s.feedback(r)
		s.extensions(local.MediaDescriptions[i], r)
		s.announced(r)
		s.parameters(r)
		out = append(out, s)
	}
	return out
}

func kindOf(name string) media.Kind {
	switch name {
	case "audio":
		return media.Audio
	case "video":
		return media.Video
	}
	return media.KindUnknown
}

// sending tells whether the side that wrote d sends on m (RFC 8866 §6.7).
func sending(d *sdp.SessionDescription, m *sdp.MediaDescription) bool {
	if m.MediaName.Port.Value == 0 {
		if _, ok := m.Attribute("bundle-only"); !ok {
			return false
		}
	}
	for _, attrs := range [][]sdp.Attribute{m.Attributes, d.Attributes} {
		for _, a := range attrs {
			switch a.Key {
			case "sendrecv", "sendonly":
				return true
			case "recvonly", "inactive":
				return false
			}
		}
	}
	return true
}

// maxFormatName is the longest name of a payload format that is kept.
const maxFormatName = 32

func (s *section) formats(m *sdp.MediaDescription) {
	s.codecs, s.apt, s.others = map[uint8]media.Codec{}, map[uint8]uint8{}, map[uint8]string{}
	rtx := map[uint8]bool{}
	var red []uint8
	for _, a := range m.Attributes {
		pt, rest, ok := payloadType(a.Value)
		if !ok || a.Key != "rtpmap" {
			continue
		}
		name, _, _ := strings.Cut(rest, "/")
		if strings.EqualFold(name, "rtx") {
			rtx[pt] = true
		} else if strings.EqualFold(name, "red") && s.kind == media.Audio {
			red = append(red, pt)
		} else if c := media.ParseCodec(name); c.Kind() == s.kind {
			s.codecs[pt] = c
		} else if len(name) <= maxFormatName {
			s.others[pt] = name
		}
	}
	for _, a := range m.Attributes {
		pt, rest, ok := payloadType(a.Value)
		if !ok || a.Key != "fmtp" || !rtx[pt] {
			continue
		}
		for p := range strings.SplitSeq(rest, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(p), "apt="); ok {
				if n, err := strconv.ParseUint(v, 10, 7); err == nil {
					s.apt[pt] = uint8(n)
				}
			}
		}
	}
	if len(s.codecs) > 0 && len(red) > 0 { // of audio: it is Opus that is inside
		s.red = map[uint8]bool{}
		for _, pt := range red {
			s.codecs[pt], s.red[pt] = media.Opus, true
		}
	}
	maps.DeleteFunc(s.apt, func(_, original uint8) bool {
		_, ok := s.codecs[original]
		return !ok
	})
}

// parameters reads what the sender says of its H264.
func (s *section) parameters(m *sdp.MediaDescription) {
	var all signaling.ParameterSets
	for _, a := range m.Attributes {
		if pt, rest, ok := payloadType(a.Value); ok && a.Key == "fmtp" && s.codecs[pt] == media.H264 {
			all.AddFormat(pt, rest)
		}
	}
	s.sets = all
}

// payloadType reads "96 rest".
func payloadType(v string) (pt uint8, rest string, ok bool) {
	first, rest, ok := strings.Cut(v, " ")
	n, err := strconv.ParseUint(first, 10, 7)
	return uint8(n), rest, ok && err == nil
}

func (s *section) feedback(m *sdp.MediaDescription) {
	for _, a := range m.Attributes {
		if a.Key != "rtcp-fb" {
			continue
		}
		pt, what, _ := strings.Cut(a.Value, " ")
		if pt != "*" {
			n, err := strconv.ParseUint(pt, 10, 7)
			if _, ok := s.codecs[uint8(n)]; err != nil || !ok {
				continue
			}
		}
		switch strings.TrimSpace(what) {
		case "nack":
			s.nack = true
		case "nack pli":
			s.pli = true
		case "ccm fir":
			s.fir = true
		case "goog-remb":
			s.remb = true
		case "transport-cc":
			s.twcc = true
		}
	}
}

// extensions reads the ids of the header extensions that both sides name
// (RFC 8285 §6).
func (s *section) extensions(local, remote *sdp.MediaDescription) {
	ours := extmap(local)
	for uri, id := range extmap(remote) {
		if ours[uri] != id {
			continue
		}
		switch uri {
		case uriMID:
			s.extMID = id
		case uriRID:
			s.extRID = id
		case uriRepairedRID:
			s.extRepairedRID = id
		case uriTWCC:
			s.extTWCC = id
		case uriCaptureTime:
			s.extCapture = id
		case uriAudioLevel:
			s.extLevel = id
		case uriDependency:
			s.extDependency = id
		}
	}
}

func extmap(m *sdp.MediaDescription) map[string]uint8 {
	out := map[string]uint8{}
	for _, a := range m.Attributes {
		if a.Key != "extmap" {
			continue
		}
		id, uri, ok := strings.Cut(a.Value, " ")
		id, _, _ = strings.Cut(id, "/") // 3/sendonly
		uri, _, _ = strings.Cut(uri, " ")
		if n, err := strconv.ParseUint(id, 10, 8); ok && err == nil && n > 0 {
			out[uri] = uint8(n)
		}
	}
	return out
}

// announced reads the sources that the description names (RFC 5576).
func (s *section) announced(m *sdp.MediaDescription) {
	s.repairs, s.msids = map[uint32]uint32{}, map[uint32][2]string{}
	other := map[uint32]bool{} // FEC
	for _, a := range m.Attributes {
		f := strings.Fields(a.Value)
		switch {
		case a.Key == "msid" && len(f) > 0:
			s.stream = f[0]
			if len(f) > 1 {
				s.id = f[1]
			}
			if s.stream == "-" { // no stream
				s.stream = ""
			}
		case a.Key == "ssrc-group" && len(f) == 3:
			first, err1 := strconv.ParseUint(f[1], 10, 32)
			second, err2 := strconv.ParseUint(f[2], 10, 32)
			if err1 != nil || err2 != nil {
				continue
			}
			switch f[0] {
			case "FID":
				s.repairs[uint32(second)] = uint32(first)
			case "FEC", "FEC-FR":
				other[uint32(second)] = true
			}
		}
	}
	for _, a := range m.Attributes {
		f := strings.Fields(a.Value)
		if a.Key != "ssrc" || len(f) == 0 {
			continue
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		ssrc := uint32(n)
		if _, repair := s.repairs[ssrc]; err != nil || repair || other[ssrc] {
			continue
		}
		if !slices.Contains(s.sources, ssrc) && len(s.sources) < MaxTracks {
			s.sources = append(s.sources, ssrc)
		}
		if len(f) == 3 && strings.HasPrefix(f[1], "msid:") {
			s.msids[ssrc] = [2]string{f[1][len("msid:"):], f[2]}
		}
	}
}

// names gives the MediaStream and track ids of a source on this m-line.
func (s *section) names(ssrc uint32) (stream, id string) {
	stream, id = s.stream, s.id
	if m, ok := s.msids[ssrc]; ok && stream == "" && id == "" {
		stream, id = m[0], m[1]
		if stream == "-" {
			stream = ""
		}
	}
	return stream, id
}
