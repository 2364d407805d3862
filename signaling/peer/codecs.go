package peer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
)

// URIs of the header extensions that we use.
const (
	uriMID         = sdp.SDESMidURI
	uriRID         = sdp.SDESRTPStreamIDURI
	uriRepairedRID = sdp.SDESRepairRTPStreamIDURI
	uriTWCC        = sdp.TransportCCURI
	uriCaptureTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	// Of rooms that are forwarded only: who sends says how loud it is (RFC 6464).
	uriAudioLevel = sdp.AudioLevelURI
	uriDependency = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)

// What is left out is left out on purpose. With urn:3gpp:video-orientation a
// sender leaves it to the receiver to turn the picture; without, it turns the
// pixels itself, and a file needs no turning. Forward error correction of video
// (ulpfec, flexfec) is of no use to one who can wait for a retransmission.

// format is one payload format that we offer.
type format struct {
	codec media.Codec
	pt    uint8 // and pt+1 for its RTX, when it is video
	fmtp  string
}

// The payload types are those that browsers use, which keeps a dump readable.
var formats = []format{
	{media.VP8, 96, ""},
	{media.VP9, 98, "profile-id=0"},
	{media.VP9, 100, "profile-id=2"},
	{media.AV1, 45, "level-idx=5;profile=0;tier=0"},
	{media.H264, 102, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
	{media.H264, 104, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
	{media.H264, 106, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"},
	{media.H264, 112, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"},
	{media.H264, 108, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"},
	// Without stereo=1 a browser mixes a stereo track down (RFC 7587 §6.1).
	{media.Opus, 111, "minptime=10;useinbandfec=1;stereo=1"},
}

// codecs gives what is offered by a factory of this configuration, in order.
func (c *Config) codecs() ([]media.Codec, error) {
	list := slices.Clone(c.Codecs)
	if list == nil {
		list = []media.Codec{media.VP8, media.VP9}
	}
	if !slices.Contains(list, media.Opus) {
		list = append(list, media.Opus)
	}
	if c.Only != media.KindUnknown {
		list = slices.DeleteFunc(list, func(m media.Codec) bool { return m.Kind() != c.Only })
	}
	for _, m := range list {
		if !slices.ContainsFunc(formats, func(f format) bool { return f.codec == m }) {
			return nil, fmt.Errorf("peer: codec %v can't be received", m)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("peer: no %v codec to receive", c.Only)
	}
	return list, nil
}

func newMediaEngine(codecs []media.Codec, forwarding bool) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	for _, codec := range codecs {
		for _, f := range formats {
			if f.codec != codec {
				continue
			}
			if err := registerFormat(m, f, !forwarding); err != nil {
				return nil, fmt.Errorf("peer: registering %v: %w", codec, err)
			}
			if forwarding { // who forwards can't turn one format into another
				break
			}
		}
	}
	for _, ext := range []struct {
		uri   string
		kinds []media.Kind
	}{
		{uriMID, []media.Kind{media.Audio, media.Video}},
		{uriTWCC, []media.Kind{media.Audio, media.Video}},
		{uriCaptureTime, []media.Kind{media.Audio, media.Video}},
		{uriDependency, []media.Kind{media.Video}},
		{uriRID, []media.Kind{media.Video}},
		{uriRepairedRID, []media.Kind{media.Video}},
	} {
		for _, kind := range ext.kinds {
			err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: ext.uri}, pionKind(kind))
			if err != nil {
				return nil, fmt.Errorf("peer: registering header extension %s: %w", ext.uri, err)
			}
		}
	}
	if forwarding {
		err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uriAudioLevel}, webrtc.RTPCodecTypeAudio)
		if err != nil {
			return nil, fmt.Errorf("peer: registering header extension %s: %w", uriAudioLevel, err)
		}
	}
	return m, nil
}

// redType is the payload type of RED (RFC 2198) with Opus inside. Senders use it
// only when it stands before Opus.
const redType = 63

func registerFormat(m *webrtc.MediaEngine, f format, red bool) error {
	if f.codec.Kind() == media.Audio && red {
		err := m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: mimeRED, ClockRate: f.codec.ClockRate(), Channels: 2, SDPFmtpLine: fmt.Sprintf("%d/%[1]d", f.pt),
				RTCPFeedback: []webrtc.RTCPFeedback{{Type: "transport-cc"}, {Type: "nack"}},
			},
			PayloadType: redType,
		}, webrtc.RTPCodecTypeAudio)
		if err != nil {
			return err
		}
	}
	if f.codec.Kind() == media.Audio {
		return m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: "audio/" + f.codec.String(), ClockRate: f.codec.ClockRate(), Channels: 2, SDPFmtpLine: f.fmtp,
				RTCPFeedback: []webrtc.RTCPFeedback{{Type: "transport-cc"}, {Type: "nack"}},
			},
			PayloadType: webrtc.PayloadType(f.pt),
		}, webrtc.RTPCodecTypeAudio)
	}
	err := m.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: "video/" + f.codec.String(), ClockRate: f.codec.ClockRate(), SDPFmtpLine: f.fmtp,
			RTCPFeedback: []webrtc.RTCPFeedback{
				{Type: "goog-remb"}, {Type: "transport-cc"},
				{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"},
			},
		},
		PayloadType: webrtc.PayloadType(f.pt),
	}, webrtc.RTPCodecTypeVideo)
	if err != nil {
		return err
	}
	return m.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: f.codec.ClockRate(), SDPFmtpLine: fmt.Sprintf("apt=%d", f.pt),
		},
		PayloadType: webrtc.PayloadType(f.pt + 1),
	}, webrtc.RTPCodecTypeVideo)
}

const mimeRED = "audio/red"

// preferRED puts RED before the codec inside, in an answer to a peer who offers
// both.
func preferRED(pc *webrtc.PeerConnection) error {
	for _, tr := range pc.GetTransceivers() {
		if tr.Kind() != webrtc.RTPCodecTypeAudio || tr.Receiver() == nil {
			continue
		}
		codecs := tr.Receiver().GetParameters().Codecs
		slices.SortStableFunc(codecs, func(a, b webrtc.RTPCodecParameters) int {
			red := func(c webrtc.RTPCodecParameters) int {
				if strings.EqualFold(c.MimeType, mimeRED) {
					return 0
				}
				return 1
			}
			return red(a) - red(b)
		})
		if len(codecs) == 0 {
			continue
		}
		if err := tr.SetCodecPreferences(codecs); err != nil {
			return err
		}
	}
	return nil
}

func pionKind(k media.Kind) webrtc.RTPCodecType {
	if k == media.Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}
